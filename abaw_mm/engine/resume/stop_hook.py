"""End a training after SIGTERM or Ctrl-C without losing a step."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from abaw_mm.compat.end_with_parent import end_with_parent

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopHook(Hook):
    """Save a checkpoint at the end of the running step after SIGTERM or SIGINT, and end the run.

    Slurm sends SIGTERM before it preempts a job, at ``scancel`` and, with ``--signal``, before the
    time limit; Ctrl-C sends SIGINT. All processes of a run agree on the step. While gradients are
    accumulated, the step ends with the update of the weights. A validation is left at once: the
    checkpoint is that of the step before it. A second SIGINT ends the process at once, without a
    checkpoint. A loop that counts epochs only continues from the end of an epoch, so it saves none.

    The hook raises ``KeyboardInterrupt`` after SIGINT and ``SystemExit(143)`` after SIGTERM, as if
    the signal had arrived outside a training.
    """

    priority = 'LOWEST'  # after CheckpointHook

    def __init__(self) -> None:
        self.signal = 0  # the first one received
        self._process = os.getpid()
        self._group: dist.ProcessGroup | None = None
        self._before: dict[int, Any] = {}
        self._validates = False

    @contextmanager
    def handle_errors(self, runner: Runner) -> Iterator[None]:
        """Restore the signal handlers at the end of the training, however it ends.

        A process that leaves a validation breaks the collective operations of those that have
        finished it. These then end as if they had received the signal during the validation.
        """
        try:
            yield
        except RuntimeError:
            if not self.signal or not self._validates:
                raise
            self._stop(runner, runner.iter)
        finally:
            self._restore()

    def before_train(self, runner: Runner) -> None:
        """Start to note signals."""
        if get_world_size() > 1:  # of numbers on the CPU, which no GPU has to wait for
            self._group = dist.new_group(backend='gloo')
        if threading.current_thread() is threading.main_thread():  # others cannot set handlers
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def after_train_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Stop if any process has received a signal and the weights have been updated."""
        wrapper = runner.optim_wrapper
        if isinstance(wrapper, OptimWrapper) and not wrapper.should_update():
            return
        if self._agree():
            self._stop(runner, runner.iter + 1)

    def before_val(self, runner: Runner) -> None:
        """Note that the state is that after the last step."""
        self._validates = True

    def after_val_iter(self, runner: Runner, *args: Any, **kwargs: Any) -> None:
        """Stop if this process has received a signal."""
        if self.signal:
            self._stop(runner, runner.iter)

    def after_val(self, runner: Runner) -> None:
        """Note that steps follow."""
        self._validates = False

    def _note(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # a worker of a data loader ends with its process
        if self.signal and number == signal.SIGINT:
            signal.default_int_handler(number, frame)
        if not self.signal:
            self.signal = number
            name = signal.Signals(number).name
            # print() could interrupt another print() of this process
            os.write(2, f'{name}: stopping after this step (Ctrl-C: at once)\n'.encode())

    def _agree(self) -> bool:
        """Return whether any process has received a signal."""
        if self._group is not None:
            numbers = torch.tensor(self.signal)
            dist.all_reduce(numbers, dist.ReduceOp.MAX, self._group)
            self.signal = int(numbers)
        return self.signal != 0

    def _stop(self, runner: Runner, step: int) -> None:
        for hook in runner.hooks:
            if isinstance(hook, CheckpointHook) and not hook.by_epoch:
                meta = dict(epoch=runner.epoch, iter=step)
                hook._save_checkpoint_with_step(runner, step, meta)
        print_log(
            f'{signal.Signals(self.signal).name}: stopped after step {step}; --resume continues',
            logger='current',
        )
        if self._group is not None and not self._validates:
            dist.barrier(self._group)  # a process that ends makes a launcher kill the others
        if self.signal == signal.SIGINT:
            raise KeyboardInterrupt
        raise SystemExit(128 + self.signal)

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before = {}


_detaches = False


@contextmanager
def detach_workers() -> Iterator[None]:
    """Keep the signals of a terminal, ``timeout`` or torchrun from the workers of data loaders.

    They go to a process group. A worker that ends would break the step that its process wants to
    finish, so each process that the block forks gets a group of its own. It ends with its process.
    """
    global _detaches
    before, _detaches = _detaches, True
    try:
        yield
    finally:
        _detaches = before


def _detach() -> None:
    if _detaches:
        os.setpgrp()
        end_with_parent()


os.register_at_fork(after_in_child=_detach)
