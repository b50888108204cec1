"""Arrays in checkpoints are rebuilt from checked values; crafted ones are refused, not run."""

import copy
import io
import pickle
import subprocess
import sys
import tarfile

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

from abaw_mm.checkpoints import load_checkpoint_file
from abaw_mm.checkpoints.checks.plain_arrays import PlainArray, PlainDtype
from abaw_mm.errors import UserError

DTYPES = 'bool int8 int16 int64 uint8 uint32 float16 float32 float64 complex64 complex128'.split()
PLAIN_STATE = (3, '<', None, None, None, -1, -1, 0)


class Dtype:
    """A dtype that is pickled with any name and state."""

    def __init__(self, name='f8', state=PLAIN_STATE):
        self.reduced = np.dtype, (name, False, True), state

    def __reduce__(self):
        return self.reduced


class Array:
    """An array that is pickled with any state."""

    def __init__(self, state, dtype=None):
        dtype = Dtype() if dtype is None else dtype
        self.reduced = *np.zeros(0).__reduce__()[:2], tuple(dtype if x == 'D' else x for x in state)

    def __reduce__(self):
        return self.reduced


class Scalar:
    """A scalar that is pickled with any dtype and content."""

    def __init__(self, dtype, content):
        self.reduced = np.float64(0).__reduce__()[0], (dtype, content)

    def __reduce__(self):
        return self.reduced


def with_dtype(*args):
    return lambda: Array((1, (2,), 'D', False, bytes(16)), Dtype(*args))


FIELDS = {'a': (np.dtype('f8'), 0)}
FAR_FIELDS = {'a': (np.dtype('f8'), 2**30)}
SUBARRAY = np.dtype('f8'), (2**20,)

# Many of them crash the process where NumPy sets the state.
CRAFTED = {
    'fields': with_dtype('V8', (3, '|', None, ('a',), {'a': (np.dtype('f8'), 2**40)}, 8, 1, 0)),
    'fields of another type': with_dtype('f8', (3, '<', None, ('a',), {'a': 1}, -1, -1, 0)),
    'fields of numbers': with_dtype('f8', (3, '<', None, ('a',), FIELDS, 8, 1, 0)),
    'fields far away': with_dtype('f8', (3, '<', None, ('a',), FAR_FIELDS, 8, 1, 0)),
    'subarray of numbers': with_dtype('f8', (3, '<', SUBARRAY, None, None, 8, 1, 0)),
    'item size of numbers': with_dtype('f8', (3, '<', None, None, None, 2**30, 1, 0)),
    'flags of numbers': with_dtype('f8', (3, '<', None, None, None, -1, -1, 1)),
    'fields and flags': with_dtype('f8', (3, '<', None, ('a',), FIELDS, 2**30, 1, 27)),
    'object flags': with_dtype('f8', (3, '<', None, None, None, -1, -1, 63)),
    'item size': with_dtype('V8', (3, '|', None, None, None, 2**40, 1, 0)),
    'negative item size': with_dtype('V8', (3, '|', None, None, None, -8, 1, 0)),
    'alignment': with_dtype('V8', (3, '|', None, None, None, 8, -7, 0)),
    'subarray': with_dtype('V8', (3, '|', (np.dtype('f8'), (2**40,)), None, None, 8, 1, 0)),
    'metadata': with_dtype('M8', (4, '<', None, None, None, -1, -1, 0, ({}, (b'D', 1, 1, 1)))),
    'byte order': with_dtype('f8', (3, 'x', None, None, None, -1, -1, 0)),
    'objects': with_dtype('O8', (3, '|', None, None, None, -1, -1, 63)),
    'text': with_dtype('U4', (3, '<', None, None, None, 2**40, 4, 8)),
    'no tuple': with_dtype('f8', 5),
    'too few bytes': lambda: Array((1, (2**20,), 'D', False, bytes(16))),
    'too many bytes': lambda: Array((1, (1,), 'D', False, bytes(16))),
    'negative size': lambda: Array((1, (-2, -1), 'D', False, bytes(16))),
    'size beyond 64 bits': lambda: Array((1, (2**64, 0), 'D', False, b'')),
    'overflowing sizes': lambda: Array((1, (2**62, 2**62, 0), 'D', False, b'')),
    'many dimensions': lambda: Array((1, (1,) * 100, 'D', False, bytes(8))),
    'list of objects': lambda: Array((1, (2,), 'D', False, [1, 2])),
    'state of an older format': lambda: Array(((2,), 'D', False, bytes(16))),
    'state without a dtype': lambda: Array((1, (2,), None, False, bytes(16))),
    'object scalar': lambda: Scalar(Dtype('O8', (3, '|', None, None, None, -1, -1, 63)), 1),
    'short scalar': lambda: Scalar(Dtype(), b'1'),
    'scalar of a number': lambda: Scalar(Dtype(), 1),
}

# Load a file in every way, in a process that may crash.
LOAD = """
import sys
import abaw_mm
from abaw_mm.checkpoints import load_checkpoint_file
from abaw_mm.errors import UserError
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as mmengine_checkpoint

loads = [load_checkpoint_file, CheckpointLoader.load_checkpoint, mmengine_checkpoint.torch.load]
loads.append(lambda path: mmengine_checkpoint.torch.load(open(path, 'rb')))
if hasattr(mmengine_checkpoint, '_safe_torch_load'):
    loads.append(mmengine_checkpoint._safe_torch_load)
for path in sys.argv[1:]:
    for load in loads:
        try:
            load(path)
        except UserError:
            continue
        sys.exit(f'{path} was loaded')
print('refused', len(sys.argv) - 1)
"""

