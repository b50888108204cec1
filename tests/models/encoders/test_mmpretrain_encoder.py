import copy

import numpy as np
import pytest
import torch
from mmpretrain import get_model
from mmpretrain.apis.model import ModelHub

from abaw_mm.models.encoders import ViewAverage, mmpretrain_encoder
from abaw_mm.models.encoders.mmpretrain_encoder import MMPretrainEncoder

NAME = 'resnet18_8xb32_in1k'


@pytest.mark.parametrize('to_rgb', [True, False])
def test_features_equal_those_of_mmpretrain(tmp_path, monkeypatch, to_rgb):
    cfg = copy.deepcopy(ModelHub.get(NAME).config)
    cfg.data_preprocessor.to_rgb = to_rgb
    monkeypatch.setattr(mmpretrain_encoder, 'get_model', lambda name, **_: get_model(cfg, **_))
    torch.manual_seed(0)
    model = get_model(cfg, pretrained=False).eval()
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'w.pth')
    encoder = MMPretrainEncoder(NAME, tmp_path / 'w.pth')
    assert encoder.inputs.size == (224, 224)
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), dtype=np.uint8)
    batch = dict(inputs=[torch.from_numpy(image).permute(2, 0, 1)], data_samples=None)
    with torch.no_grad():  # its own normalisation and pooling
        expected = model.extract_feat(model.data_preprocessor(batch)['inputs'])[-1]
    np.testing.assert_allclose(ViewAverage(encoder)([image]), expected, rtol=1e-4, atol=1e-5)


def test_wrong_names_and_weights_are_rejected(tmp_path):
    with pytest.raises(
        ValueError, match='mmpretrain:resnet18_8xb32: mmpretrain has no such network, but'
    ):
        MMPretrainEncoder('resnet18_8xb32', 'w.pth')
    torch.save({'bias': torch.zeros(1)}, tmp_path / 'w.pth')
    with pytest.raises(ValueError, match='got 0 of the'):
        MMPretrainEncoder(NAME, tmp_path / 'w.pth')
