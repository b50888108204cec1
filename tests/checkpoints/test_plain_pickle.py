"""Pickles of arrays are read as data, of every protocol; nothing in them is run."""

import os
import pickle
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch

from abaw_mm.checkpoints.plain_pickle import load_plain_pickle

CONTENT = OrderedDict(
    {
        'video1/00001.jpg': np.arange(6, dtype=np.float32),
        'pair': (np.eye(3)[:, :2], np.float32(2.5)),
        'order': np.asfortranarray(np.arange(6).reshape(2, 3)),
        'big endian': np.arange(3, dtype='>f8'),
        'empty': np.empty((0, 4), np.float16),
        'plain': [1, 2.5, None, True, 'text', b'bytes', {'a': ()}],
    }
)


def assert_equal(got, expected):
    if isinstance(expected, np.ndarray):
        got = np.asarray(got)
        assert got.dtype == expected.dtype.newbyteorder('=')
        np.testing.assert_array_equal(got, expected)
    elif isinstance(expected, tuple):
        for one, other in zip(got, expected, strict=True):
            assert_equal(one, other)
    else:
        assert got == expected


@pytest.mark.parametrize('protocol', range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_are_read_as_pickle_reads_them(tmp_path, protocol):
    if protocol < 2:
        pytest.skip('written by Python 2; texts are not unambiguous')
    path = tmp_path / 'a.pickle'
    path.write_bytes(pickle.dumps(CONTENT, protocol))
    got = load_plain_pickle(path)
    assert list(got) == list(CONTENT)
    for name, value in CONTENT.items():
        assert_equal(got[name], value)


class Payload:
    def __reduce__(self):
        return os.mkdir, ('executed',)


class Setter:
    """Set an attribute of a function that pickles may call."""

    def __reduce__(self):
        return np.array([1.0]).__reduce__()[0], (np.ndarray, (0,), b'b'), (None, {'x': 1})


@pytest.mark.parametrize(
    ('value', 'found'),
    [
        (Payload(), 'mkdir'),
        ({'a': [Payload()]}, 'mkdir'),
        (defaultdict(list), 'collections.defaultdict'),
        (torch.ones(2), 'torch'),
        (np.random.default_rng, 'numpy'),
        (Setter(), ''),
    ],
    ids=['payload', 'nested', 'defaultdict', 'tensor', 'function', 'state'],
)
@pytest.mark.parametrize('protocol', [2, 4])
def test_other_types_are_refused(tmp_path, monkeypatch, value, found, protocol):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / 'a.pickle'
    path.write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(ValueError, match=f'a.pickle: got a .*{found}'):
        load_plain_pickle(path)
    assert not (tmp_path / 'executed').exists()


@pytest.mark.parametrize(
    'code',
    [
        b"cbuiltins\neval\n(S'1'\ntR.",
        b"cnumpy\nndarray.tofile\n(S'x'\ntR.",
        b'cnumpy.core.multiarray\n_reconstruct\n(N}S"__defaults__"\nNstb.',  # BUILD on a function
        b'c_codecs\nencode\n(Vx\nVrot13\ntR.',
        b'cnumpy\ndtype\n(VO8\ntR.',  # objects
        b'\x80\x04K',
        b'',
    ],
)
def test_forged_pickles_are_refused(tmp_path, code):
    path = tmp_path / 'a.pickle'
    path.write_bytes(code)
    with pytest.raises(ValueError, match='a.pickle: got a'):
        load_plain_pickle(path)


def test_flipped_bits_do_not_crash(tmp_path, count_flips):
    path = tmp_path / 'a.pickle'
    content = {'a/1.jpg': np.arange(4.0), 'b/2.jpg': np.arange(4.0)}
    path.write_bytes(pickle.dumps(content, 4))
    refused, equal, different = count_flips(
        path, lambda file: str(load_plain_pickle(file)) == str(content)
    )
    assert refused > 30 and different < 150  # a pickle has no checksum
