"""Lock a folder for all processes of a run."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from mmengine.dist import broadcast_object_list, is_main_process

from abaw_mm.errors import FileAccessError
from abaw_mm.files import lock_folder


@contextmanager
def lock_run_folder(folder: str | os.PathLike, setting: str) -> Iterator[None]:
    """Lock a folder on the first process, see :func:`lock_folder`. All processes raise its errors.

    Call this on all processes, after the process group is initialized.
    """
    with ExitStack() as stack:
        problem: list[str | None] = [None]
        if is_main_process():
            try:
                stack.enter_context(lock_folder(folder, setting))
            except FileAccessError as error:
                problem = [str(error)]
        broadcast_object_list(problem)
        if problem[0] is not None:
            raise FileAccessError(problem[0])
        yield
