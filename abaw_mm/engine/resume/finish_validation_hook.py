"""Run the validation that a stopped run did not finish."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmengine.runner.base_loop import BaseLoop
from mmpretrain.registry import HOOKS

VALIDATED = 'validated_iter'  # in the message hub: the last step that was validated


@HOOKS.register_module()
class FinishValidationHook(Hook):
    """Run the validation that a stopped run has lost, so that ``best_*`` is the best of all steps.

    A checkpoint is saved before the validation of its step. A run that is stopped in between would
    never score that step, or would forget that it was the best. So the checkpoint is saved again
    after its validation, with a note of it. A run that is resumed from a checkpoint without the
    note begins with the validation, also at the last step.

    A run that is resumed from an older checkpoint removes ``best_*`` files of later steps as soon
    as it saves a new one, since ``CheckpointHook`` does not know them.
    """

    priority = 'LOWEST'  # after CheckpointHook

    def __init__(self) -> None:
        self._later_best: list[str] = []

    def before_train(self, runner: Runner) -> None:
        """Run the validation of the resumed checkpoint if it is due."""
        if not runner._resume or runner.val_loop is None:
            return
        hooks = list(_find_checkpoint_hooks(runner))
        self._later_best = [path for hook in hooks for path in _list_later_best(hook, runner)]
        for hook in hooks:  # which forgets it, and would not save the step of the next best again
            hook.last_ckpt = _name_checkpoint(hook, runner)
        if _is_due(runner) and runner.message_hub.runtime_info.get(VALIDATED) != runner.iter:
            print_log(
                f'Validating iteration {runner.iter} first: the stopped run had not finished that',
                logger='current',
            )
            runner.val_loop.run()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Note the validation in the checkpoint of the step, if there is one."""
        if not isinstance(runner._train_loop, BaseLoop):  # a validation alone
            return
        runner.message_hub.update_info(VALIDATED, runner.iter)
        for hook in _find_checkpoint_hooks(runner):
            if hook.last_ckpt == _name_checkpoint(hook, runner):
                meta = dict(epoch=runner.epoch, iter=runner.iter)
                hook._save_checkpoint_with_step(runner, _count_steps(hook, runner), meta)
            if hook.save_best and self._later_best:
                self._remove_later_best(hook, runner)

    def _remove_later_best(self, hook: CheckpointHook, runner: Runner) -> None:
        """Remove the files of later steps once there is a new best checkpoint."""
        info = runner.message_hub.runtime_info
        current = [path for name, path in info.items() if name.startswith('best_ckpt')]
        filename = os.path.basename(_name_checkpoint(hook, runner))
        if not any(path.endswith(f'_{filename}') for path in current):
            return
        if is_main_process():
            for path in set(self._later_best) - set(current):
                Path(path).unlink(missing_ok=True)
        self._later_best.clear()


def _find_checkpoint_hooks(runner: Runner) -> Iterator[CheckpointHook]:
    return (hook for hook in runner.hooks if isinstance(hook, CheckpointHook))


def _count_steps(hook: CheckpointHook, runner: Runner) -> int:
    return runner.epoch if hook.by_epoch else runner.iter


def _name_checkpoint(hook: CheckpointHook, runner: Runner) -> str:
    """Return the path at which the hook saves the current step."""
    return os.path.join(hook.out_dir, hook.filename_tmpl.format(_count_steps(hook, runner)))


def _list_later_best(hook: CheckpointHook, runner: Runner) -> list[str]:
    """List the files of best checkpoints that the hook saved after the current step."""
    if not hook.save_best or not os.path.isdir(hook.out_dir):
        return []
    keys = '|'.join(re.escape(key.replace('/', '_')) for key in hook.key_indicators)
    name = r'(\d+)'.join(map(re.escape, re.split(r'\{[^}]*\}', hook.filename_tmpl)))
    found = ((re.fullmatch(f'best_(?:{keys})_{name}', f), f) for f in os.listdir(hook.out_dir))
    now = _count_steps(hook, runner)
    return [
        os.path.join(hook.out_dir, file) for match, file in found if match and int(match[1]) > now
    ]


def _is_due(runner: Runner) -> bool:
    """Return whether the train loop validates after the current step."""
    loop = runner.train_loop
    if isinstance(loop, EpochBasedTrainLoop):
        done, end = loop.epoch, loop.max_epochs
    else:
        done, end = loop.iter, loop.max_iters
    loop._decide_current_val_interval()
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)
