"""``--resume`` finds the latest checkpoint, or else the newest complete one."""

import shutil

import pytest
import torch

from abaw_mm.checkpoints.find_latest import find_latest

STATE = dict(meta=dict(iter=1), state_dict=dict(weight=torch.zeros(1000)))


@pytest.fixture
def work_dir(tmp_path):
    for number in (2, 4, 10):
        torch.save(STATE, tmp_path / f'iter_{number}.pth')
    torch.save(dict(state_dict={}), tmp_path / 'best_affwild2_macro_f1_iter_20.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_10.pth'))
    return tmp_path


def truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_latest_checkpoint_is_found(work_dir, tmp_path_factory):
    assert find_latest(str(work_dir)) == str(work_dir / 'iter_10.pth')
    assert find_latest(str(tmp_path_factory.mktemp('empty'))) is None
    assert find_latest(str(work_dir / 'missing')) is None


@pytest.mark.parametrize(
    ('damage', 'got'),
    [
        (truncate, 'got a truncated checkpoint'),
        (lambda path: path.unlink(), 'got no such file'),
        (lambda path: path.write_bytes(b''), 'got an empty file'),
        (lambda path: torch.save(dict(state_dict={}), path), 'got a checkpoint without meta'),
    ],
)
def test_resume_goes_on_from_the_newest_complete_checkpoint(work_dir, logged_warnings, damage, got):
    damage(work_dir / 'iter_10.pth')
    torch.save(STATE, work_dir / 'iter_30.pth')  # of an earlier, longer run
    for complete, lost in ((4, 6), (2, 8)):
        expected = work_dir / f'iter_{complete}.pth'
        assert find_latest(str(work_dir)) == str(expected)
        line = logged_warnings.pop()
        assert f'iter_10.pth: {got}' in line and f'Resuming from {expected}' in line
        assert line.endswith(f': steps lost: {lost}')
        truncate(expected)
    # The best checkpoint holds no state to resume.
    with pytest.raises(ValueError, match=f'iter_10.pth: {got}.*start again without --resume'):
        find_latest(str(work_dir))


@pytest.mark.parametrize(
    ('content', 'got'),
    [
        (None, 'No such file'),
        (b'', "got '', expected the path of a checkpoint"),
        (b'\0' * 40, 'expected the path of a checkpoint'),
        (b'\x80\xff\xfe', "codec can't decode"),
    ],
)
def test_last_checkpoint_that_names_nothing(work_dir, logged_warnings, content, got):
    last = work_dir / 'last_checkpoint'
    last.unlink() if content is None else last.write_bytes(content)
    assert find_latest(str(work_dir)) == str(work_dir / 'iter_10.pth')
    assert got in logged_warnings[-1] and logged_warnings.pop().endswith(': steps lost: 0')
    truncate(work_dir / 'iter_10.pth')
    assert find_latest(str(work_dir)) == str(work_dir / 'iter_4.pth')
    assert logged_warnings.pop().endswith(': steps lost: 6')


def test_last_checkpoint_of_epochs(tmp_path, logged_warnings):
    torch.save(STATE, tmp_path / 'epoch_3.pth')
    (tmp_path / 'last_checkpoint').write_text('gone/epoch_5.pth')
    assert find_latest(str(tmp_path)) == str(tmp_path / 'epoch_3.pth')
    assert logged_warnings.pop().endswith(': epochs lost: 2')


def test_copied_work_dir_resumes_from_its_own_files(work_dir, tmp_path_factory):
    copy = tmp_path_factory.mktemp('copies') / 'copy'
    shutil.copytree(work_dir, copy)
    assert find_latest(str(copy)) == str(copy / 'iter_10.pth')
    (copy / 'iter_10.pth').unlink()  # not copied, but present where last_checkpoint names it
    assert find_latest(str(copy)) == str(copy / 'iter_4.pth')


def test_checkpoints_in_out_dir_are_found(work_dir, tmp_path_factory):
    large = tmp_path_factory.mktemp('large')
    work_dir.rename(large / work_dir.name)
    work_dir.mkdir()
    latest = large / work_dir.name / 'iter_10.pth'
    (work_dir / 'last_checkpoint').write_text(str(latest))
    assert find_latest(str(work_dir), str(large)) == str(latest)
