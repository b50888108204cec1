"""What a command prints when it fails, and its exit status."""

import errno
import json
import os
import signal
import sys
import time

import pytest
from torch.utils.data import DataLoader, Dataset

from abaw_mm.cli import report_errors
from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.files import atomic_write


@pytest.fixture(autouse=True)
def single_process(monkeypatch):
    for name in (
        'ABAW_MM_LAUNCHED',
        'ABAW_MM_TRACEBACK',
        'OMPI_COMM_WORLD_SIZE',
        'SLURM_NTASKS',
        'TORCHELASTIC_ERROR_FILE',
        'WORLD_SIZE',
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, 'argv', ['tools/some.py'])


def fail(error):
    def main():
        raise error

    return report_errors(main)


class BrokenDataset(Dataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        try:
            raise OSError('disk')
        except OSError as error:
            raise MissingFileError(f'frame {index}: no such file; copy it again') from error


@pytest.mark.parametrize('result', [None, 0, 1])
def test_status_is_what_main_returns(capsys, result):
    assert report_errors(lambda: result)() == (result or 0)
    assert capsys.readouterr() == ('', '')


def test_arguments_reach_main():
    assert report_errors(lambda argv: len(argv))(['a', 'b', 'c']) == 3


def test_user_error_is_one_line_and_a_hint(capsys):
    assert fail(InvalidValueError('--width: got -1, expected 0 or more'))() == 1
    out, err = capsys.readouterr()
    assert not out and err.splitlines() == [
        'some.py: --width: got -1, expected 0 or more',
        '(ABAW_MM_TRACEBACK=1 shows where the error arose)',
    ]


def test_error_of_a_dataloader_worker_is_one_line(capsys):
    assert report_errors(lambda: list(DataLoader(BrokenDataset(), num_workers=1)))() == 1
    line = capsys.readouterr().err.splitlines()[0]
    assert line == 'some.py: frame 0: no such file; copy it again'


def test_interrupt_has_status_130(capsys):
    assert fail(KeyboardInterrupt())() == 130
    assert capsys.readouterr().err == 'interrupted\n'


def test_sigterm_deletes_drafts_and_has_status_143(tmp_path):
    before = signal.getsignal(signal.SIGTERM)

    def main():
        with atomic_write(tmp_path / 'a.npz') as draft:
            draft.write_text('half')
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)

    with pytest.raises(SystemExit) as error:
        report_errors(main)()
    assert error.value.code == 143 and not os.listdir(tmp_path)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize(
    ('error', 'line'),
    [
        (
            OSError(errno.ENOSPC, 'No space left on device'),
            'a file: No space left on device; free disk space or give another path',
        ),
        (
            PermissionError(errno.EACCES, 'Permission denied', 'out.npz'),
            'out.npz: Permission denied; change the permissions or give another path',
        ),
        (
            OSError(errno.EROFS, 'Read-only file system', 'out'),
            'out: Read-only file system; change the permissions or give another path',
        ),
    ],
)
def test_full_disk_and_read_only_folder_are_one_line(capsys, error, line):
    assert fail(error)() == 1
    assert capsys.readouterr().err.splitlines()[0] == f'some.py: {line}'


@pytest.mark.parametrize(
    'error', [ValueError('x'), KeyError('x'), RuntimeError('x'), FileNotFoundError(2, 'x')]
)
def test_other_exceptions_pass_through(error):
    with pytest.raises(type(error)):
        fail(error)()


def test_traceback_on_request(monkeypatch):
    monkeypatch.setenv('ABAW_MM_TRACEBACK', '1')
    with pytest.raises(InvalidValueError):
        fail(InvalidValueError('x'))()


@pytest.mark.parametrize(
    ('variables', 'prefix'),
    [
        (dict(WORLD_SIZE='2', RANK='1'), '[rank 1] '),
        (dict(SLURM_NTASKS='4', SLURM_PROCID='3'), '[rank 3] '),
        (dict(OMPI_COMM_WORLD_SIZE='2', OMPI_COMM_WORLD_RANK='0'), '[rank 0] '),
        (dict(WORLD_SIZE='1', RANK='0'), ''),
    ],
)
def test_each_rank_prints_its_own_line(monkeypatch, capsys, variables, prefix):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert fail(InvalidValueError('x'))() == 1
    assert capsys.readouterr().err.startswith(f'{prefix}some.py: x\n')


def test_ranks_of_the_launcher_only_record_the_error(tmp_path, monkeypatch, capsys):
    path = tmp_path / 'error.json'
    monkeypatch.setenv('ABAW_MM_LAUNCHED', '1')
    monkeypatch.setenv('TORCHELASTIC_ERROR_FILE', str(path))
    assert fail(InvalidValueError('wrong'))() == 1
    assert fail(KeyboardInterrupt())() == 130
    assert capsys.readouterr() == ('', '')
    message = json.loads(path.read_text())['message']['message']
    assert message.startswith('UserError: some.py: wrong\n')


@pytest.mark.parametrize(('stop', 'status'), [(SystemExit(143), 143), (KeyboardInterrupt(), 130)])
def test_signal_that_a_library_makes_an_error_still_ends_the_command(capsys, stop, status):
    def main():
        try:
            raise stop
        except:  # noqa: E722  as in mmengine's Config.pretty_text
            raise SyntaxError('Failed to format the config file') from None

    assert report_errors(main)() == status
    assert 'Traceback' not in capsys.readouterr().err
