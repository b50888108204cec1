"""One face and its attention maps."""

from dataclasses import dataclass

import numpy as np

from abaw_mm.visualization.attention.attention_maps import AttentionMaps


@dataclass
class ExplainedFace:
    """One face, as the network saw it, and what :func:`attention_maps` tells of it.

    Attributes:
        name (str): Clip or folder, and file name.
        image (ndarray): (H, W, 3) uint8 RGB, the network's input.
        truth (str | None): Its expression, where known.
        predicted (str): The class with the highest probability.
        explained (str): The class that the maps are of.
        probabilities (dict): Of each class by name, 0 to 1.
        maps (AttentionMaps): Of this one image, N = 1.
    """

    name: str
    image: np.ndarray
    truth: str | None
    predicted: str
    explained: str
    probabilities: dict[str, float]
    maps: AttentionMaps
