"""A file is the old one or the new one, never half."""

import pytest

from abaw_mm.files import atomic_write


def test_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / 'deep/out.json'
    with atomic_write(path) as draft:
        draft.write_text('old')
        assert draft.suffix == '.json' and not path.exists()
    with pytest.raises(OSError, match='No space'), atomic_write(path) as draft:
        draft.write_text('half')
        raise OSError('No space left on device')
    assert path.read_text() == 'old' and list(path.parent.iterdir()) == [path]
