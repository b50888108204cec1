"""Batches of workers arrive whole, and memory that something refers to is not used again."""

import gc

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from abaw_mm.structures import collate_frames, shared_batch


class Frames(Dataset):
    """Frames whose pixels are their numbers; the last batch is smaller."""

    def __len__(self):
        return 100

    def __getitem__(self, i):
        rng = np.random.default_rng(i)
        image = rng.integers(0, 256, (12, 10, 3), dtype=np.uint8)
        return dict(img=image, clip=f'c{i // 7}', frame_no=i, sample_idx=i, gt_label=i % 8)


def make_loader(workers, **options):
    return DataLoader(
        Frames(), batch_size=8, num_workers=workers, collate_fn=collate_frames, **options
    )


def check(batch, expected):
    assert list(batch) and batch.keys() == expected.keys() and type(batch) is dict
    for name, value in expected.items():
        equal = torch.equal(batch[name], value) if torch.is_tensor(value) else batch[name] == value
        assert equal, name


@pytest.mark.parametrize('options', [dict(), dict(persistent_workers=True, prefetch_factor=1)])
def test_batches_of_workers_equal_those_of_the_process(options):
    """In the second epoch the workers use their memory again."""
    loader = make_loader(2, **options)
    for _ in range(2):
        for batch, expected in zip(loader, make_loader(0), strict=True):
            check(batch, expected)


@pytest.mark.parametrize('keep', ['batch', 'tensor', 'view', 'array', 'detached'])
def test_memory_in_use_is_not_written(keep):
    kept = []
    for batch in make_loader(1):
        images = batch['inputs']
        kept.append(
            dict(
                batch=batch,
                tensor=images,
                view=images[1:].permute(0, 3, 1, 2),
                array=images.numpy()[1:],
                detached=images.detach().view(-1),
            )[keep]
        )
        del batch, images
        gc.collect(0)
    for some, expected in zip(kept, make_loader(0), strict=True):
        images = expected['inputs']
        if keep == 'batch':
            check(some, expected)
        elif keep in ('tensor', 'detached'):
            assert torch.equal(some.view(images.shape), images)
        else:
            some = torch.as_tensor(some)
            right = images[1:].permute(0, 3, 1, 2) if keep == 'view' else images[1:]
            assert torch.equal(some, right)


def test_memory_is_used_again():
    frames = Counter()
    loader = DataLoader(frames, batch_size=8, num_workers=1, collate_fn=frames.collate)
    slots = [batch['clips'] for batch in loader]
    assert len(slots) == 13 and max(slots) <= 5  # one in use, two prefetched, those on the way


class Counter(Frames):
    """Frames whose batches say how many slots their worker has."""

    def collate(self, frames):
        batch = collate_frames(frames)
        batch['clips'] = len(shared_batch._slots)
        return batch
