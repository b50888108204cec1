"""Apply the config of a resumed run, and list what differs from the checkpoint's."""

import ast
import inspect
import logging
import warnings
from typing import Any

from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS

from abaw_mm.errors import InvalidValueError

META_KEY = 'world_size'  # in the meta of a checkpoint: the number of processes of its run
PROCESSES = 'number of processes'
MAX_LISTED = 20  # settings
# Top-level names that are compared: settings of the run, not variables of the config, without
# those that say where it starts and where it writes.
COMPARED = {*inspect.signature(Runner).parameters, 'checkpoint', 'efficient_conv_bn_eval'} - {
    *('cfg', 'experiment_name', 'launcher', 'load_from', 'resume', 'work_dir')
}
USED = 'used'
UNSET = 'unset'
EFFECTS = {
    PROCESSES: f'{USED}; past steps count as steps of the new batch in the draw of frames',
    'train_dataloader.batch_size': f'{USED}; past steps count as steps of the new batch in the '
    'draw of frames',
    'checkpoint': 'ignored: the weights are those of the resumed checkpoint',
    'randomness.seed': 'ignored: a resumed run keeps its seed; set train_dataloader.sampler.seed',
}
# Of a scheduler; the rest is its schedule. The last three are of ReduceOnPlateauLR.
PROGRESS = {
    *('last_step', '_global_step', '_last_value'),
    *('best', 'num_bad_epochs', 'cooldown_counter'),
}
KERNELS = {'params', 'param_names', 'fused', 'foreach'}  # of a parameter group


