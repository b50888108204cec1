"""A file has its old content or its new content, never a part."""

import hashlib

import pytest

from abaw_mm.files import atomic_write, sha256


def test_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / 'deep/out.json'
    with atomic_write(path) as temporary:
        temporary.write_text('old')
        assert temporary.suffix == '.json' and not path.exists()
    with pytest.raises(OSError, match='No space'), atomic_write(path) as temporary:
        temporary.write_text('half')
        raise OSError('No space left on device')
    assert path.read_text() == 'old' and list(path.parent.iterdir()) == [path]


def test_sha256_equals_hashlib(tmp_path):
    (tmp_path / 'a').write_bytes(b'abc' * 1_000_000)
    assert sha256(tmp_path / 'a') == hashlib.sha256(b'abc' * 1_000_000).hexdigest()
