"""Test that steps run side by side in order, with bounded memory, and end with their consumer."""

import threading
import time

import pytest

from abaw_mm.video.prefetch import prefetch


def count(number: int, made: list[int], closed: list[bool], fails_at: int | None = None):
    """Yield numbers, and record which were made and whether the generator was closed."""
    try:
        for i in range(number):
            if i == fails_at:
                raise ValueError(f'item {i}')
            made.append(i)
            yield i
    finally:
        closed.append(True)


@pytest.mark.parametrize('size', [1, 3, 100])
def test_items_keep_their_order(size):
    assert list(prefetch(count(20, [], []), size)) == list(range(20))


def test_thread_is_at_most_size_items_ahead():
    made: list[int] = []
    iterator = prefetch(count(100, made, []), size=3)
    assert next(iterator) == 0
    deadline = time.monotonic() + 5
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert made == [0, 1, 2, 3]
    iterator.close()


def test_error_is_raised_after_the_items_before_it():
    seen = []
    with pytest.raises(ValueError, match='item 5'):
        for item in prefetch(count(20, [], [], fails_at=5), size=8):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]


def test_consumer_that_stops_closes_generators_and_ends_threads():
    made: list[int] = []
    closed: list[bool] = []
    before = threading.active_count()
    iterator = prefetch(prefetch(count(10**6, made, closed), size=2), size=2)
    for item in iterator:
        if item == 3:
            break
    iterator.close()
    assert closed == [True] and len(made) < 12
    assert threading.active_count() == before
