"""Read frames from a camera."""

import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import Any, Protocol

import cv2
import numpy as np

from abaw_mm.errors import FileAccessError
from abaw_mm.video.video_frame import VideoFrame

PATIENCE = 10.0  # seconds without a frame after which a camera is taken to be lost


class Capture(Protocol):
    """The part of ``cv2.VideoCapture`` that a camera needs."""

    def read(self) -> tuple[bool, Any]:
        """Wait for the next frame; return whether there is one, and (H, W, 3) uint8 BGR."""

    def release(self) -> None:
        """Close the device."""


class CameraReader:
    """Read the newest frame of a camera.

    A thread reads every frame of the camera and keeps only the newest. So a slow consumer gets
    fewer frames, but none that is late. The time of a frame is the time since the first one, by the
    clock of the computer. Frame numbers count the frames that are yielded.

    Use it as a context manager, or iterate to its end: the camera is closed then.

    Args:
        camera (int | Capture): Number of the camera, as OpenCV counts them, or an open capture.

    Attributes:
        path: None, as a camera has no file. With ``start``, ``end`` and ``time_base`` it can
            replace a VideoReader.
        width (int): Width of the frames in pixels.
        height (int): Height of the frames in pixels.
        rate (Fraction): Frames/s that the camera claims, 30 if it does not.
        time_base (Fraction): Unit in which videos of the camera store times, in seconds.
        dropped (int): Number of frames of the camera that were not yielded.

    Raises:
        OSError: If the camera cannot be opened or gives no frame. While iterating: if an open
            capture raises it.
    """

    path = None
    start = end = duration = num_frames = None
    time_base = Fraction(1, 90000)

    def __init__(self, camera: int | Capture = 0) -> None:
        self._name = f'camera {camera}' if isinstance(camera, int) else 'camera'
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)  # lists all it has tried
        self._capture = cv2.VideoCapture(camera) if isinstance(camera, int) else camera
        is_read, image = self._capture.read()
        if not is_read:
            self._capture.release()
            raise FileAccessError(
                f'{self._name}: got no frame; plug it in, end other programs that use it, or '
                'give another number'
            )
        self.height, self.width = image.shape[:2]
        claimed = self._capture.get(cv2.CAP_PROP_FPS) if hasattr(self._capture, 'get') else 0
        self.rate = Fraction(claimed if 1 <= claimed <= 240 else 30).limit_denominator(1001)
        self.dropped = 0
        self._changed = threading.Condition()
        self._newest: tuple[float, np.ndarray] | None = (time.monotonic(), image)
        self._has_ended = False
        self._thread = threading.Thread(target=self._read, name=self._name, daemon=True)
        self._thread.start()

    def __enter__(self) -> 'CameraReader':
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading and close the camera."""
        self._has_ended = True
        self._thread.join(PATIENCE)
        self._capture.release()

    def __iter__(self) -> Iterator[VideoFrame]:
        first, index = None, 0
        try:
            while (newest := self._wait()) is not None:
                at, image = newest
                first = at if first is None else first
                yield VideoFrame(index, at - first, cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
                index += 1
        finally:
            self.close()

    def _read(self) -> None:
        """Keep the newest frame until the camera ends."""
        while not self._has_ended:
            is_read, image = self._capture.read()
            with self._changed:
                if is_read:
                    self.dropped += self._newest is not None
                    self._newest = time.monotonic(), image
                else:
                    self._has_ended = True
                self._changed.notify()

    def _wait(self) -> tuple[float, np.ndarray] | None:
        """Return the newest frame once there is one, or None after the end."""
        with self._changed:
            is_there = self._changed.wait_for(
                lambda: self._newest is not None or self._has_ended, PATIENCE
            )
            newest, self._newest = self._newest, None
        if not is_there:
            raise FileAccessError(
                f'{self._name}: got no frame for {PATIENCE:.0f} s; plug it in again'
            )
        return newest
