"""One face and its attention maps."""

from dataclasses import dataclass

import numpy as np

from abaw_mm.visualization.attention.attention_maps import AttentionMaps


@dataclass
class ExplainedFace:
    """A face as the network sees it, its prediction and its attention maps.

    Attributes:
        name (str): Clip or folder, and file name.
        image (ndarray): (H, W, 3) uint8 RGB, the network's input.
        truth (str | None): Labelled expression, None if unknown.
        predicted (str): Class with the highest probability.
        explained (str): Class that the maps explain.
        probabilities (dict): Class name to probability in 0-1.
        maps (AttentionMaps): Maps of this image, N = 1.
    """

    name: str
    image: np.ndarray
    truth: str | None
    predicted: str
    explained: str
    probabilities: dict[str, float]
    maps: AttentionMaps
