"""Datasets within the wrappers of mmengine, mmpretrain and torch."""

import itertools

import numpy as np

from abaw_mm.datasets.affwild2 import AffWild2Dataset


def inner_datasets(dataset: object) -> list:
    """What a wrapper such as ``ConcatDataset`` or ``Subset`` holds, once; else nothing."""
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    if hasattr(dataset, 'datasets'):
        return list(dataset.datasets)
    return [dataset.dataset] if hasattr(dataset, 'dataset') else []


def frame_datasets(dataset: object) -> list[AffWild2Dataset]:
    """Every ``AffWild2Dataset`` within wrappers, in their order."""
    if isinstance(dataset, AffWild2Dataset):
        return [dataset]
    return [found for part in inner_datasets(dataset) for found in frame_datasets(part)]


def check_frames_apart(dataset: object) -> None:
    """Refuse a set to be scored in which two datasets have frames of the same clip and number.

    Metrics tell frames by these; one of two would be left out, as are the frames that a sampler
    repeats to fill the last batch.

    Raises:
        ValueError: With the first such frame.
    """
    for one, other in itertools.combinations(frame_datasets(dataset), 2):
        for clip in sorted({*one.frames.clips} & {*other.frames.clips}):
            both = np.intersect1d(
                *(
                    part.frames.frame_no[part.frames.clip_id == part.frames.clips.index(clip)]
                    for part in (one, other)
                )
            )
            if len(both):
                raise ValueError(
                    f'frame {both[0]} of clip {clip!r} is in two datasets of the set, of '
                    f'{one.ann_file} and {other.ann_file}, expected each frame in one: scores tell '
                    'frames by clip and number; score the datasets apart, or give them other '
                    'clips (clips=[...] of the dataset)'
                )
