"""Test the live source with captures that play pictures in real time."""

import threading
import time

import cv2
import numpy as np
import pytest

from abaw_mm.errors import FileAccessError
from abaw_mm.video import camera as module
from abaw_mm.video.camera import CameraReader

PERIOD = 0.02  # seconds


class PlayedCapture:
    """Give a picture every 20 ms, whether or not the one before was read; red is its number."""

    def __init__(self, frames, rate=0.0):
        self.frames, self.rate = frames, rate
        self.start = time.monotonic()
        self.count = 0
        self.is_open = True

    def get(self, name):
        return self.rate if name == cv2.CAP_PROP_FPS else 0.0

    def read(self):
        self.count = max(self.count + 1, int((time.monotonic() - self.start) / PERIOD) + 1)
        time.sleep(max(0, self.start + self.count * PERIOD - time.monotonic()))
        if self.count > self.frames:
            return False, None
        image = np.zeros((24, 32, 3), np.uint8)
        image[..., 2] = self.count
        return True, image

    def release(self):
        self.is_open = False


class StuckCapture(PlayedCapture):
    """Give one picture, and then wait."""

    def __init__(self):
        super().__init__(9)
        self.event = threading.Event()

    def read(self):
        if self.count:
            self.event.wait(5)
            return False, None
        return super().read()


def test_fast_consumer_gets_the_frames_with_their_times():
    capture = PlayedCapture(15)
    with CameraReader(capture) as reader:
        frames = list(reader)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    times = np.array([frame.time for frame in frames])
    assert times[0] == 0 and np.all(np.diff(times) > 0)
    shown = np.array([frame.image[0, 0, 0] for frame in frames])  # red is first
    np.testing.assert_allclose(times, (shown - shown[0]) * PERIOD, atol=0.5)
    assert len(frames) + reader.dropped <= 15 and (reader.width, reader.height) == (32, 24)
    assert not capture.is_open


def test_slow_consumer_gets_the_newest_frame():
    capture, late = PlayedCapture(40), []
    reader = CameraReader(capture)
    for frame in reader:
        late.append(capture.count - int(frame.image[0, 0, 0]))
        time.sleep(5 * PERIOD)
    assert 4 <= len(late) <= 12 and reader.dropped >= 20
    assert max(late) <= 3  # a queue would be later with each frame


def test_camera_is_closed_when_the_consumer_stops():
    capture = PlayedCapture(1000)
    with CameraReader(capture) as reader:
        next(iter(reader))
    assert not capture.is_open and not reader._thread.is_alive()


def test_rate_is_that_of_the_camera_or_30():
    for claimed, rate in ((25.0, 25), (0.0, 30), (1e6, 30)):
        with CameraReader(PlayedCapture(2, claimed)) as reader:
            assert reader.rate == rate


def test_camera_without_frames_is_named(monkeypatch):
    with pytest.raises(FileAccessError, match='camera: got no frame'):
        CameraReader(PlayedCapture(0))
    monkeypatch.setattr(module.cv2, 'VideoCapture', lambda number: PlayedCapture(0))
    with pytest.raises(FileAccessError, match='camera 7: got no frame; plug it in'):
        CameraReader(7)


def test_camera_that_stops_giving_frames_is_an_error(monkeypatch):
    monkeypatch.setattr(module, 'PATIENCE', 0.2)
    capture = StuckCapture()
    reader = CameraReader(capture)
    with pytest.raises(FileAccessError, match='got no frame for'):
        list(reader)
    capture.event.set()
