import os
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from abaw_mm.errors import MissingPackageError, UserError
from abaw_mm.models.encoders import ViewAverage
from abaw_mm.models.encoders.timm_encoder import TimmEncoder


@pytest.fixture
def timm():
    return pytest.importorskip('timm')


@pytest.fixture
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (112, 112, 3), dtype=np.uint8) for _ in range(2)]


@pytest.mark.parametrize('name', ['resnet10t', 'vit_tiny_patch16_224', 'efficientnet_b0'])
def test_features_equal_those_of_timm(timm, images, tmp_path, name):
    """timm's own evaluation transform without its crop, from Pillow's resizing of 8-bit pixels."""
    from PIL import Image

    torch.manual_seed(0)
    full = timm.create_model(name).eval()  # with its classifier, as published
    save_file(full.state_dict(), tmp_path / 'w.safetensors')
    encoder = TimmEncoder(name, tmp_path / 'w.safetensors', size=96)
    size = {'img_size': 96} if 'vit' in name else {}
    direct = timm.create_model(name, num_classes=0, **size).eval()
    convert = getattr(sys.modules[type(full).__module__], 'checkpoint_filter_fn', None)
    state = full.state_dict() if convert is None else convert(full.state_dict(), direct)
    direct.load_state_dict(state, strict=False)
    config = timm.data.resolve_data_config({}, model=direct)
    transform = timm.data.create_transform(
        **{**config, 'input_size': (3, 96, 96), 'crop_pct': 1.0}, is_training=False
    )
    pixels = torch.stack([transform(Image.fromarray(image[..., ::-1])) for image in images])
    with torch.no_grad():
        expected = direct(pixels)
    got = ViewAverage(encoder)(images)
    assert got.shape == (2, direct.num_features)
    np.testing.assert_allclose(got, expected, atol=0.02 * expected.abs().max())
    exact = encoder.inputs.prepare(images)
    with torch.no_grad():
        np.testing.assert_allclose(got, direct(exact), rtol=1e-4, atol=1e-5)
    assert encoder.name == f'timm:{name}' and len(encoder.sha256) == 64


class Payload:
    def __reduce__(self):
        return os.mkdir, ('executed',)


def test_wrong_names_and_weights_are_rejected(timm, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="timm:resnet19: timm .* no such network, but 'resnet"):
        TimmEncoder('resnet19', 'w.pth')
    with pytest.raises(FileNotFoundError, match='w.pth: got no such file'):
        TimmEncoder('resnet10t', 'w.pth')
    state = timm.create_model('resnet10t').state_dict()
    state.pop('layer2.0.conv1.weight')
    torch.save(dict(state_dict=state), 'w.pth')
    with pytest.raises(ValueError, match="without 'layer2.0.conv1.weight' in their shape .1 of"):
        TimmEncoder('resnet10t', 'w.pth')
    torch.save(dict(model=Payload()), 'w.pth')
    with pytest.raises(UserError, match='mkdir, expected only tensors'):
        TimmEncoder('resnet10t', 'w.pth')
    assert not (tmp_path / 'executed').exists()


def test_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm', None)
    with pytest.raises(MissingPackageError, match=r'pip install abaw_mm\[encoders\]'):
        TimmEncoder('resnet18', 'w.pth')
