"""One picture of a video with its time."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class VideoFrame:
    """One decoded frame.

    Attributes:
        index (int): Number of the frame in its video, in the order of presentation, from 0.
        time (float): Presentation time in seconds: ``pts * time_base`` of the container, never the
            number divided by a rate.
        image (ndarray): (H, W, 3) uint8 RGB, upright: rotated as the container says.
    """

    index: int
    time: float
    image: np.ndarray
