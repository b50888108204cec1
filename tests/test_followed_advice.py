"""What messages tell users to do resolves the fault: the advice is read from the message."""

import ast
import copy
import re
from argparse import Namespace

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from PIL import Image
from tiny_run import tiny_cfg

from abaw_mm.apis.build_runner import build_runner
from abaw_mm.apis.load_classifier import load_classifier
from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.engine.hooks import FrameBatchHook
from abaw_mm.errors import UserError

HEADER = ','.join(EXPRESSIONS)
ARCH = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=32)
VIT = dict(type='VisionTransformer', arch=ARCH, img_size=112)
CONVNEXT = dict(type='ConvNeXt', arch=dict(depths=[1, 1, 1, 1], channels=[4, 8, 12, 16]))
NORM = dict(type='StackedLinearClsHead', num_classes=8, in_channels=2304, mid_channels=[8])
ADAMW = dict(type='AdamW', lr=1e-3)


@pytest.fixture
def make_cfg(repo, tiny, tmp_path):
    """Return a function that makes the config of a tiny run with options."""
    return lambda name='res18_srp_affwild2': tiny_cfg(repo, tiny, tmp_path, name)


def pool(cfg):
    """Pass an image through backbone and neck."""
    features = MODELS.build(cfg.model.backbone)(torch.zeros(1, 3, 224, 224))
    MODELS.build(cfg.model.neck)(features)


def classify_window(cfg):
    """Score a window of 100 features per frame."""
    MODELS.build(cfg.model)(torch.zeros(1, 4, 100))


def load_head(cfg):
    """Load a checkpoint whose classes are in alphabetical order."""
    state_dict = MODELS.build(cfg.model).state_dict()
    meta = dict(dataset_meta=dict(classes=sorted(EXPRESSIONS)))
    torch.save(dict(state_dict=state_dict, meta=meta), f'{cfg.work_dir}.pth')
    load_classifier(cfg, f'{cfg.work_dir}.pth')


def start_training(cfg):
    """Run the check before the first step."""
    runner = Runner.from_cfg(cfg)
    runner.model.train()
    FrameBatchHook().before_train_epoch(runner)


SMALL = {'model.neck.in_channels': 16}
LAST_OF_ONE = {
    'train_cfg': dict(_delete_=True, by_epoch=True, max_epochs=1),
    'param_scheduler': None,
    'train_dataloader.sampler.infinite': False,
    'train_dataloader.sampler.stride': 1,
    'train_dataloader.batch_size': 8,
    'train_dataloader.dataset.indices': 33,
    'model.head': dict(_delete_=True, **NORM, norm_cfg=dict(type='BN1d')),
}


@pytest.mark.parametrize(
    ('action', 'options', 'parent', 'advice'),
    [
        (
            pool,
            {**SMALL, 'model.backbone': dict(_delete_=True, **VIT)},
            '',
            r"set (model\.backbone\.out_type)=('featmap')",
        ),
        (
            pool,
            {**SMALL, 'model.backbone': dict(_delete_=True, **CONVNEXT)},
            'model.backbone.',
            '(gap_before_final_norm)=(False)',
        ),
        (classify_window, {}, '', r'set (model\.backbone\.in_channels)=(100)'),
        (load_head, {}, '', r'set (default_hooks\..*reorder_classes)=(True)'),
        (
            build_runner,
            {'optim_wrapper.optimizer': ADAMW},
            'optim_wrapper.optimizer.',
            'put (_delete_)=(True)',
        ),
        (start_training, LAST_OF_ONE, '', r'set (train_dataloader\.drop_last)=(True)'),
    ],
)
def test_named_setting_resolves_the_fault(make_cfg, action, options, parent, advice):
    temporal = action is classify_window

    def run(settings):
        cfg = make_cfg('temporal_tcn_affwild2' if temporal else 'res18_srp_affwild2')
        cfg.merge_from_dict(copy.deepcopy(settings))  # which removes _delete_
        action(cfg)

    with pytest.raises(UserError, match=advice) as error:
        run(options)
    key, value = re.search(advice, str(error.value)).groups()
    run(merge(options, f'{parent}{key}', ast.literal_eval(value)))


def merge(options, key, value):
    """Add a setting to options, inside the dict of options that it belongs to."""
    for name, section in options.items():
        if isinstance(section, dict) and key.startswith(f'{name}.'):
            return {**options, name: {**section, key.removeprefix(f'{name}.'): value}}
    return {**options, key: value}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Files with faults that an option of a command resolves."""
    monkeypatch.chdir(tmp_path)
    np.savez(
        'from0.npz',
        clip=np.array(['v'] * 3),
        frame_no=np.array([0, 3, 5]),
        gt_label=np.array([0, 0, 1]),
        pred_score=np.eye(8, dtype=np.float32)[[0, 1, 1]],
        classes=np.array(EXPRESSIONS),
    )
    (tmp_path / 'ann').mkdir()
    (tmp_path / 'ann/v.txt').write_text('\n'.join([HEADER, *'0 0 -1 0 1 1'.split(), '']))
    rows = [f'{clip}/00001.jpg,' for clip in 'vw']
    (tmp_path / 'list.txt').write_text('\n'.join([f'image_location,{HEADER}', *rows]))
    (tmp_path / 'listed.txt').write_text('\n'.join([f'image_location,{HEADER}', rows[0]]))
    weights = MODELS.build(dict(type='ResNet', depth=18)).state_dict()
    torch.save(dict(state_dict=weights, args=Namespace(lr=0.03)), 'args.pth')
    (tmp_path / 'crops/v').mkdir(parents=True)
    Image.new('RGB', (16, 16)).save('crops/v/frame_1.jpg')
    return tmp_path


@pytest.mark.parametrize(
    ('command', 'advice', 'value'),
    [
        (
            'analysis_tools/score_predictions.py from0.npz --ann-file ann',
            '(--start-index)',
            '0',
        ),
        ('make_submission.py from0.npz --out a.txt --frames list.txt', '(--empty-clip)', 'Fear'),
        (
            'make_submission.py from0.npz --out a.txt --frames listed.txt --fill linear',
            '(--fill): .* expected ([a-z]+)',
            None,
        ),
        ('model_converters/ssl_to_mmpretrain.py args.pth out.pth', '(--trust-pickle)', ''),
        (
            'dataset_converters/pack_affwild2.py crops crops.lmdb',
            '(--filename-tmpl)',
            'frame_{:d}.jpg',
        ),
    ],
)
def test_named_option_resolves_the_fault(folder, run_tool, command, advice, value):
    tool, *args = command.split()
    status, _, error = run_tool(tool, *args)
    found = re.search(advice, error)
    assert status == 1 and found, error
    option = found[1]
    value = found[2] if value is None else value
    status, _, error = run_tool(tool, *args, option, *([value] if value else []))
    assert status == 0, error
