"""Released weights of IR-50 and APViT load on a Runner, as `checkpoint` and as `load_from`."""

import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from abaw_mm import compat
from abaw_mm.apis.config import load_config, set_loader_flags
from abaw_mm.models import APViT, IResNet

SMALL = dict(img_size=32, keep_patches=10, embed_dims=16, num_heads=2)


def config(repo, tiny, work_dir, name, **options):
    """Load a config of APViT for one step, with images of 32 pixels and narrow tokens."""
    cfg = load_config(str(repo / f'configs/{name}.py'), work_dir=str(work_dir))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.dataset.data_root = str(tiny)
        loader.num_workers, loader.batch_size = 0, 4
    cfg.data_preprocessor.update(crop_size=32, resize_edge=32)
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    cfg.default_hooks.checkpoint.update(interval=1)
    cfg.model.backbone.update(SMALL)
    cfg.model.head.in_channels = SMALL['embed_dims']
    cfg.merge_from_dict(options)
    set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
    return compat.adapt_cfg_to_cpu(cfg, 'none')


@pytest.fixture
def rafdb(tmp_path):
    """Save a classifier with the released names and the seven classes of RAF-DB."""
    torch.manual_seed(1)
    weights = {
        name: value + 1e-3 * torch.randn_like(value) if value.is_floating_point() else value
        for name, value in APViT(**SMALL).state_dict().items()
    }
    weights.update({'head.fc.weight': torch.rand(7, 16), 'head.fc.bias': torch.rand(7)})
    torch.save(dict(state_dict=weights, meta={}), tmp_path / 'rafdb.pth')
    return weights


@pytest.mark.slow
@pytest.mark.parametrize('setting', ['checkpoint', 'load_from'])
def test_training_starts_from_a_released_classifier(
    repo, tiny, tmp_path, rafdb, logged_warnings, setting
):
    options = {setting: str(tmp_path / 'rafdb.pth'), 'model.backbone.frozen_stages': 4}
    cfg = config(repo, tiny, tmp_path / 'run', 'apvit_rafdb_affwild2', **options)
    runner = Runner.from_cfg(cfg)
    runner.train()
    for name, value in runner.model.backbone.state_dict().items():  # all frozen
        assert torch.equal(value, rafdb[name]), name
    assert not [line for line in logged_warnings if 'random weights' in line]
    mismatches = [line for line in logged_warnings if 'load_from: 2 tensors do not fit' in line]
    assert len(mismatches) == (setting == 'load_from')
    assert all('head.fc.weight (got (7, 16)' in line for line in mismatches)


def test_released_classifier_is_scored(repo, tiny, tmp_path, rafdb):
    path = str(tmp_path / 'rafdb.pth')
    cfg = config(repo, tiny, tmp_path / 'run', 'apvit_affwild2', load_from=path)
    with pytest.raises(ValueError, match=r'2 tensors differ: head.fc.weight \(got \(7, 16\)'):
        Runner.from_cfg(cfg).test()
    rafdb.update({'head.fc.weight': torch.rand(8, 16), 'head.fc.bias': torch.rand(8)})
    torch.save({f'module.{name}': value for name, value in rafdb.items()}, path)
    runner = Runner.from_cfg(cfg)
    runner.test()
    assert torch.equal(runner.model.head.fc.weight, rafdb['head.fc.weight'])
    assert torch.equal(runner.model.backbone.vit.cls_token, rafdb['vit.cls_token'])


@pytest.mark.slow
def test_training_starts_a_part_from_face_recognition(repo, tiny, tmp_path, logged_warnings):
    torch.manual_seed(1)
    weights = IResNet().state_dict()
    torch.save(weights, tmp_path / 'ir50.pth')
    options = {'checkpoint': str(tmp_path / 'ir50.pth'), 'model.backbone.frozen_stages': 3}
    cfg = config(repo, tiny, tmp_path / 'run', 'apvit_affwild2', **options)
    runner = Runner.from_cfg(cfg)
    runner.train()
    for name, value in runner.model.backbone.extractor.state_dict().items():
        assert torch.equal(value, weights[name]), name
    assert not [line for line in logged_warnings if 'random weights' in line]
    cfg.default_hooks.pretrained_backbone.module = 'backbone.stem'
    with pytest.raises(
        ValueError, match="got 'backbone.stem', expected a module of the FrameClassifier"
    ):
        Runner.from_cfg(cfg).train()


def test_load_from_translates_face_evolve_names(repo, tiny, tmp_path):
    """Units are numbered across stages below `backbone.`, as other code may have saved them."""
    model = MODELS.build(
        dict(
            type='ImageClassifier',
            backbone=dict(type='IResNet', num_stages=2, out_indices=(1,)),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(type='LinearClsHead', num_classes=8, in_channels=128),
        )
    )
    weights = model.state_dict()
    theirs = {}
    for name, value in weights.items():
        for unit in range(4):
            name = name.replace(f'body.1.{unit}.', f'body.{3 + unit}.')
        theirs[name.replace('body.0.', 'body.')] = value
    torch.save(dict(state_dict=theirs), tmp_path / 'ir.pth')
    options = dict(
        model=dict(
            backbone=dict(_delete_=True, type='IResNet', num_stages=2, out_indices=(1,)),
            neck=dict(type='GlobalAveragePooling'),
            head=dict(in_channels=128),
        )
    )
    cfg = config(
        repo,
        tiny,
        tmp_path / 'run',
        'apvit_affwild2',
        **options,
        load_from=str(tmp_path / 'ir.pth'),
    )
    runner = Runner.from_cfg(cfg)
    runner.test()
    for name, value in runner.model.state_dict().items():
        assert torch.equal(value, weights[name]), name
