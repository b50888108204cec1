"""Folds of clips for cross-validation."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations import raw_video
from abaw_mm.errors import InvalidValueError
from abaw_mm.files import atomic_write
from abaw_mm.structures.tasks import UNLABELLED


def split_folds(labels: dict[str, np.ndarray], num_folds: int, seed: int = 0) -> list[list[str]]:
    """Split clips into folds with about the same number of frames of each class.

    The clips of one raw video, its main person and those to the left and right, stay in one fold
    because they share the scene and often faces. Uses scikit-learn's ``StratifiedGroupKFold`` on
    the labelled frames. It assigns the videos with the most uneven classes first; the seed only
    breaks ties, so other seeds give similar folds.

    Args:
        labels (dict): Clip name to its labels (L, ), -1 where not annotated.
        num_folds (int): Number of folds.
        seed (int): Seed. Defaults to 0.

    Returns:
        list: Sorted validation clips of each fold. Clips without labels are left out.

    Raises:
        ValueError: If there are fewer than two folds, or more than raw videos with labels.

    Example:
        >>> labels = {f'video{i}': np.array([0, 1, i % 2, -1]) for i in range(6)}
        >>> [len(fold) for fold in split_folds(labels, 3)]
        [2, 2, 2]
    """
    from sklearn.model_selection import StratifiedGroupKFold  # takes a second to import

    frames = {clip: label[label != UNLABELLED] for clip, label in sorted(labels.items())}
    frames = {clip: label for clip, label in frames.items() if len(label)}
    clips = list(frames)
    videos = sorted({raw_video(clip) for clip in clips})
    if not 2 <= num_folds <= len(videos):
        raise InvalidValueError(
            f'--folds: got {num_folds}, expected 2 to {len(videos)}, the number of raw videos '
            '(clips without _left and _right) with labels'
        )
    clip_id = np.repeat(np.arange(len(clips)), [len(label) for label in frames.values()])
    video_id = np.array([videos.index(raw_video(clip)) for clip in clips])[clip_id]
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # if a class is missing in a fold; the tool reports it
        splits = splitter.split(clip_id, np.concatenate(list(frames.values())), video_id)
        return [[clips[i] for i in np.unique(clip_id[rows])] for _, rows in splits]


def write_fold_lists(folds: Sequence[Sequence[str]], out: Path) -> list[tuple[Path, Path]]:
    """Write the clips of each fold, one per line, for the ``clips`` of a dataset.

    Args:
        folds (Sequence): Validation clips of each fold, as :func:`split_folds` returns them.
        out (Path): Folder of ``fold0of5_train.txt``, ``fold0of5_val.txt``, ...

    Returns:
        list: The lists of training and validation clips of each fold.
    """
    paths = []
    for i, val in enumerate(folds):
        train = sorted(clip for fold in folds if fold is not val for clip in fold)
        pair = tuple(out / f'fold{i}of{len(folds)}_{name}.txt' for name in ('train', 'val'))
        for path, clips in zip(pair, (train, val), strict=True):
            with atomic_write(path) as draft:
                draft.write_text('\n'.join([*clips, '']), encoding='utf-8')
        paths.append((pair[0], pair[1]))
    return paths
