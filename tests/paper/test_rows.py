"""The rows: the paper's figures, and configs that are what each row says."""

import re
from pathlib import Path

import pytest
import torch
from conftest import SHARED
from mmengine.config import Config
from mmengine.runner import Runner
from torch.nn.modules.batchnorm import _BatchNorm

from abaw_mm import compat
from abaw_mm.apis.config import set_loader_flags
from abaw_mm.paper.rows import (
    ROWS,
    TITLES,
    TRAININGS,
)
from abaw_mm.paper.sweep import (
    RANDOM,
    Sweep,
)

REPO = Path(__file__).parents[2]
# frozen stages as the backbone has them, 1 of how many frames, neck
ROW_SAYS = {
    'res18': (3, 10, 'SpatialReservePooling'),
    'res18_ms1m': (3, 10, 'SpatialReservePooling'),
    'res18_simsiam': (3, 10, 'SpatialReservePooling'),
    'res18_byol': (3, 10, 'SpatialReservePooling'),
    'res18_gap': (3, 10, 'GlobalAveragePooling'),
    'res18_all_frames': (3, 1, 'SpatialReservePooling'),
    'res18_frozen0': (-1, 10, 'SpatialReservePooling'),
    'res18_frozen1': (1, 10, 'SpatialReservePooling'),
    'res18_frozen2': (2, 10, 'SpatialReservePooling'),
    'res18_frozen4': (4, 10, 'SpatialReservePooling'),
    'res50': (3, 10, 'SpatialReservePooling'),
}


def sweep(work_dir, **options):
    init = {training.init: RANDOM for training in TRAININGS.values()}
    return Sweep(REPO, work_dir, list(TRAININGS), init=init, **options)


def config(name, work_dir, **options):
    return sweep(work_dir, **options).config(name)


def test_figures_are_the_papers():
    """Each table of the text, row by row."""
    path = SHARED / 'paper.txt'
    if not path.is_file():
        pytest.skip('no text of the paper beside the repository')
    text = path.read_text()
    for number in TITLES:
        before = text[: text.index(f'\nTable {number}. ')].rstrip('\n').splitlines()
        printed = []
        while '\t' in before[-1]:
            printed.insert(0, before.pop())
        rows = [line.split('\t') for line in printed[1:]]  # without the header
        assert [
            (', '.join(re.sub(r' \[\d+\]', '', cell) for cell in cells), float(figure))
            for *cells, figure in rows
        ] == [(row.label, row.paper) for row in ROWS if row.table == number]


def test_one_training_for_the_row_of_all_tables():
    assert [row.table for row in ROWS if row.training == 'res18'] == [1, 2, 3, 4, 5]
    assert {row.paper for row in ROWS if row.training == 'res18'} == {34.85}
    assert {row.training for row in ROWS} == set(TRAININGS)


@pytest.mark.parametrize('name', ROW_SAYS)
def test_config_is_what_the_row_says(name, tmp_path):
    frozen, stride, neck = ROW_SAYS[name]
    cfg = config(name, tmp_path)
    assert cfg.model.backbone.type == 'ResNet'
    assert cfg.model.backbone.depth == int(name[3:5])
    assert cfg.model.backbone.frozen_stages == frozen
    assert cfg.train_dataloader.sampler.stride == stride
    assert cfg.model.neck.type == neck
    assert cfg.train_cfg.max_iters == 8000 and cfg.train_dataloader.batch_size == 128
    assert cfg.data_preprocessor.crop_size == 224
    assert cfg.checkpoint is None


@pytest.mark.parametrize(
    'name, backbone',
    [
        ('irnet50', 'IResNet'),
        ('apvit', 'APViT'),
        ('apvit_rafdb', 'APViT'),
    ],
)
def test_config_of_another_backbone(name, backbone, tmp_path):
    cfg = config(name, tmp_path)
    assert cfg.model.backbone.type == backbone
    assert cfg.train_dataloader.sampler.stride == 10 and cfg.train_cfg.max_iters == 8000
    init = dict(irnet50='irnet50_ms1m', apvit='irnet50_ms1m', apvit_rafdb='apvit_rafdb')
    assert TRAININGS[name].init == init[name]


