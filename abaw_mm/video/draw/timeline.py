"""The states of the persons in a video over time, such as their classes."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Timeline:
    """State of each person in each frame, such as the class, see :class:`Readout`.

    Attributes:
        time (ndarray): (T,) float64, increasing, in seconds.
        label (ndarray): (P, T) int, state of the P persons; -1 without a face.

    Example:
        >>> timeline = Timeline(np.array([0.0, 0.5, 1.0]), np.array([[3, -1, 4]]))
        >>> timeline.sample(np.array([-0.1, 0.0, 0.49, 0.5, 1.2, 1.8]))
        array([[-1,  3,  3, -1,  4, -1]])
    """

    time: np.ndarray
    label: np.ndarray

    def sample(self, time: np.ndarray) -> np.ndarray:
        """Return the states (P, N) at N times. A frame lasts until the next one."""
        at = np.searchsorted(self.time, time, side='right') - 1
        last = 2 * self.time[-1] - self.time[-2] if len(self.time) > 1 else np.inf
        return np.where((at >= 0) & (time < last), self.label[:, at], -1)