@HOOKS.register_module()
class ResumedConfigHook(Hook):
    """Continue a resumed run with the values of its config, and list what differs.

    mmengine restores learning rate, momentum, weight decay and the schedule of the checkpoint,
    whatever the config says. If the config has others, they are used from here on: the learning
    rate becomes that of an unbroken run with this config at the same step. So the cosine of a
    longer run (``train_cfg.max_iters``) ends at its new end. An unchanged config continues exactly.

    The settings that differ from the config in the checkpoint are logged as one list, with what
    happens to each.

    Raises:
        InvalidValueError: If the optimizer has another number of groups of parameters, or a new
            schedule depends on past scores.
    """

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store the number of processes in the checkpoint."""
        checkpoint['meta'][META_KEY] = get_world_size()

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """List the differences, and adapt the state of the schedule, before mmengine loads it."""
        if not runner._resume or not isinstance(runner._train_loop, BaseLoop):
            return
        changes = _find_changes(runner, checkpoint)
        rates = _apply_schedule(runner, checkpoint)
        if not changes and not rates:
            return
        lines = [
            f'{key}: {old} -> {new}, {EFFECTS.get(key, USED)}'
            for key, (old, new) in sorted(changes.items())
        ]
        if len(lines) > MAX_LISTED:
            lines[MAX_LISTED:] = [f'and {len(lines) - MAX_LISTED} more, used']
        print_log(
            '\n  '.join(
                [f'settings that differ from the checkpoint: {len(changes)}', *lines, *rates]
            ),
            logger='current',
            level=logging.WARNING,
        )


def _find_changes(runner: Runner, checkpoint: dict) -> dict[str, tuple[Any, Any]]:
    """Return the settings that differ, as texts of the checkpoint's value and of the config's."""
    meta = checkpoint.get('meta', {})
    if not isinstance(meta.get('cfg'), str):
        return {}
    old, new = flatten_config(meta['cfg']), flatten_config(runner.cfg.pretty_text)
    if 'seed' in meta and new.get('randomness.seed', 'None') != 'None':
        old['randomness.seed'] = repr(meta['seed'])  # None in the config: a random one
    if META_KEY in meta:
        old[PROCESSES], new[PROCESSES] = repr(meta[META_KEY]), repr(get_world_size())
    changed = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return merge_sections(
        {
            key: (old.get(key, UNSET), new.get(key, UNSET))
            for key in changed
            if key == PROCESSES or key.split('.')[0].split('[')[0] in COMPARED
        }
    )


def merge_sections(changes: dict[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """List a section that one config leaves empty once, without its keys.

    >>> merge_sections({'a': ('unset', 'None'), 'a.b': ('1', 'unset'), 'ab': ('1', '2')})
    {'a': ('dict(...)', 'None'), 'ab': ('1', '2')}
    """
    merged = {}
    for key, (old, new) in changes.items():
        parents = [key[:end] for end in range(len(key)) if key[end] in '.[']
        if any(UNSET in changes.get(parent, ()) for parent in parents):
            continue
        if any(other.startswith((f'{key}.', f'{key}[')) for other in changes):
            old, new = ('dict(...)' if value == UNSET else value for value in (old, new))
        merged[key] = old, new
    return merged


def flatten_config(text: str) -> dict[str, str]:
    """Return the values of a config that mmengine has written, by their dotted keys.

    The text is parsed, not run, because it may be a stranger's.

    >>> flatten_config("a = dict(b=1, c=[dict(d='x'), None])")
    {'a.b': '1', 'a.c[0].d': "'x'", 'a.c[1]': 'None'}
    >>> flatten_config('not a config')
    {}
    """
    flat: dict[str, str] = {}
    try:
        for statement in ast.parse(text).body:
            if isinstance(statement, ast.Assign):
                _flatten(ast.unparse(statement.targets[0]), statement.value, flat)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return flat


def _flatten(key: str, node: ast.expr, flat: dict[str, str]) -> None:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict' and node.keywords:
        for keyword in node.keywords:
            _flatten(f'{key}.{keyword.arg}' if keyword.arg else key, keyword.value, flat)
    elif isinstance(node, ast.Dict) and node.keys:
        for name, value in zip(node.keys, node.values, strict=True):
            _flatten(f'{key}.{ast.literal_eval(name) if name else ""}', value, flat)
    elif isinstance(node, ast.List | ast.Tuple) and any(
        isinstance(item, ast.Call | ast.Dict | ast.List) for item in node.elts
    ):
        for index, item in enumerate(node.elts):
            _flatten(f'{key}[{index}]', item, flat)
    else:
        flat[key] = ast.unparse(node)


def _apply_schedule(runner: Runner, checkpoint: dict) -> list[str]:
    """Replace optimizer settings and schedule in the checkpoint if the config has others.

    Returns:
        list: A line with the new learning rate if it is another one.
    """
    wrapper, schedulers = runner.optim_wrapper, runner.param_schedulers or []
    state, old_schedulers = checkpoint.get('optimizer'), checkpoint.get('param_schedulers') or []
    if not isinstance(wrapper, OptimWrapper) or not isinstance(state, dict):
        return []
    groups, old_groups = wrapper.param_groups, list(state['param_groups'])
    if 'base_param_settings' in state:
        old_groups.append(state['base_param_settings'])
    if len(groups) != len(old_groups):
        raise InvalidValueError(
            f'optim_wrapper: got {len(groups)} groups of parameters, expected {len(old_groups)} as '
            'in the checkpoint that the run resumes from; restore optim_wrapper.paramwise_cfg, or '
            'start a new run from the weights with --cfg-options load_from=CHECKPOINT'
        )
    states = [scheduler.state_dict() for scheduler in schedulers]
    if _drop(states, PROGRESS) == _drop(old_schedulers, PROGRESS) and (
        _settings(groups) == _settings(old_groups)
    ):
        return []
    if any(getattr(scheduler, 'need_val_args', False) for scheduler in schedulers):
        raise InvalidValueError(
            'param_scheduler: got another schedule than that of the checkpoint, with a scheduler '
            'that depends on past scores; restore the schedule, or start a new run from the '
            'weights with --cfg-options load_from=CHECKPOINT'
        )
    before = old_groups[0].get('lr')
    _replay(schedulers, runner, checkpoint['meta'])
    for group, old in zip(groups, old_groups, strict=True):
        old.update({key: value for key, value in group.items() if key not in KERNELS})
    checkpoint['param_schedulers'] = [scheduler.state_dict() for scheduler in schedulers]
    step = checkpoint['meta']['iter']
    after = groups[0].get('lr')
    if before == after:
        return []
    return [f'learning rate after step {step}: {before:.4g} -> {after:.4g}, used']


def _replay(schedulers: list, runner: Runner, meta: dict) -> None:
    """Step fresh schedulers as far as the run has come."""
    epochs = meta['epoch'] if isinstance(runner.train_loop, EpochBasedTrainLoop) else 0
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', UserWarning)  # that the optimizer has not stepped
        for step in range(1, meta['iter'] + 1):
            is_last = epochs > 0 and step % (meta['iter'] // epochs) == 0
            for by_epoch in (False, True) if is_last else (False,):
                for scheduler in schedulers:
                    if scheduler.by_epoch == by_epoch:
                        scheduler.step()


def _drop(states: list[dict], keys: set[str]) -> list[dict]:
    return [{key: value for key, value in state.items() if key not in keys} for state in states]


def _settings(groups: list[dict]) -> list[dict]:
    """Return the settings of parameter groups, scheduled ones with their initial values."""
    return [
        {
            key: value
            for key, value in group.items()
            if key not in KERNELS and f'initial_{key}' not in group
        }
        for group in groups
    ]
