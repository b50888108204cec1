"""Give each frame of a video its time."""

from fractions import Fraction
from typing import Any


class FrameClock:
    """Turn the time stamps of consecutive frames into times that increase.

    The time is the presentation time stamp, or the decoding time stamp without one. A stamp that
    repeats the one before gets the next unit of the time base, so that those after it keep their
    times. Where a stamp is missing or goes back, as in two recordings in one file, the frame
    follows the one before at the mean rate, and the next ones keep their distances.

    Args:
        time_base (Fraction): Unit of the stamps in seconds.
        rate (Fraction): Mean frames/s.
        is_avi (bool): Whether the container is AVI. It stores frames by their number in the order
            of decoding, from which FFmpeg derives presentation time stamps out of order.
    """

    def __init__(self, time_base: Fraction, rate: Fraction, is_avi: bool) -> None:
        self.time_base = time_base
        self._step = max(1, round(1 / (rate * time_base)))
        self._is_avi = is_avi
        self._stamp = 0  # of the last frame that has one
        self._tick: int | None = None  # time of the last frame in units of the time base

    def read(self, frame: Any) -> float:
        """Return the time of the next frame of PyAV in seconds."""
        stamp = frame.dts if self._is_avi or frame.pts is None else frame.pts
        if self._tick is None:
            self._tick = self._stamp = stamp or 0
        elif stamp is None or stamp < self._stamp:
            self._tick += self._step
        elif stamp > self._tick:
            self._tick = stamp
        else:
            self._tick += max(1, stamp - self._stamp)
        self._stamp = self._stamp if stamp is None else stamp
        return float(self._tick * self.time_base)
