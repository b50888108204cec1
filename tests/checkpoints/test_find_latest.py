"""``--resume`` finds the latest checkpoint, or names the newest intact one."""

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
    ],
)
def test_error_names_the_newest_intact_checkpoint(work_dir, damage, got):
    damage(work_dir / 'iter_10.pth')
    older = work_dir / 'iter_4.pth'
    with pytest.raises(ValueError, match=f'iter_10.pth: {got}.* with `--resume {older}`'):
        find_latest(str(work_dir))
    truncate(older)
    with pytest.raises(ValueError, match=f'`--resume {work_dir / "iter_2.pth"}`'):
        find_latest(str(work_dir))
    truncate(work_dir / 'iter_2.pth')  # the best checkpoint holds no state to resume
    with pytest.raises(ValueError, match='there is no other .*start again without --resume'):
        find_latest(str(work_dir))


def test_missing_last_checkpoint(work_dir):
    (work_dir / 'last_checkpoint').unlink()
    with pytest.raises(ValueError, match='got no .*last_checkpoint.*--resume .*iter_10.pth'):
        find_latest(str(work_dir))
