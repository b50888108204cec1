"""Weights of classes in a loss, from the numbers of their frames."""

import numpy as np

EFFECTIVE_BETA = 0.9999  # the largest that Cui et al. tried


def inverse_frequency(counts: np.ndarray) -> np.ndarray:
    """Weight each class by the inverse of its frames, 1 for the most frequent class.

    Args:
        counts (ndarray): (C,) numbers of frames. A class without frames gets 0.

    Returns:
        ndarray: (C,) float64.

    >>> inverse_frequency(np.array([200, 50, 0])).tolist()
    [1.0, 4.0, 0.0]
    """
    return np.where(counts > 0, counts.max() / np.maximum(counts, 1), 0.0)


def effective_number(counts: np.ndarray, beta: float = EFFECTIVE_BETA) -> np.ndarray:
    """Weight each class by the inverse of its effective number of frames.

    Cui et al. 2019 (arXiv 1901.05555): frames of a class overlap, so that n of them count as
    (1 - beta^n) / (1 - beta). The weights are scaled to 1 for the most frequent class.

    Args:
        counts (ndarray): (C,) numbers of frames. A class without frames gets 0.
        beta (float): 0 weights all classes alike, 1 (excluded) would be the inverse frequency.

    Returns:
        ndarray: (C,) float64.

    >>> effective_number(np.array([200, 50]), beta=0.99).round(2).tolist()
    [1.0, 2.19]
    """
    # -expm1(n log beta) = 1 - beta^n, exact for small n
    number = -np.expm1(counts * np.log(beta))
    return np.where(counts > 0, number.max() / np.where(counts > 0, number, 1.0), 0.0)
