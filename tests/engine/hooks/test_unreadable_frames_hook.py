"""Unreadable frames are counted at each evaluation, or stop the training."""

import pytest
from mmengine.runner import Runner
from tiny_run import tiny_cfg


def truncate_crops(folder, numbers):
    for number in numbers:
        path = folder / f'{number:05d}.jpg'
        path.write_bytes(path.read_bytes()[:-2])


@pytest.fixture
def folder(tiny):
    return tiny / 'cropped_aligned/video10_left'


OPTIONS = {'train_dataloader.sampler.stride': 1, 'train_dataloader.batch_size': 36}


@pytest.mark.slow
def test_replaced_frames_are_counted_at_each_evaluation(
    repo, tiny, tmp_path, folder, logged_warnings
):
    truncate_crops(folder, range(5, 21))
    options = {
        **OPTIONS,
        'train_dataloader.dataset.unreadable': 'nearest',
        'train_dataloader.num_workers': 1,
    }
    Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path / 'run', max_iters=2, **options)).train()
    lines = [line for line in logged_warnings if line.startswith('Unreadable frames: ')]
    # 16 of the 36 frames, each once per epoch; the worker reads some epochs ahead
    counts = [int(line.split()[2]) for line in lines]
    assert counts and all(count > 0 and count % 16 == 0 for count in counts)


def test_training_stops_at_an_unreadable_frame(repo, tiny, tmp_path, folder):
    truncate_crops(folder, [number for number in range(1, 21) if number not in (3, 4)])
    with pytest.raises(ValueError, match=r'video10_left/000\d\d\.jpg: got Premature end'):
        Runner.from_cfg(tiny_cfg(repo, tiny, tmp_path / 'run', **OPTIONS)).train()
