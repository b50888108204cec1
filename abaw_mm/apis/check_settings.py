"""Find misspelt settings at the top level of a config."""

import difflib
import inspect
import logging
import re
from collections.abc import Iterable

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

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
    'runner_type',
    'tta_model',
    'tta_pipeline',
    'checkpoint',
} - {'cfg'}
CUTOFF = 0.85  # similarity from which a name counts as misspelt: 'chekpoint' has 0.95


def find_closest_setting(name: str) -> str | None:
    """Return the setting that a name is probably a misspelling of.

    >>> find_closest_setting('chekpoint'), find_closest_setting('data_root')
    ('checkpoint', None)
    """
    if name in SETTINGS or name == 'test_pipeline':  # which is similar to tta_pipeline
        return None
    return next(iter(difflib.get_close_matches(name, SETTINGS, 1, CUTOFF)), None)


def check_settings(cfg: Config, overrides: Iterable[str] = ()) -> None:
    """Raise for misspelt settings, and warn of overrides without effect.

    A variable that the config itself uses may have any name, such as ``custom_hook`` in
    ``custom_hooks = [custom_hook]``.

    Args:
        cfg (Config): Config, including the overrides.
        overrides (Iterable[str]): Keys of ``--cfg-options``.

    Raises:
        InvalidValueError: If an unused name is similar to the name of a setting.
    """
    words = re.findall(r'\w+', cfg.text)
    for name in cfg:
        closest = find_closest_setting(name)
        if closest is not None and words.count(name) < 2:
            raise InvalidValueError(
                f'{name}: got an unknown setting at the top level of the config; did you mean '
                f'{closest}?'
            )
    for key in overrides:
        name = key.split('.')[0]
        if name not in SETTINGS:
            print_log(
                f'--cfg-options {key}=...: nothing reads {name}, so this has no effect; override '
                'the setting that the config derives from it, such as '
                'train_dataloader.dataset.data_root',
                logger='current',
                level=logging.WARNING,
            )
