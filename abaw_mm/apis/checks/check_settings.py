"""Find names at the top level of a config that nothing reads."""

import ast
import difflib
import inspect
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from torch.distributed import init_process_group
from torch.nn.utils import clip_grad_norm_, clip_grad_value_

from abaw_mm.errors import InvalidValueError

# Top-level names that a run reads: arguments of the Runner, other keys that it reads from its
# config, keys of mmengine's Config and of test-time augmentation, and our `checkpoint`.
SETTINGS = {
    *inspect.signature(Runner).parameters,
    'model_wrapper_cfg',
    'find_unused_parameters',
    'sync_bn',
    'compile',
    'activation_checkpointing',
    'efficient_conv_bn_eval',
    'custom_imports',
    'tta_model',
    'tta_pipeline',
    'checkpoint',
} - {'cfg'}

# Names of OpenMMLab 1.x, and of single values that belong into a setting, and their place today.
RENAMED = dict(
    accumulative_counts='optim_wrapper.accumulative_counts',
    batch_size='train_dataloader.batch_size',
    checkpoint_config='default_hooks.checkpoint',
    clip_grad='optim_wrapper.clip_grad',
    cudnn_benchmark='env_cfg.cudnn_benchmark',
    data='train_dataloader, val_dataloader and test_dataloader',
    deterministic='randomness.deterministic',
    dist_params='env_cfg.dist_cfg',
    epochs='train_cfg.max_epochs',
    evaluation='val_evaluator and train_cfg.val_interval',
    fp16="optim_wrapper.type='AmpOptimWrapper'",
    frozen_stages='model.backbone.frozen_stages',
    hooks='custom_hooks',
    iters='train_cfg.max_iters',
    learning_rate='optim_wrapper.optimizer.lr',
    log_config='default_hooks.logger and visualizer',
    lr='optim_wrapper.optimizer.lr',
    lr_config='param_scheduler',
    max_epochs='train_cfg.max_epochs',
    max_iters='train_cfg.max_iters',
    momentum='optim_wrapper.optimizer.momentum',
    momentum_config='param_scheduler',
    mp_start_method='env_cfg.mp_cfg.mp_start_method',
    num_classes='model.head.num_classes',
    num_workers='train_dataloader.num_workers',
    opencv_num_threads='env_cfg.mp_cfg.opencv_num_threads',
    optimizer='optim_wrapper.optimizer',
    optimizer_config='optim_wrapper',
    pretrained='checkpoint',
    resume_from='load_from, with resume=True (or --resume FILE)',
    runner='train_cfg',
    samples_per_gpu='train_dataloader.batch_size',
    seed='randomness.seed',
    total_epochs='train_cfg.max_epochs',
    total_iters='train_cfg.max_iters',
    val_interval='train_cfg.val_interval',
    weight_decay='optim_wrapper.optimizer.weight_decay',
    workers_per_gpu='train_dataloader.num_workers',
)

# Settings whose keys are looked up one by one, so that another key would have no effect. Other
# settings are arguments, and an unknown one is an error when they are built.
KEYS = {
    'auto_scale_lr': {'base_batch_size', 'enable'},
    'custom_imports': {'imports', 'allow_failed_imports'},
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'env_cfg.dist_cfg': {
        *inspect.signature(init_process_group).parameters,
        *('init_backend', 'port'),
    },
    'randomness': {'seed', 'deterministic', 'diff_rank_seed'},
    'optim_wrapper.clip_grad': {
        *inspect.signature(clip_grad_norm_).parameters,
        *inspect.signature(clip_grad_value_).parameters,
        'type',
    }
    - {'parameters'},
    'optim_wrapper.paramwise_cfg': {
        *('bias_decay_mult', 'bias_lr_mult', 'bypass_duplicate', 'custom_keys'),
        *('dcn_offset_lr_mult', 'dwconv_decay_mult', 'flat_decay_mult', 'norm_decay_mult'),
        'layer_decay_rate',  # of mmpretrain's constructor
    },
    # The hook keeps unknown arguments for Runner.save_checkpoint, which is called much later.
    'default_hooks.checkpoint': {
        *inspect.signature(CheckpointHook).parameters,
        *inspect.signature(Runner.save_checkpoint).parameters,
        *('type', 'priority', '_scope_'),
    }
    - {'self', 'kwargs'},
}
CUTOFF = 0.85  # similarity from which a name counts as misspelt: 'chekpoint' has 0.95
MANY = 10  # names at the top level; a written config has more
LITERALS = {'dict', 'float', 'inf', 'nan'}
FORMATS = ('.py', '.json', '.yml', '.yaml')
BASE_NAME = re.compile(r'_base_\.(\w+)')
PLACEHOLDER = re.compile(r'\{\{[^{}]*\}\}')


class ConfigFile(NamedTuple):
    """Top-level names of one file of a config."""

    path: str
    assigned: list[str]
    read: set[str]  # names that expressions of this file use
    read_of_base: set[str]  # variables of base files that this file uses
    is_own: bool  # not part of an installed package, and not written by a program


