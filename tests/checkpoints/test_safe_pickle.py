"""Pickles are read as data: the state of a Runner loads, anything else is refused and not run."""

import copy
import functools
import pickle
import subprocess

import numpy as np
import pytest
import torch
from hostile import ATTACKS, REFUSED, save_hostile
from mmengine.logging import HistoryBuffer
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint
from torch import nn

from abaw_mm.checkpoints import UnsafeCheckpointError, load_checkpoint_file
from abaw_mm.errors import UserError


def runner_state():
    """What a Runner may store."""
    buffer = HistoryBuffer()
    buffer.update(2.5)
    return dict(
        state_dict=dict(w=torch.arange(3.0)),
        rng=torch.get_rng_state(),
        history=buffer,
        best=np.float32(0.25),
        count=np.int64(3),
        flag=np.bool_(True),
        arrays=[np.arange(3, dtype=t) for t in ('uint8', 'int32', 'float16', 'complex64')],
        meta=dict(cfg='a = 1', seed=None, dataset_meta=dict(classes=('a', 'b'))),
        anneal=OneCycleParamScheduler._annealing_linear,
    )


def check_runner_state(got):
    assert torch.equal(got['state_dict']['w'], torch.arange(3.0))
    assert got['history'].mean() == 2.5 and got['best'] == np.float32(0.25) and got['count'] == 3
    assert [a.dtype.name for a in got['arrays']] == ['uint8', 'int32', 'float16', 'complex64']
    assert all((a == np.arange(3)).all() for a in got['arrays'])
    assert got['anneal'](0, 1, 0.25) == 0.25


@pytest.mark.parametrize('zipped', [True, False])
def test_state_of_a_runner_loads(tmp_path, zipped):
    path = tmp_path / 'a.pth'
    torch.save(runner_state(), path, _use_new_zipfile_serialization=zipped)
    check_runner_state(load_checkpoint_file(path))
    check_runner_state(CheckpointLoader.load_checkpoint(str(path), 'cpu'))


def test_arrays_of_either_numpy_load(tmp_path):
    """NumPy 2 renamed the module of its arrays."""
    torch.save(runner_state(), tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    content = (tmp_path / 'a.pth').read_bytes()
    here, there = b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n'
    if here not in content:
        here, there = there, here
    assert here in content
    (tmp_path / 'b.pth').write_bytes(content.replace(here, there))
    check_runner_state(load_checkpoint_file(tmp_path / 'b.pth'))


def test_torch_before_2_6_loads_plain_tensors_only(tmp_path, monkeypatch):
    torch.save(runner_state(), tmp_path / 'a.pth')
    torch.save(dict(w=torch.ones(2)), tmp_path / 'b.pth')
    monkeypatch.setattr(torch, '__version__', '2.5.1+cpu')
    assert load_checkpoint_file(tmp_path / 'b.pth')['w'].sum() == 2
    with pytest.raises(UnsafeCheckpointError, match=r'resumes from torch 2\.6 on'):
        load_checkpoint_file(tmp_path / 'a.pth')


@pytest.mark.parametrize('name', ATTACKS)
def test_attacks_work_without_the_safeguard(tmp_path, name):
    sentinel = tmp_path / 'was_run'
    result = pickle.loads(pickle.dumps(ATTACKS[name][0](sentinel)))
    if isinstance(result, subprocess.Popen):
        result.wait()
    assert sentinel.exists()


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('name', [*ATTACKS, *REFUSED])
def test_hostile_checkpoint_is_refused_and_not_run(tmp_path, name, zipped):
    path, sentinel = tmp_path / 'bad.pth', tmp_path / 'was_run'
    match = save_hostile(path, name, sentinel, zipped)
    loaders = [
        load_checkpoint_file,
        CheckpointLoader.load_checkpoint,
        mmengine_checkpoint._load_checkpoint,
        mmengine_checkpoint.load_from_local,
        functools.partial(mmengine_checkpoint.load_checkpoint, nn.Linear(1, 1)),
    ]
    if hasattr(
        mmengine_checkpoint, '_safe_torch_load'
    ):  # onedl-mmengine falls back to no safeguard
        loaders.append(mmengine_checkpoint._safe_torch_load)
    for load in loaders:
        with pytest.raises(UnsafeCheckpointError, match=match) as error:
            load(str(path), map_location='cpu')
        assert str(path) in str(error.value) and 'torch.save(dict(state_dict' in str(error.value)
    assert not sentinel.exists()


@pytest.mark.parametrize('protocol', [2, 4, 5])
@pytest.mark.parametrize('container', ['zip', 'legacy', 'pickle'])
@pytest.mark.parametrize('name', ['os.system', 'eval', 'custom class'])
def test_error_names_the_type_in_every_protocol(tmp_path, name, container, protocol):
    """Also if harmless tensors and arrays precede it, and if the file is already open."""
    make, match = ATTACKS[name]
    path, sentinel = tmp_path / 'bad.pth', tmp_path / 'was_run'
    content = dict(array=np.arange(3), number=np.float64(1), text='posix', it=make(sentinel))
    if container == 'pickle':
        path.write_bytes(pickle.dumps(content, protocol))
    else:
        torch.save(
            dict(tensor=torch.ones(2), **content),
            path,
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=container == 'zip',
        )
    with pytest.raises(UnsafeCheckpointError, match=f'asks for {match}'):
        load_checkpoint_file(path)
    with path.open('rb') as file:
        with pytest.raises(UnsafeCheckpointError, match=match):
            mmengine_checkpoint.torch.load(file)
    assert not sentinel.exists()


def test_name_in_a_file_cannot_write_to_the_terminal(tmp_path):
    path = tmp_path / 'bad.pth'
    path.write_bytes(b'\x80\x02\x8c\x06a\nb\x1b[2\x8c\x01x\x93.')
    with pytest.raises(UnsafeCheckpointError, match=r'asks for a\\nb\\x1b\[2') as error:
        load_checkpoint_file(path)
    assert str(error.value).isprintable()


def test_error_names_the_protocol_of_a_plain_pickle(tmp_path):
    path = tmp_path / 'plain.pth'
    path.write_bytes(pickle.dumps(dict(state_dict=dict(a=1)), protocol=4))
    with pytest.raises(UnsafeCheckpointError, match='asks for pickle protocol 4,') as error:
        load_checkpoint_file(path)
    assert '\n' not in str(error.value) and 'set to `False`' not in str(error.value)


def test_one_cycle_scheduler_is_not_instantiated(tmp_path):
    class Made:
        def __reduce__(self):
            return OneCycleParamScheduler, (None, 'lr')

    class Copied:
        def __reduce__(self):
            return copy.copy, ()

    torch.save(dict(a=Made()), tmp_path / 'a.pth')
    with pytest.raises((ValueError, UnsafeCheckpointError), match='_OneCycleMethods'):
        load_checkpoint_file(tmp_path / 'a.pth')
    torch.save(dict(a=Copied()), tmp_path / 'a.pth')
    with pytest.raises(UnsafeCheckpointError, match='copy.copy'):
        load_checkpoint_file(tmp_path / 'a.pth')


def test_refusal_is_a_user_error():
    assert issubclass(UnsafeCheckpointError, UserError)
    assert issubclass(UnsafeCheckpointError, pickle.UnpicklingError)
