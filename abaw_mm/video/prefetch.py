"""Run the steps of a pipeline side by side, with a bounded number of items between them."""

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

Item = TypeVar('Item')
END: Any = object()
AHEAD = 4  # frames that wait between two steps of a pipeline


def prefetch(items: Iterable[Item], size: int) -> Generator[Item, None, None]:
    """Iterate in a background thread that is at most ``size`` items ahead.

    NumPy, OpenCV, PyAV and torch release the interpreter lock, so the steps before and after this
    one share the cores. An error in the thread is raised here, after the items before it. A
    generator is closed when the iteration ends, however it ends.

    Args:
        items (Iterable): Items to iterate over.
        size (int): Maximum number of items that wait, at least 1. It bounds the memory.

    >>> list(prefetch(range(3), size=2))
    [0, 1, 2]
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, 'prefetch') as thread:
        waiting = deque(thread.submit(next, iterator, END) for _ in range(size))
        try:
            while (item := waiting.popleft().result()) is not END:
                waiting.append(thread.submit(next, iterator, END))
                yield item
        finally:
            thread.shutdown(cancel_futures=True)
            if isinstance(iterator, Generator):
                iterator.close()
