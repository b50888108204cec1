"""Rows of the tables: figures and configs."""

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
from abaw_mm.paper.rows import ROWS, TITLES, TRAININGS
from abaw_mm.paper.sweep import RANDOM, Sweep
from abaw_mm.paper.work_dir import WorkDir

REPO = Path(__file__).parents[2]
# frozen stages, stride of the frame sampler, neck
EXPECTED = {
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


def make_config(name, work_dir, **options):
    init = {training.init: RANDOM for training in TRAININGS.values()}
    sweep = Sweep(REPO, WorkDir(work_dir), list(TRAININGS), init=init, **options)
    return sweep.make_config(name)


def test_figures_match_the_text_of_the_paper():
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


def test_row_of_all_tables_has_one_training():
    assert [row.table for row in ROWS if row.training == 'res18'] == [1, 2, 3, 4, 5]
    assert {row.paper for row in ROWS if row.training == 'res18'} == {34.85}
    assert {row.training for row in ROWS} == set(TRAININGS)


@pytest.mark.parametrize('name', EXPECTED)
def test_config_matches_the_row(name, tmp_path):
    frozen, stride, neck = EXPECTED[name]
    cfg = make_config(name, tmp_path)
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
def test_config_matches_the_row_of_another_backbone(name, backbone, tmp_path):
    cfg = make_config(name, tmp_path)
    assert cfg.model.backbone.type == backbone
    assert cfg.train_dataloader.sampler.stride == 10 and cfg.train_cfg.max_iters == 8000
    init = dict(irnet50='irnet50_ms1m', apvit='irnet50_ms1m', apvit_rafdb='apvit_rafdb')
    assert TRAININGS[name].init == init[name]


def test_batch_is_divided_among_processes_and_weights_are_set(tmp_path):
    path = tmp_path / 'r18.pth'
    path.touch()
    work_dir = WorkDir(tmp_path)
    init = {'res18_contrawarping': str(path)}
    sweep = Sweep(REPO, work_dir, ['res18'], init=init, processes=4)
    cfg = sweep.make_config('res18')
    assert cfg.train_dataloader.batch_size == 32 and cfg.checkpoint == str(path)
    assert sweep.runnable == ['res18']
    mini = Sweep(
        REPO,
        work_dir,
        ['res18'],
        init={'res18_contrawarping': RANDOM},
        processes=2,
        budget='mini',
        cfg_options={'train_cfg.max_iters': 7},
    )
    assert mini.make_config('res18').train_dataloader.batch_size == 16
    assert mini.make_config('res18').train_cfg.max_iters == 7


# Rows that differ only in their weights have the same config.
DISTINCT = {(t.config, str(t.options)): name for name, t in reversed(TRAININGS.items())}.values()


@pytest.mark.slow
@pytest.mark.parametrize('name', DISTINCT)
def test_miniature_trains_one_step(name, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(Config, 'pretty_text', '')  # formatting takes longer than the step
    options = {'train_cfg.max_iters': 1, 'train_dataloader.batch_size': 2}
    if name.startswith('apvit'):  # narrow, to be fast
        options |= {'model.backbone.embed_dims': 64, 'model.head.in_channels': 64}
    cfg = make_config(name, tmp_path, budget='mini', data_root=str(tiny), cfg_options=options)
    cfg.work_dir = str(tmp_path / 'run')
    cfg.train_dataloader.num_workers = 0
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.save_best = None
    set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
    runner = Runner.from_cfg(compat.adapt_cfg_to_cpu(cfg, 'none'))
    before, maps = {}, []  # weights are initialised when the training begins

    def look(module, args, out):
        before.update(before or {k: v.clone() for k, v in runner.model.state_dict().items()})
        maps.append(out)

    runner.model.backbone.register_forward_hook(look)
    runner.train()
    after = runner.model.state_dict()
    assert all(torch.isfinite(value).all() for value in after.values())
    assert (tmp_path / 'run/iter_1.pth').is_file()
    if name not in EXPECTED:
        return
    assert maps[0][-1].shape[2:] == (7, 7)
    # Parameters and BN statistics of frozen stages stay the same, all others change.
    frozen = EXPECTED[name][0]
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


def test_miniature_backbone_has_names_and_shapes_of_the_full_one(tmp_path):
    from mmpretrain.registry import MODELS

    shapes = [
        {
            key: value.shape
            for key, value in MODELS.build(
                Config(dict(make_config('res50', tmp_path, budget=budget).model.backbone))
            )
            .state_dict()
            .items()
        }
        for budget in ('full', 'mini')
    ]
    assert shapes[0] == shapes[1]
