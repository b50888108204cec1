"""Names at the top of a config that nothing reads, where a setting was meant."""

import difflib
import inspect
import logging
import re
from collections.abc import Iterable

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

# What is read at the top of a config: arguments of the Runner, what it takes from its config beside
# them, what mmengine's Config reads, and ours.
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
    'checkpoint',
} - {'cfg'}
TEST_ONLY = {'tta_model', 'tta_pipeline'}  # too much alike others' test_pipeline
ALIKE = 0.85  # share of equal letters from which a name is a slip of the pen: 'chekpoint' has 0.95


def setting_meant(name: str) -> str | None:
    """The setting that a name at the top of a config is a misspelling of, if it is one.

    >>> setting_meant('chekpoint'), setting_meant('checkpoint'), setting_meant('data_root')
    ('checkpoint', None, None)

    A number, or a word before or after, makes a name of its own:

    >>> setting_meant('model2'), setting_meant('small_model'), setting_meant('_model')
    (None, None, None)
    """
    if name in SETTINGS | TEST_ONLY or not re.fullmatch(r'[A-Za-z][A-Za-z_]*[A-Za-z]', name):
        return None
    for meant in difflib.get_close_matches(name, SETTINGS, 1, ALIKE):
        return None if f'_{meant}_' in f'_{name}_' else meant
    return None


def check_settings(cfg: Config, overrides: Iterable[str] = ()) -> None:
    """Refuse misspelt settings; warn of overrides that have no effect.

    A name of a user's own is none, however alike: one that a config goes on to use, as in
    ``custom_hook = dict(...)`` and ``custom_hooks = [custom_hook]``.

    Args:
        cfg (Config): With the overrides.
        overrides (Iterable[str]): Keys of ``--cfg-options``.

    Raises:
        ValueError: For a name that nothing reads and that is nearly that of a setting.
    """
    words = re.findall(r'\w+', cfg.text)
    for name in cfg:
        meant = setting_meant(name)
        if meant is not None and words.count(name) < 2:
            raise ValueError(
                f'{name}: got a name at the top of the config that nothing reads, expected a '
                f'setting; did you mean {meant}?'
            )
    for key in overrides:
        name = key.split('.')[0]
        if name not in SETTINGS | TEST_ONLY:
            print_log(
                f'--cfg-options {key}=...: {name} is no setting that a run reads, so this has no '
                'effect; what a config has made of a variable of its own is set by itself, such as '
                'train_dataloader.dataset.data_root',
                logger='current',
                level=logging.WARNING,
            )