MUTATE = """
import random
import sys
import warnings
from pathlib import Path
import abaw_mm
from abaw_mm.checkpoints import load_checkpoint_file
from abaw_mm.errors import UserError

warnings.simplefilter('ignore')
path, rng = Path(sys.argv[1]), random.Random(0)
content = path.read_bytes()
for number in range(20_000):
    mutated = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        position = rng.randrange(1, len(mutated))
        if rng.random() < 0.5:
            mutated[position] = rng.randrange(256)
        else:
            other = rng.randrange(len(mutated))
            mutated[position : position + rng.randint(0, 8)] = mutated[other : other + 8]
    path.write_bytes(mutated)
    try:
        load_checkpoint_file(path)
    except UserError:
        pass
print('done', number + 1)
"""


def save(path, content, zipped=True):
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return str(path)


def load_in_a_process(*paths):
    """Load files in every way, and return the last line of the process's output."""
    done = subprocess.run(
        [sys.executable, '-c', LOAD, *map(str, paths)], capture_output=True, text=True
    )
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout.splitlines()[-1]


def test_crafted_arrays_are_refused_without_a_crash(tmp_path):
    paths = [
        save(tmp_path / f'{name} {zipped}.pth', dict(w=torch.ones(1), crafted=make()), zipped)
        for name, make in CRAFTED.items()
        for zipped in (True, False)
    ]
    assert load_in_a_process(*paths) == f'refused {len(paths)}'


@pytest.mark.slow
def test_tar_of_pickles_is_refused(tmp_path):
    """``torch.load`` reads the format before torch 0.1.10 as well."""
    path, content = tmp_path / 'a.pth', pickle.dumps(dict(crafted=CRAFTED['objects']()), 2)
    with tarfile.open(path, 'w') as archive:
        for name in ('sys_info', 'pickle', 'storages', 'tensors'):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    assert load_in_a_process(path) == 'refused 1'


def test_what_others_allow_torch_to_load_is_refused(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    torch.serialization.add_safe_globals([getattr, np.float64])
    try:
        with pytest.raises(UserError):
            load_checkpoint_file(save(tmp_path / 'a.pth', dict(crafted=np.float64)))
        assert set(torch.serialization.get_safe_globals()) == before | {getattr, np.float64}
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(list(before))


@pytest.mark.parametrize('name', DTYPES)
def test_arrays_of_numbers_keep_their_values(tmp_path, name):
    arrays = []
    for shape in ((), (0,), (6,), (2, 3), (0, 5), (1, 2, 3)):
        for order in 'CF':
            values = np.arange(np.prod(shape, dtype=int)).reshape(shape)
            array = np.asarray(values, name, order=order)
            arrays += [array, array.astype(array.dtype.newbyteorder())]
    number = np.dtype(name).type(1)
    loaded = load_checkpoint_file(save(tmp_path / 'a.pth', dict(arrays=arrays, number=number)))
    for got, expected in zip(loaded['arrays'], arrays, strict=True):
        assert isinstance(got, np.ndarray)
        assert got.dtype == expected.dtype.newbyteorder('=')  # as NumPy reads it
        assert got.shape == expected.shape and np.array_equal(got, expected)
        assert got.flags.f_contiguous == expected.flags.f_contiguous and got.flags.writeable
    assert type(loaded['number']) is type(number) and loaded['number'] == 1


def test_arrays_are_saved_as_plain_arrays(tmp_path):
    """A resumed run stores them in its next checkpoint, which any mmengine must read."""
    buffer = HistoryBuffer()
    buffer.update(2.5)
    array = np.arange(3.0)
    loaded = load_checkpoint_file(save(tmp_path / 'a.pth', dict(array=array, buffer=buffer)))
    for again in (loaded, copy.deepcopy(loaded)):
        for protocol in range(2, 6):
            assert pickle.dumps(again['array'], protocol) == pickle.dumps(array, protocol)
            assert b'abaw_mm' not in pickle.dumps(again, protocol)
    loaded['buffer'].update(3.5)
    assert loaded['buffer'].mean() == 3 and b'abaw_mm' not in pickle.dumps(loaded)


def test_state_of_an_array_is_set_only_once():
    array = PlainArray()
    state = 1, (2,), PlainDtype('f8'), False, bytes(16)
    array.__setstate__(state)
    with pytest.raises(pickle.UnpicklingError, match='state of an array'):
        array.__setstate__(state)


@pytest.mark.slow
def test_mutated_arrays_end_in_a_value_or_a_user_error(tmp_path):
    """Changed bytes of pickles of arrays, in a process that may crash."""
    content = dict(a=np.arange(6.0).reshape(2, 3), b=np.float32(1), c=[np.arange(3, dtype='>i2')])
    path = save(tmp_path / 'a.pth', content, zipped=False)
    done = subprocess.run([sys.executable, '-c', MUTATE, path], capture_output=True, text=True)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert done.stdout.splitlines()[-1] == 'done 20000'