def find_closest_setting(name: str) -> str | None:
    """Return the setting that a name probably stands for.

    >>> find_closest_setting('chekpoint'), find_closest_setting('lr_config')
    ('checkpoint', 'param_scheduler')
    >>> find_closest_setting('data_root')
    """
    if name in SETTINGS or name == 'test_pipeline':  # which is similar to tta_pipeline
        return None
    if name in RENAMED:
        return RENAMED[name]
    return next(iter(difflib.get_close_matches(name, SETTINGS, 1, CUTOFF)), None)


def check_settings(cfg: Config, overrides: Iterable[str] = ()) -> None:
    """Raise for names that nothing reads.

    A variable may have any name if another value of its file uses it, or a derived config as
    ``{{_base_.name}}``. An override of a variable of a base file has no effect, because the base
    file has used its own value. Files that a program has written and files of installed packages
    may contain further variables, unless they are similar to a setting.

    Args:
        cfg (Config): Config, including the overrides.
        overrides (Iterable[str]): Keys of ``--cfg-options``.

    Raises:
        InvalidValueError: If nothing reads a name.
    """
    for key in overrides:
        name = key.split('.')[0]
        if name not in SETTINGS:
            raise InvalidValueError(
                f'--cfg-options {key}=...: nothing reads {name} at the top level of the config; '
                f'{_advise(name, cfg)}'
            )
    files = list(_split_files(cfg))
    others = set(cfg).difference(*(file.assigned for file in files))  # YAML, loop variables
    files.append(ConfigFile(cfg.filename or 'config', sorted(others), set(), set(), False))
    read_later: set[str] = set()  # by the derived files, which follow their bases
    for file in reversed(files):
        for name in file.assigned:
            if name in SETTINGS | file.read | read_later or name.startswith('_') or name not in cfg:
                continue
            if file.is_own or find_closest_setting(name) is not None:
                raise InvalidValueError(
                    f'{os.path.relpath(file.path)}: nothing reads {name}; {_advise(name, cfg)}'
                )
        read_later |= file.read_of_base
    _check_keys(cfg)


def _check_keys(cfg: Config) -> None:
    """Raise for keys inside a setting that nothing reads."""
    for setting, known in KEYS.items():
        node: Any = cfg
        for part in setting.split('.'):
            node = node.get(part) if isinstance(node, Mapping | Config) else None
        if not isinstance(node, Mapping | None):
            raise InvalidValueError(f'{setting}: got {node!r}, expected a dict')
        if isinstance(node, Mapping) and node.get('type', 'CheckpointHook') != 'CheckpointHook':
            continue  # a hook with other arguments
        for key in set(node or ()) - known:
            closest = difflib.get_close_matches(key, sorted(known), 1, 0)[0]
            raise InvalidValueError(
                f'{setting}.{key}: nothing reads this setting; did you mean {setting}.{closest}?'
            )
    if cfg.get('model_wrapper_cfg') and 'find_unused_parameters' in cfg:
        raise InvalidValueError(
            'find_unused_parameters: nothing reads this setting beside model_wrapper_cfg; set '
            'model_wrapper_cfg.find_unused_parameters'
        )


def _advise(name: str, cfg: Config) -> str:
    """Say what to write instead of a name that nothing reads."""
    similar = difflib.get_close_matches(name, RENAMED, 1, CUTOFF)
    closest = find_closest_setting(name) or (RENAMED[similar[0]] if similar else None)
    if closest is not None:
        return f'did you mean {closest}?'
    paths = [path for setting in sorted(SETTINGS) for path in _find_key(name, cfg, setting)]
    if paths:
        return f'set {", ".join(paths[:3])} instead'
    for guess in difflib.get_close_matches(name, SETTINGS, 1, 0.7):
        return f'did you mean {guess}?'
    return 'remove it, or set the value that is meant'


def _find_key(name: str, node: Any, key: str, path: str = '') -> Iterator[str]:
    """Yield the dotted paths below ``node[key]`` that end in a name."""
    path = f'{path}.{key}' if path else key
    child = node.get(key)
    if key == name:
        yield path
    if isinstance(child, Mapping):
        for inner in child:
            yield from _find_key(name, child, inner, path)


def _split_files(cfg: Config) -> Iterator[ConfigFile]:
    """Parse the files of a config, whose texts follow the lines with their paths."""
    path, lines = cfg.filename or 'config', list[str]()
    for line in cfg.text.splitlines():
        if line.endswith(FORMATS) and os.path.isabs(line):
            yield from _parse_file(path, '\n'.join(lines))
            path, lines = line, []
        else:
            lines.append(line)
    yield from _parse_file(path, '\n'.join(lines))


def _parse_file(path: str, text: str) -> Iterator[ConfigFile]:
    """Find the names that a file assigns and reads; a file without Python has no variables."""
    try:
        tree = ast.parse(PLACEHOLDER.sub('0', text))
    except SyntaxError:
        return
    targets = [
        target
        for node in tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    ]
    assigned = [target.id for target in targets if isinstance(target, ast.Name)]
    read = {
        node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    # A written config has all settings as literals, and former variables among them.
    is_written = len(assigned) >= MANY and '_base_' not in assigned and read <= LITERALS
    is_own = not is_written and '.mim' not in Path(path).parts
    yield ConfigFile(path, assigned, read, set(BASE_NAME.findall(text)), is_own)
