"""How much boxes overlap."""

import numpy as np


def compute_overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Compute the intersection over union of each pair of boxes.

    Args:
        a (ndarray): (N, 4) left, top, right, bottom.
        b (ndarray): (M, 4) likewise.

    Returns:
        ndarray: (N, M), 0 to 1.

    >>> compute_overlaps(np.array([[0, 0, 2, 2]]), np.array([[1, 0, 3, 2], [5, 5, 6, 6]])).round(2)
    array([[0.33, 0.  ]])
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    common = np.maximum(high - low, 0).prod(axis=-1)
    area_a, area_b = ((boxes[:, 2:] - boxes[:, :2]).prod(axis=-1) for boxes in (a, b))
    return common / (area_a[:, None] + area_b[None] - common)
