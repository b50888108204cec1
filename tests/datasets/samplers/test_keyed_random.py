"""Tests that keyed numbers are the published ones and behave like random numbers."""

import numpy as np
import pytest
from scipy import stats

from abaw_mm.datasets.samplers.keyed_random import (
    random_keys,
    uniform,
)


def test_equals_published_numbers_of_splitmix64():
    """The first outputs of SplitMix64 for the seed 1234567 (Rosetta Code's check values)."""
    bits = uniform(np.array([1234567], np.uint64), 5)[0]
    expected = np.array(
        [
            6457827717110365317,
            3203168211198807973,
            9817491932198370423,
            4593380528125082431,
            16408922859458223821,
        ],
        np.uint64,
    )
    assert bits.tolist() == ((expected >> np.uint64(11)) * 2.0**-53).tolist()


def test_keys_depend_on_all_parts_and_their_order():
    keys = {int(random_keys(*parts)[0]) for parts in np.ndindex(9, 9, 9)}
    assert len(keys) == 9**3
    assert random_keys(3, [5, 6])[1] == random_keys(3, 6)[0]


@pytest.mark.parametrize(
    'parts',
    [
        (0, 0, np.arange(20000)),
        (np.arange(20000), 0, 7),
        (1, np.arange(20000), 0),
    ],
)
def test_neighbours_are_uniform_and_independent(parts):
    numbers = uniform(random_keys(*parts), 3)
    assert numbers.min() >= 0 and numbers.max() < 1
    for column in numbers.T:
        assert stats.kstest(column, 'uniform').pvalue > 1e-3
        assert abs(np.corrcoef(column[1:], column[:-1])[0, 1]) < 0.03
    assert np.abs(np.corrcoef(numbers.T) - np.eye(3)).max() < 0.03
