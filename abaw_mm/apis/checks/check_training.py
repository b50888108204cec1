"""Check settings of a training whose names only its built parts know."""

import difflib

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import InvalidValueError, shorten

FACTORS = ('lr_mult', 'decay_mult')  # what mmengine reads of an entry of custom_keys
CUTOFF = 0.8  # similarity from which a name counts as misspelt


def check_training(runner: Runner) -> None:
    """Raise for names of parameters and scores that do not exist.

    mmengine ignores a factor of the learning rate for such parameters, and looks for the score of
    the best checkpoint after the first validation.

    Args:
        runner (Runner): Runner with its model, hooks and validation loop.

    Raises:
        InvalidValueError: If ``custom_keys`` of the optimizer names no parameter or misspells a
            factor, or no metric of the validation has the prefix of ``save_best``.
    """
    _check_custom_keys(runner)
    if runner.val_loop is not None:
        _check_save_best(runner)


def _check_custom_keys(runner: Runner) -> None:
    paramwise = (runner.cfg.get('optim_wrapper') or {}).get('paramwise_cfg') or {}
    names = [name for name, _ in unwrap_model(runner.model).named_parameters()]
    for key, options in (paramwise.get('custom_keys') or {}).items():
        setting = f'optim_wrapper.paramwise_cfg.custom_keys: got {key!r}'
        if not any(key in name for name in names):
            parts = {part for name in names for part in name.split('.')}
            close = difflib.get_close_matches(key, sorted(parts), 3, 0) or sorted(parts)[:3]
            raise InvalidValueError(
                f'{setting}, expected a part of the name of a parameter; did you mean '
                f'{" or ".join(close)}?'
            )
        for option in options:
            close = difflib.get_close_matches(option, FACTORS, 1, CUTOFF)
            if close and option not in FACTORS:
                raise InvalidValueError(f'{setting} with {option}; did you mean {close[0]}?')


def _check_save_best(runner: Runner) -> None:
    prefixes = [metric.prefix for metric in runner.val_loop.evaluator.metrics]
    if not all(prefixes):  # such a metric may have any name
        return
    for hook in runner.hooks:
        if not isinstance(hook, CheckpointHook) or hook.save_best is None:
            continue
        for key in hook.key_indicators:
            if key != 'auto' and not key.startswith(tuple(f'{prefix}/' for prefix in prefixes)):
                raise InvalidValueError(
                    f'default_hooks.checkpoint.save_best: got {key!r}, expected a score of the '
                    f'validation, which begin with {shorten([f"{prefix}/" for prefix in prefixes])}'
                    '; add that'
                )
