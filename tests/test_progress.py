"""Progress of long steps: lines with the right time left, or a bar on a terminal."""

import io
import re
import time

import pytest
from rich.console import Console

from abaw_mm import progress
from abaw_mm.progress import format_time_left, show_progress


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets."""
    now = [100.0]
    monkeypatch.setattr(progress.time, 'monotonic', lambda: now[0])
    return now


def test_lines_after_10_and_then_every_30_seconds(clock):
    lines = []
    with show_progress('Packing', lines.append) as update:
        for second in range(1, 101):
            clock[0] = 100.0 + second
            update(second, 100)
    assert lines == [
        'Packing: 10 of 100, 1/s, 0:01:30 left',
        'Packing: 40 of 100, 1/s, 0:01:00 left',
        'Packing: 70 of 100, 1/s, 0:00:30 left',
    ]


def test_short_step_writes_nothing(clock):
    lines = []
    with show_progress('Packing', lines.append) as update:
        clock[0] += 9
        update(1, 2)
        clock[0] += 9
        update(2, 2)
    assert lines == []


def test_terminal_shows_a_bar_with_the_time_left(monkeypatch):
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=100)
    monkeypatch.setattr(progress, 'Console', lambda **_: console)
    lines = []
    with show_progress('Packing', lines.append) as update:
        for done in (10, 20, 30):
            time.sleep(0.05)
            update(done, 120)
    text = stream.getvalue()
    assert 'Packing' in text and '30/120' in text and '25%' in text and '-:--:--' in text
    speed = float(re.findall(r'([\d.e+]+)/s', text)[-1])
    assert 0 < speed <= 250  # 10 per 0.05 s or more, on a machine that may be busy
    assert lines == []


def test_other_processes_are_silent(monkeypatch, clock):
    monkeypatch.setattr(progress, 'is_main_process', lambda: False)
    lines = []
    with show_progress('Packing', lines.append) as update:
        clock[0] += 60
        update(1, 2)
    assert lines == []


@pytest.mark.parametrize(
    'elapsed, done, total, left', [(10, 1, 4, '0:00:30'), (8, 4, 4, '0:00:00')]
)
def test_time_left(elapsed, done, total, left):
    assert format_time_left(elapsed, done, total) == f'{left} left'
