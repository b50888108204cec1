"""Random numbers that depend on a key, not on how many were drawn before.

Numbers of a generator depend on how many were drawn before, hence on the number of workers and
processes. Here a number is a hash of seed, epoch and position, as in counter-based generators
(Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*). The hash is the finaliser of
SplitMix64 (Steele, Lea and Flood 2014), whose output passes the usual tests for randomness.
"""

import random

import numpy as np
import torch
from numpy.typing import ArrayLike

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # SplitMix64's step, 2**64 over the golden ratio


def _mix(x: np.ndarray) -> np.ndarray:
    """Apply SplitMix64's finaliser to (..., ) uint64."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def random_keys(*parts: ArrayLike) -> np.ndarray:
    """Hash rows of numbers, such as seed, epoch and position, into one key each.

    Args:
        *parts: (N, ) non-negative integers, or single ones.

    Returns:
        ndarray: (N, ) uint64.
    """
    key = np.zeros(1, np.uint64)
    for part in parts:
        key = _mix(key + GOLDEN + np.atleast_1d(np.asarray(part)).astype(np.uint64))
    return key


def uniform(keys: np.ndarray, number: int) -> np.ndarray:
    """Draw ``number`` values in [0, 1) for each key, (N, number) float64.

    >>> first = uniform(random_keys(0, 1, [5, 6]), 2)
    >>> bool((first[1] == uniform(random_keys(0, 1, 6), 2)[0]).all())
    True
    """
    counter = np.arange(1, number + 1, dtype=np.uint64) * GOLDEN
    bits = _mix(np.asarray(keys, np.uint64)[:, None] + counter)
    return (bits >> np.uint64(11)) * 2.0**-53  # a float64 holds 53 bits


def seed_generators(key: np.uint64) -> None:
    """Seed the global generators of Python, NumPy and torch with a key.

    >>> seed_generators(random_keys(0)[0])
    >>> first = random.random(), np.random.rand(), torch.rand(1)
    >>> seed_generators(random_keys(0)[0])
    >>> first == (random.random(), np.random.rand(), torch.rand(1))
    True
    """
    random.seed(int(key))
    np.random.seed(np.atleast_1d(key).view(np.uint32))  # its seeds have 32 bits each
    torch.default_generator.manual_seed(int(key))
    if torch.cuda.is_initialized():  # not in a worker; torch.manual_seed takes 1 ms without CUDA
        torch.cuda.manual_seed_all(int(key))
