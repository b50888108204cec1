"""Hostile checkpoints are refused in every setting and command that takes a checkpoint."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hostile import ATTACKS, save_hostile
from mmengine.model import BaseModel
from mmpretrain.models import ResNet

from abaw_mm.apis import test as score
from abaw_mm.apis import train
from abaw_mm.checkpoints import UnsafeCheckpointError

REPO = Path(__file__).parents[2]


@pytest.fixture(scope='module')
def backbone_state():
    return {f'backbone.{key}': value for key, value in ResNet(18).state_dict().items()}


@pytest.fixture(
    params=[(name, zipped) for name in ATTACKS for zipped in (True, False)],
    ids=lambda param: f'{param[0]}, {"zip" if param[1] else "legacy"}',
)
def hostile(request, tmp_path, backbone_state):
    """A complete backbone with a hidden object: path, and the pattern that the error must match."""
    name, zipped = request.param
    path, sentinel = tmp_path / 'bad.pth', tmp_path / 'was_run'
    yield path, save_hostile(path, name, sentinel, zipped, backbone_state)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    'cfg',
    [
        dict(type='SSLPretrained'),
        dict(type='SSLPretrained', allow_partial=True),
        dict(type='Pretrained', prefix='backbone.'),
    ],
)
def test_init_cfg_refuses_a_hostile_checkpoint(hostile, cfg):
    path, match = hostile
    with pytest.raises(UnsafeCheckpointError, match=match):
        ResNet(18, init_cfg=dict(cfg, checkpoint=str(path))).init_weights()


@pytest.mark.parametrize(
    'option', [dict(trust_pickle=True), dict(weights_only=False), dict(unsafe=True)]
)
def test_no_argument_disables_the_safeguard(tmp_path, option):
    cfg = dict(type='SSLPretrained', checkpoint=str(tmp_path / 'a.pth'), **option)
    with pytest.raises(TypeError):
        ResNet(18, init_cfg=cfg).init_weights()


@pytest.mark.slow
def test_converter_refuses_a_hostile_checkpoint(hostile, tmp_path):
    path, match = hostile
    tool = REPO / 'tools/model_converters/ssl_to_mmpretrain.py'
    result = subprocess.run(
        [sys.executable, str(tool), str(path), str(tmp_path / 'out.pth')],
        text=True,
        env={**os.environ, 'PYTHONPATH': str(REPO)},
        cwd=REPO,
        capture_output=True,
    )
    assert result.returncode == 1 and re.search(match, result.stderr), result.stderr
    assert not (tmp_path / 'out.pth').exists()


@pytest.fixture
def config(tiny, tmp_path):
    path = tmp_path / 'mine.py'
    dataset = f'dict(data_root={str(tiny)!r})'
    loader = f'dict(num_workers=0, batch_size=4, dataset={dataset}, persistent_workers=False)'
    path.write_text(
        f"_base_ = ['{os.path.relpath(REPO / 'configs/res18_srp_affwild2.py', tmp_path)}']\n"
        f'train_dataloader = val_dataloader = test_dataloader = {loader}\n'
        'train_cfg = dict(max_iters=1, val_interval=1)\n'
    )
    return str(path)


@pytest.mark.parametrize(
    'setting',
    [
        'checkpoint',
        'test',
        *(pytest.param(s, marks=pytest.mark.slow) for s in ('load_from', 'resume')),
    ],
)
def test_runs_refuse_a_hostile_checkpoint(hostile, config, tmp_path, monkeypatch, setting):
    path, match = hostile
    work_dir = str(tmp_path / 'run')
    stepped = []
    monkeypatch.setattr(BaseModel, 'train_step', lambda self, *_, **__: stepped.append(self))
    with pytest.raises(UnsafeCheckpointError, match=match):
        if setting == 'test':
            score(config, str(path), work_dir=work_dir)
        elif setting == 'resume':
            train(config, work_dir=work_dir, resume=str(path))
        else:
            train(config, work_dir=work_dir, cfg_options={setting: str(path)})
    assert not stepped
