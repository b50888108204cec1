"""End the workers of data loaders together with the run that they load for."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mmengine.runner import Runner


@contextmanager
def end_workers(runner: Runner) -> Iterator[None]:
    """End the workers of a Runner's data loaders when the block ends, however it ends.

    Otherwise they end with the Runner. As it refers to itself, Python's garbage collector closes
    the queues of the workers first, and PyTorch waits 5 s for each of them in vain.
    """
    try:
        yield
    finally:
        for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
            for owner in (
                getattr(loop, 'dataloader', None),  # of persistent workers
                getattr(loop, 'dataloader_iterator', None),  # of a loop that counts iterations
            ):
                iterator: Any = vars(owner).get('_iterator') if owner is not None else None
                if hasattr(iterator, '_shutdown_workers'):
                    iterator._shutdown_workers()
