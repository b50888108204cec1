"""A file has its old content or its new content, never a part; a damaged file is refused."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from abaw_mm.errors import FileAccessError, InvalidValueError, MissingFileError
from abaw_mm.files import (
    atomic_write,
    check_folder,
    new_folder,
    open_atomic,
    read_json,
    read_npz,
    read_text,
    remove_drafts,
    sha256,
    write_json,
)


def test_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / 'deep/out.json'
    with atomic_write(path) as temporary:
        temporary.write_text('old')
        assert temporary.suffix == '.json' and not path.exists()
    with pytest.raises(OSError, match='No space'), atomic_write(path) as temporary:
        temporary.write_text('half')
        raise OSError('No space left on device')
    assert path.read_text() == 'old' and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(('mode', 'old', 'new'), [('w', 'old', 'new'), ('wb', b'old', b'new')])
def test_open_atomic_replaces_the_file_when_it_is_closed(tmp_path, mode, old, new):
    path = tmp_path / 'a.pth'
    path.write_bytes(b'old')
    with open_atomic(path, mode) as file:
        file.write(new)
        assert open_atomic(path, mode.replace('w', 'r')).read() == old
    with pytest.raises(KeyError), open_atomic(path, mode) as file:
        file.write(old)
        raise KeyError
    assert path.read_bytes() == b'new' and os.listdir(tmp_path) == ['a.pth']


def test_link_and_pipe_are_written_through(tmp_path):
    (tmp_path / 'disk').mkdir()
    link, target = tmp_path / 'a.json', tmp_path / 'disk/b.json'
    link.symlink_to(target)
    with open_atomic(link, 'w') as file:
        file.write('content')
    assert link.is_symlink() and target.read_text() == 'content'
    pipe = tmp_path / 'pipe'
    os.mkfifo(pipe)
    with subprocess.Popen(['cat', pipe], stdout=subprocess.PIPE) as cat:
        with open_atomic(pipe, 'w') as file:
            file.write('content')
        assert cat.communicate()[0] == b'content'
    assert pipe.is_fifo()


def kill_while_writing(path):
    """Start to write a file in a process of its own, and kill it."""
    code = (
        'import sys, time; from abaw_mm.files import atomic_write\n'
        f'with atomic_write({str(path)!r}) as draft:\n'
        "    draft.write_text('half'); print(flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, '-c', code], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.send_signal(signal.SIGKILL)


def test_next_write_removes_the_draft_of_a_killed_process(tmp_path):
    path = tmp_path / 'a[1].json'
    path.write_text('old')
    kill_while_writing(path)
    assert path.read_text() == 'old' and len(os.listdir(tmp_path)) == 2
    kept = [  # of a running process, of another machine, of another file; no drafts
        f'.a[1].{socket.gethostname()}-{os.getppid()}.part.json',
        '.a[1].other-999999999.part.json',
        f'.b.{socket.gethostname()}-999999999.part.json',
        '.a[1].1.part.json.bak',
        'a[1].part.json',
    ]
    for name in kept:
        (tmp_path / name).touch()
    with atomic_write(path) as draft:
        draft.write_text('new')
    assert path.read_text() == 'new'
    assert sorted(os.listdir(tmp_path)) == sorted([*kept, path.name])
    remove_drafts(tmp_path)  # of a folder without another writer
    assert sorted(os.listdir(tmp_path)) == sorted([*kept[3:], path.name])


def test_atomic_write_costs_milliseconds(tmp_path):
    start = time.perf_counter()
    for _ in range(100):
        with open_atomic(tmp_path / 'a', 'w') as file:
            file.write('a')
    assert time.perf_counter() - start < 5


def test_sha256_equals_hashlib(tmp_path):
    (tmp_path / 'a').write_bytes(b'abc' * 1_000_000)
    assert sha256(tmp_path / 'a') == hashlib.sha256(b'abc' * 1_000_000).hexdigest()


def test_flipped_bits_of_an_npz_are_refused(tmp_path):
    path = tmp_path / 'x.npz'
    np.savez(path, a=np.arange(50), b=np.array(['x', 'y']))
    data = path.read_bytes()
    start = data.index(b'NUMPY') + 122  # the numbers after the header
    for at in range(start, start + 400, 7):
        flipped = bytearray(data)
        flipped[at] ^= 1
        path.write_bytes(flipped)
        with pytest.raises(
            InvalidValueError, match=r'x\.npz: .*differs from its checksum.*; fix it'
        ):
            read_npz(path, 'arrays', 'fix it')


def test_npz_of_a_shorter_array_than_stored_is_refused(tmp_path):
    """Reading what the header asks for alone would never reach the checksum."""
    path = tmp_path / 'x.npz'
    np.savez(path, a=np.arange(50))
    path.write_bytes(path.read_bytes().replace(b"'shape': (50,)", b"'shape': (10,)"))
    with pytest.raises(InvalidValueError, match='differs from its checksum'):
        read_npz(path, 'arrays', 'fix it')


def test_npz_of_impossible_characters_is_refused(tmp_path):
    path = tmp_path / 'x.npz'
    np.savez(path, a=np.array([0x110000, 65], np.uint32).view('U1'))
    with pytest.raises(InvalidValueError, match='characters that do not exist'):
        read_npz(path, 'arrays', 'fix it')


def test_missing_file_and_folder_are_named(tmp_path):
    (tmp_path / 'folder').mkdir()
    for read in (
        lambda path: read_text(path),
        lambda path: read_json(path, 'JSON', 'fix it'),
        lambda path: read_npz(path, 'arrays', 'fix it'),
    ):
        with pytest.raises(MissingFileError, match='absent: no such file, expected'):
            read(tmp_path / 'absent')
        with pytest.raises(FileAccessError, match=r'folder: cannot be read \(Is a directory\)'):
            read(tmp_path / 'folder')


def test_json_with_a_name_twice_is_refused(tmp_path):
    path = tmp_path / 'x.json'
    path.write_text('{"a": {"b": 1, "c": 2}, "d": [{"b": 1, "b": 2}]}')
    with pytest.raises(InvalidValueError, match="x.json: .*the name 'b' twice in one object"):
        read_json(path, 'JSON', 'fix it')
    path.write_text('{"a": {"b": 1, "c": 2}, "d": [{"b": 1}]}')
    assert read_json(path, 'JSON', 'fix it')['d'] == [{'b': 1}]


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_text_has_the_same_lines_on_every_system(tmp_path, end):
    (tmp_path / 'x').write_bytes(f'\ufeffa{end}é{end}'.encode())
    assert read_text(tmp_path / 'x') == 'a\né\n'


def test_folder_is_checked_before_it_is_needed(tmp_path):
    check_folder(tmp_path / 'new/folder', '--out')
    assert not (tmp_path / 'new').exists()
    (tmp_path / 'file').touch()
    with pytest.raises(
        FileAccessError, match=f'--out: got {tmp_path}/file/a, .* {tmp_path}/file is'
    ):
        check_folder(tmp_path / 'file/a', '--out')


def test_present_folder_is_no_new_one():
    with pytest.raises(FileAccessError, match='got ., expected the name of a new folder'):
        with new_folder('.'):
            pass


def test_json_ends_with_a_newline(tmp_path):
    write_json(tmp_path / 'a/b.json', dict(x=[1], path=Path('c')))
    text = (tmp_path / 'a/b.json').read_text()
    assert json.loads(text) == dict(x=[1], path='c') and text.endswith('}\n')
