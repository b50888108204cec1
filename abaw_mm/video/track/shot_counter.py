"""Cuts between the shots of a video."""

from typing import NamedTuple

import cv2
import numpy as np

from abaw_mm.video.video_frame import VideoFrame

THUMBNAIL = (32, 18)  # width and height, in pixels
BINS = 4  # of the histogram, per colour
# Share of the colours, and one minus the correlation of brightness, that a cut changes.
# Neighbouring frames of one shot rarely reach 0.15.
LIMIT = 0.35
MAX_FLASH = 0.5  # seconds


class _Look(NamedTuple):
    """What a picture looks like."""

    histogram: np.ndarray  # of its colours, sum 1
    pattern: np.ndarray  # of its brightness, mean 0 and deviation 1

    @classmethod
    def of(cls, image: np.ndarray) -> '_Look':
        small = cv2.resize(image, THUMBNAIL, interpolation=cv2.INTER_AREA)
        histogram = cv2.calcHist([small], [0, 1, 2], None, [BINS] * 3, [0, 256] * 3)
        grey = small.astype(np.float32).mean(axis=-1)
        pattern = (grey - grey.mean()) / (grey.std() + 2)  # noise on a plain picture is no pattern
        return cls(histogram / histogram.sum(), pattern)

    def differs(self, other: '_Look') -> bool:
        """Return whether colours and pattern both differ by more than the limit."""
        colours = 1 - np.minimum(self.histogram, other.histogram).sum()
        pattern = 1 - (self.pattern * other.pattern).mean()
        return bool(min(colours, pattern) > LIMIT)


class ShotCounter:
    """Number the shots of a video.

    A cut changes the colours of the picture and where it is bright, both from one frame to the
    next. A camera that pans keeps the colours, a flash keeps the pattern. A flash that leaves
    nothing of the picture looks like a cut, and is undone when the picture returns within half a
    second.
    """

    def __init__(self) -> None:
        self._shot, self._shots = 0, 1
        self._look: _Look | None = None
        self._before: tuple[int, _Look, float] | None = None  # the shot before the last cut

    def update(self, frame: VideoFrame) -> int:
        """Return the number of the shot of the next frame, from 0."""
        last, self._look = self._look, _Look.of(frame.image)
        if last is None or not self._look.differs(last):
            return self._shot
        before = self._before
        self._before = (self._shot, last, frame.time)
        if (
            before is not None
            and frame.time - before[2] <= MAX_FLASH
            and not self._look.differs(before[1])
        ):
            self._shot = before[0]
        else:
            self._shot, self._shots = self._shots, self._shots + 1
        return self._shot
