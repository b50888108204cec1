import numpy as np
import pytest
import torch

from abaw_mm.models.encoders import Encoder, ViewAverage
from abaw_mm.models.encoders.encoder import Inputs


class Columns(Encoder):
    """Features of which each depends on other columns of the picture."""

    name, layer, sha256 = 'columns', 'means', 'ab'
    inputs = Inputs((8, 8), (0, 0, 0), (1, 1, 1))

    def encode(self, pixels):
        return (pixels**2).mean((1, 2))


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (10, 16, 20)]


def encode_plainly(image, scale, mirror):
    side = len(image)
    part = round(scale * side)
    start = (side - part) // 2
    crop = image[start : start + part, start : start + part]
    if mirror:
        crop = crop[:, ::-1]
    return Columns().encode(Columns.inputs.prepare([crop]))[0]


@pytest.mark.parametrize('scales', [(1.0,), (1.0, 0.8), (0.5, 0.7, 0.9)])
@pytest.mark.parametrize('mirror', [False, True])
def test_features_are_the_mean_over_views(images, scales, mirror):
    average = ViewAverage(Columns(), scales, mirror)
    sides = [False, True] if mirror else [False]
    expected = [
        torch.stack([encode_plainly(image, s, m) for s in scales for m in sides]).mean(0)
        for image in images
    ]
    got = average(images)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, torch.stack(expected), rtol=1e-5)
    assert average.meta['scales'] == list(scales) and average.meta['mirror'] is mirror


@pytest.mark.parametrize('scales', [(), (1.2,), (0.0, 1.0), (0.9, 0.9)])
def test_wrong_scales_are_rejected(scales):
    with pytest.raises(ValueError, match='--scales: got'):
        ViewAverage(Columns(), scales)
