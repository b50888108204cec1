"""What --resume goes on from, and what is said where it cannot."""

import pytest
import torch

from abaw_mm.checkpoints.find_latest import find_latest


@pytest.fixture
def work_dir(tmp_path):
    for number in (2, 4, 10):
        torch.save(dict(state_dict={}), tmp_path / f'iter_{number}.pth')
    torch.save(dict(state_dict={}), tmp_path / 'best_affwild2_macro_f1_iter_20.pth')
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'iter_10.pth'))
    return tmp_path


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def test_latest(work_dir, tmp_path_factory):
    assert find_latest(str(work_dir)) == str(work_dir / 'iter_10.pth')
    assert find_latest(str(tmp_path_factory.mktemp('empty'))) is None
    assert find_latest(str(work_dir / 'not_made_yet')) is None


@pytest.mark.parametrize(
    ('spoil', 'got'),
    [
        (cut, 'got the beginning of a checkpoint'),
        (lambda path: path.unlink(), 'got no such file'),
        (lambda path: path.write_bytes(b''), 'got an empty file'),
    ],
)
def test_an_older_one_is_named_with_the_flag_that_takes_it(work_dir, spoil, got):
    spoil(work_dir / 'iter_10.pth')
    older = work_dir / 'iter_4.pth'
    with pytest.raises(ValueError, match=f'iter_10.pth: {got}.* by `--resume {older}`'):
        find_latest(str(work_dir))
    cut(older)
    with pytest.raises(ValueError, match=f'`--resume {work_dir / "iter_2.pth"}`'):
        find_latest(str(work_dir))
    cut(work_dir / 'iter_2.pth')  # the best one cannot be gone on from
    with pytest.raises(ValueError, match='There is no other .*start anew without --resume'):
        find_latest(str(work_dir))


def test_checkpoints_that_nothing_names(work_dir):
    (work_dir / 'last_checkpoint').unlink()
    with pytest.raises(ValueError, match='got no .*last_checkpoint.*--resume .*iter_10.pth'):
        find_latest(str(work_dir))
