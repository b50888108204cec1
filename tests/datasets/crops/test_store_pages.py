"""Tests of reading LMDB's pages: the same values as LMDB, and errors instead of crashes."""

import os
import random
import struct

import lmdb
import pytest

from abaw_mm.datasets.crops.store_pages import StorePages
from abaw_mm.files import DAMAGED


@pytest.fixture
def store(tmp_path):
    """Write a store of three levels with deleted keys; returns its file and what LMDB reads."""
    rng = random.Random(0)
    with lmdb.open(str(tmp_path), map_size=1 << 28, lock=False) as env:
        with env.begin(write=True) as txn:
            for clip in range(20):
                txn.put(b'\0clip/%d' % clip, rng.randbytes(9000))
                for number in range(100):
                    txn.put(
                        b'%0200d/%05d.jpg' % (clip, number),
                        rng.randbytes(rng.choice((0, 90, 2100))),
                    )
        with env.begin(write=True) as txn:
            for key in list(txn.cursor().iternext(values=False))[::7]:
                txn.delete(key)
        with env.begin() as txn:
            assert txn.stat()['depth'] == 3
            return tmp_path / 'data.mdb', dict(txn.cursor())


def test_reads_what_lmdb_reads(store):
    path, expected = store
    pages = StorePages(path)
    assert {key: pages.get(key) for key in expected} == expected
    assert dict(pages.items(b'')) == expected
    clips = {key: value for key, value in expected.items() if key.startswith(b'\0clip/')}
    assert dict(pages.items(b'\0clip/')) == clips
    for absent in (b'', b'\0', b'0/0', b'zzz'):
        assert absent not in expected and pages.get(absent) is None
    assert pages.expected_size <= pages.size == os.path.getsize(path)


def test_empty_store(tmp_path):
    lmdb.open(str(tmp_path), lock=False).close()
    pages = StorePages(tmp_path / 'data.mdb')
    assert pages.get(b'x') is None and list(pages.items(b'')) == []


def test_size_beyond_the_file_is_an_error(store):
    """LMDB itself would read there, which kills the process."""
    path, expected = store
    key = max(key for key, value in expected.items() if len(value) == 2100)
    data = path.read_bytes()
    node = data.rindex(struct.pack('<IHH', 2100, 1, len(key)) + key)
    path.write_bytes(data[:node] + struct.pack('<I', 1 << 30) + data[node + 4 :])
    with pytest.raises(ValueError, match='is damaged'):
        StorePages(path).get(key)


def test_page_that_leads_back_to_itself_ends(store):
    path, _ = store
    pages = StorePages(path)
    data, root = bytearray(path.read_bytes()), pages._root * 4096
    (offset,) = struct.unpack_from('<H', data, root + 16)
    struct.pack_into('<IH', data, root + offset, pages._root, 0)
    path.write_bytes(data)
    with pytest.raises(ValueError, match='twice in the tree'):
        dict(StorePages(path).items(b''))


def test_random_damage_is_a_value_or_an_error(store):
    path, expected = store
    data, rng = path.read_bytes(), random.Random(0)
    for _ in range(100):
        damaged = bytearray(data)
        for _ in range(50):
            at = rng.randrange(0, len(data), 4096) + rng.randrange(64)
            damaged[at] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            pages = StorePages(path)
            for key in rng.sample(sorted(expected), 20):
                assert isinstance(pages.get(key), (bytes, type(None)))
            assert len(dict(pages.items(b'\0clip/'))) < 10_000
        except DAMAGED:
            pass
