"""Hostile checkpoints, made in earnest, by every way in which a user gives one."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.model import BaseModel
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmpretrain.models import ResNet

from abaw_mm import checkpoints
from abaw_mm.apis import test as score
from abaw_mm.apis import train

REPO = Path(__file__).parents[2]


class Call:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


class Custom:
    """An object of a class of one's own, whose state makes a file when it is set."""

    def __init__(self, path):
        self.path = str(path)

    def __setstate__(self, state):
        Path(state['path']).touch()


# Name: what is hidden in the checkpoint, and the type that the refusal must name.
ATTACKS = {
    'os.system': (lambda s: Call(os.system, f'touch {s}'), 'posix.system'),
    'builtins.eval': (lambda s: Call(eval, f'open({str(s)!r}, "w").close()'), 'builtins.eval'),
    # by its old name, commands.Popen
    'subprocess': (lambda s: Call(subprocess.Popen, ['touch', str(s)]), 'Popen'),
    'class of their own': (Custom, 'Custom'),
}


@pytest.fixture(scope='module')
def backbone_state():
    return ResNet(18).state_dict()


@pytest.fixture(
    params=[(name, zipped) for name in ATTACKS for zipped in (True, False)],
    ids=lambda param: f'{param[0]}, {"zip" if param[1] else "legacy"}',
)
def hostile(request, tmp_path, backbone_state):
    """A whole backbone with something beside it: path, sentinel, type that it asks for."""
    name, zipped = request.param
    make, asked = ATTACKS[name]
    path, sentinel = tmp_path / 'bad.pth', tmp_path / 'was_run'
    state = {f'backbone.{key}': value for key, value in backbone_state.items()}
    content = dict(state_dict=state, meta=dict(epoch=1, iter=1, hidden=make(sentinel)))
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    yield path, sentinel, asked
    assert not sentinel.exists()


def test_the_attacks_are_some(tmp_path):
    """Read without the safeguard, each of them does what it is for."""
    for i, (make, _) in enumerate(ATTACKS.values()):
        sentinel = tmp_path / f'was_run{i}'
        result = pickle.loads(pickle.dumps(make(sentinel)))
        if isinstance(result, subprocess.Popen):
            result.wait()
        assert sentinel.exists()


@pytest.mark.parametrize('protocol', [2, 4, 5])
@pytest.mark.parametrize('way', ['zip', 'legacy', 'pickle'])
@pytest.mark.parametrize('name', ['os.system', 'builtins.eval', 'class of their own'])
def test_the_type_is_named_in_every_protocol(tmp_path, name, way, protocol):
    """Behind tensors and arrays, which are no reason to refuse, and in a file that is open."""
    make, asked = ATTACKS[name]
    path, sentinel = tmp_path / 'bad.pth', tmp_path / 'was_run'
    content = dict(array=np.arange(3), number=np.float64(1), text='posix', it=make(sentinel))
    if way == 'pickle':
        path.write_bytes(pickle.dumps(content, protocol))
    else:
        torch.save(
            dict(tensor=torch.ones(2), **content),
            path,
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=way == 'zip',
        )
    with pytest.raises(checkpoints.UnsafeCheckpointError, match=f'asks for [a-z_.]*{asked}'):
        checkpoints.load_checkpoint_file(path)
    with path.open('rb') as file:
        with pytest.raises(checkpoints.UnsafeCheckpointError, match=asked):
            mmengine_checkpoint.torch.load(file)
    assert not sentinel.exists()


def test_init_cfg(hostile):
    path, _, asked = hostile
    for cfg in (
        dict(type='SSLPretrained'),
        dict(type='SSLPretrained', allow_partial=True),
        dict(type='Pretrained', prefix='backbone.'),
    ):
        model = ResNet(18, init_cfg=dict(cfg, checkpoint=str(path)))
        with pytest.raises(checkpoints.UnsafeCheckpointError, match=asked):
            model.init_weights()


def test_no_argument_weakens_it(hostile):
    path, _, _ = hostile
    for word in ('trust_pickle', 'weights_only', 'unsafe'):
        cfg = dict(type='SSLPretrained', checkpoint=str(path), **{word: word != 'weights_only'})
        model = ResNet(18, init_cfg=cfg)
        with pytest.raises(TypeError):
            model.init_weights()


def test_converter(hostile, tmp_path):
    path, _, asked = hostile
    tool = REPO / 'tools/model_converters/ssl_to_mmpretrain.py'
    result = subprocess.run(
        [sys.executable, str(tool), str(path), str(tmp_path / 'out.pth')],
        text=True,
        env={**os.environ, 'PYTHONPATH': str(REPO)},
        cwd=REPO,
        capture_output=True,
    )
    assert result.returncode == 1 and asked in result.stderr, result.stderr
    assert not (tmp_path / 'out.pth').exists()


def test_mmengines_loaders(hostile):
    path, _, asked = hostile
    for load in (
        mmengine_checkpoint._load_checkpoint,
        mmengine_checkpoint.CheckpointLoader.load_checkpoint,
    ):
        with pytest.raises(checkpoints.UnsafeCheckpointError, match=asked):
            load(str(path), map_location='cpu')


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


@pytest.mark.parametrize('way', ['checkpoint', 'load_from', 'resume', 'test'])
def test_training_and_scoring(hostile, config, tmp_path, monkeypatch, way):
    path, _, asked = hostile
    work_dir = str(tmp_path / 'run')
    stepped = []
    monkeypatch.setattr(BaseModel, 'train_step', lambda self, *_, **__: stepped.append(self))
    with pytest.raises(checkpoints.UnsafeCheckpointError, match=asked):
        if way == 'test':
            score(config, str(path), work_dir=work_dir)
        elif way == 'resume':
            train(config, work_dir=work_dir, resume=str(path))
        else:
            train(config, work_dir=work_dir, cfg_options={way: str(path)})
    assert not stepped


def test_a_fork_that_falls_back_does_not(hostile):
    """onedl-mmengine reads again, without the safeguard, what was refused; not with us."""
    path, _, _ = hostile
    for name in ('_safe_torch_load', 'load_from_local'):
        if hasattr(mmengine_checkpoint, name):
            with pytest.raises(pickle.UnpicklingError):
                getattr(mmengine_checkpoint, name)(str(path), map_location='cpu')
