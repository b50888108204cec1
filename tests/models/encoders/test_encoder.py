import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import normalize, resize

from abaw_mm.models.encoders.encoder import Inputs, pool_features

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)


@pytest.fixture
def image():
    """A picture in BGR."""
    return np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)


@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('size', [(20, 24), (64, 48), (40, 30)])
def test_pixels_equal_those_of_torchvision(image, mode, size):
    rgb = torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1) / 255
    expected = resize(rgb, size, InterpolationMode(mode), antialias=True).clamp(0, 1)
    expected = normalize(expected, MEAN, STD)[None]
    torch.testing.assert_close(Inputs(size, MEAN, STD, mode).prepare([image]), expected)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(size=(0, 4)), '--size: got .0, 4.'),
        (dict(mean=(123.7, 116.3, 103.5)), '--mean: got .* in 0 to 1; divide values'),
        (dict(std=(0.2, 0.2)), '--std: got .*expected three values'),
        (dict(std=(0.2, 0.2, 0.0)), '--std: got .*expected values above 0'),
        (dict(interpolation='nearest'), "interpolation: got 'nearest'"),
    ],
)
def test_wrong_inputs_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        Inputs(**{'size': (8, 8), **options})


def test_maps_are_averaged_and_tokens_are_rejected():
    maps = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(pool_features(maps, 'x'), maps.mean((2, 3)))
    with pytest.raises(ValueError, match=r'x: got features of shape \(2, 7, 3\)'):
        pool_features(torch.rand(2, 7, 3), 'x')
