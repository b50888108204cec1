"""Find the datasets inside the wrappers of mmengine, mmpretrain and torch."""

import itertools
from typing import Any

from abaw_mm.datasets.affwild2 import AffWild2Dataset
from abaw_mm.errors import InvalidValueError


def unwrap_once(dataset: Any) -> list:
    """Return the datasets directly inside a wrapper such as ``ConcatDataset`` or ``Subset``."""
    if hasattr(dataset, 'full_init'):
        dataset.full_init()
    if hasattr(dataset, 'datasets'):
        return list(dataset.datasets)
    return [dataset.dataset] if hasattr(dataset, 'dataset') else []


def find_frame_datasets(dataset: object) -> list[AffWild2Dataset]:
    """Return every ``AffWild2Dataset`` inside wrappers, in their order."""
    if isinstance(dataset, AffWild2Dataset):
        return [dataset]
    return [found for part in unwrap_once(dataset) for found in find_frame_datasets(part)]


def check_frames_differ(dataset: object) -> None:
    """Check that no two datasets of an evaluation have the same frame.

    Metrics identify a frame by clip name and frame number. They would drop one of two as a copy,
    as they drop the frames that a sampler repeats to fill the last batch.

    Raises:
        ValueError: If two datasets share a frame.
    """
    for one, other in itertools.combinations(find_frame_datasets(dataset), 2):
        rows = one.frames.find(other.frames)
        shared = rows[rows >= 0]
        if len(shared):
            raise InvalidValueError(
                f'{one.frames.describe(int(shared.min()))} is in two datasets of the set, of '
                f'{one.ann_file} and {other.ann_file}, expected each frame in one; score the '
                'datasets separately, or give them different clips (clips=[...] of the dataset)'
            )
