"""The exported backbone fills the same ResNet."""

from types import SimpleNamespace

import torch
from mmpretrain.registry import MODELS

from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.engine.hooks import ExportBackboneHook

BACKBONE = dict(type='ResNet', depth=18, stem_channels=8, base_channels=8)


def test_exported_backbone_fills_a_resnet(tmp_path):
    model = MODELS.build(dict(type='SimSiam', backbone=BACKBONE, neck=None, head=None))
    model.backbone.bn1.running_mean.fill_(0.5)
    ExportBackboneHook().after_train(SimpleNamespace(model=model, iter=7, work_dir=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ['backbone.pth']
    checkpoint = load_checkpoint_file(tmp_path / 'backbone.pth')
    assert all(key.startswith('backbone.') for key in checkpoint['state_dict'])
    assert all(isinstance(value, str) for value in checkpoint['meta'].values())
    assert checkpoint['meta']['method'] == 'SimSiam' and checkpoint['meta']['iterations'] == '7'
    init_cfg = dict(type='SSLPretrained', checkpoint=str(tmp_path / 'backbone.pth'))
    resnet = MODELS.build(dict(BACKBONE, init_cfg=init_cfg))
    resnet.init_weights()
    for name, tensor in model.backbone.state_dict().items():
        torch.testing.assert_close(resnet.state_dict()[name], tensor)