def test_batch_is_divided_and_weights_are_the_rows(tmp_path):
    path = tmp_path / 'r18.pth'
    path.touch()
    one = Sweep(REPO, tmp_path, ['res18'], init={'res18_contrawarping': str(path)}, processes=4)
    cfg = one.config('res18')
    assert cfg.train_dataloader.batch_size == 32 and cfg.checkpoint == str(path)
    assert one.runnable == ['res18']
    assert 'no weights res18_byol' in Sweep(REPO, tmp_path, ['res18_byol']).why_not('res18_byol')
    mini = Sweep(
        REPO,
        tmp_path,
        ['res18'],
        init={'res18_contrawarping': RANDOM},
        processes=2,
        budget='mini',
        cfg_options={'train_cfg.max_iters': 7},
    )
    assert mini.config('res18').train_dataloader.batch_size == 16
    assert mini.config('res18').train_cfg.max_iters == 7


# Rows that differ in their weights alone are one config.
DISTINCT = {(t.config, str(t.options)): name for name, t in reversed(TRAININGS.items())}.values()


@pytest.mark.parametrize('name', DISTINCT)
def test_takes_one_step(name, tiny, tmp_path, monkeypatch):
    """In miniature, where the maps must still have 7x7 cells."""
    monkeypatch.setattr(Config, 'pretty_text', '')  # formatting it takes longer than the step
    options = {'train_cfg.max_iters': 1, 'train_dataloader.batch_size': 2}
    if name.startswith('apvit'):  # narrow: built and saved in no time
        options |= {'model.backbone.embed_dims': 64, 'model.head.in_channels': 64}
    cfg = config(name, tmp_path, budget='mini', data_root=str(tiny), cfg_options=options)
    cfg.work_dir = str(tmp_path / 'run')
    cfg.train_dataloader.num_workers = 0
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.save_best = None
    set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
    runner = Runner.from_cfg(compat.adapt_cfg_to_cpu(cfg, 'none'))
    before, maps = {}, []  # weights are drawn when the training begins

    def look(module, args, out):
        before.update(before or {k: v.clone() for k, v in runner.model.state_dict().items()})
        maps.append(out)

    runner.model.backbone.register_forward_hook(look)
    runner.train()
    after = runner.model.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert (tmp_path / 'run/iter_1.pth').is_file()
    if name not in ROW_SAYS:
        return
    assert maps[0][-1].shape[2:] == (7, 7)
    # frozen: neither parameters nor BN statistics have moved; all others have
    frozen = ROW_SAYS[name][0]
    for child, module in runner.model.backbone.named_children():
        stage = int(child[5:]) if child.startswith('layer') else 0
        for path, norm in module.named_modules():
            if isinstance(norm, _BatchNorm):
                key = '.'.join(filter(None, ('backbone', child, path, 'running_mean')))
                assert torch.equal(before[key], after[key]) == (stage <= frozen)
        assert not any(p.requires_grad == (stage <= frozen) for p in module.parameters())
    moved = [key for key in after if not torch.equal(before[key], after[key])]
    assert any(key.startswith('head') for key in moved)
    if frozen == 4:
        assert not [key for key in moved if key.startswith('backbone')]


def test_miniature_fits_the_weights_of_the_full_size(tmp_path):
    """Only strides differ: names and shapes of the backbone's tensors are the same."""
    from mmpretrain.registry import MODELS

    shapes = [
        {
            key: value.shape
            for key, value in MODELS.build(
                Config(dict(config('res50', tmp_path, budget=budget).model.backbone))
            )
            .state_dict()
            .items()
        }
        for budget in ('full', 'mini')
    ]
    assert shapes[0] == shapes[1]
