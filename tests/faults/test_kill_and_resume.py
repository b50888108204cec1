"""Commands that were killed at random moments end as unbroken ones, bit for bit."""

import random

import pytest

SLOW = (
    'audio',
    'fast',
    'plain',
    'mtl',
    'contrawarping',
    'byol',
    'simsiam',
    'temporal',
    'gated',
    'extract',
)


@pytest.mark.parametrize('way', ['pack', *(pytest.param(w, marks=pytest.mark.slow) for w in SLOW)])
def test_killed_command_ends_as_an_unbroken_one(kills, tmp_path, way):
    data, differences = kills.make_data(tmp_path / 'data'), []
    rows = kills.kill_and_resume(
        way, data, tmp_path, 1, 0, kills=4, rng=random.Random(way), log=differences.append
    )
    assert differences == [] and len(rows) == 4
    assert all(row['equal'] for row in rows)


def test_differences_of_one_bit_are_found(kills):
    one = dict(a=[kills.torch.zeros(2), 1.0], b=dict(c='x'))
    other = dict(a=[kills.torch.tensor([0.0, 1e-45]), 1.0], b=dict(c='x', d=None))
    assert list(kills.list_differences(one, one)) == []
    assert list(kills.list_differences(one, other)) == [
        '/a/0: tensors differ',
        '/b/d: only in one',
    ]
