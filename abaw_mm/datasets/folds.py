"""Folds of clips for cross-validation."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from abaw_mm.checks import MAX_SEED
from abaw_mm.datasets.annotations import raw_video
from abaw_mm.errors import InvalidValueError
from abaw_mm.files import atomic_write
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import ACTION_UNIT, EXPRESSION, UNLABELLED, VALENCE_AROUSAL

QUADRANTS = ('V- A-', 'V- A+', 'V+ A-', 'V+ A+')  # of valence and arousal; 0 counts as -


def find_quadrants(va: np.ndarray) -> np.ndarray:
    """Return the quadrant of each frame, (F,) int, an index into ``QUADRANTS``; -1 if hidden.

    Args:
        va (ndarray): (F, 2) valence and arousal.

    >>> find_quadrants(np.array([[-0.5, 0.1], [0.2, -1], [-5, -5]])).tolist()
    [1, 2, -1]
    """
    quadrants = 2 * (va[:, 0] > 0) + (va[:, 1] > 0)
    return np.where(VALENCE_AROUSAL.is_annotated(va), quadrants, UNLABELLED)


def find_strata(frames: FrameTable) -> dict[str, np.ndarray]:
    """Return what each frame is stratified by, for :func:`split_folds`.

    That is the expression, the quadrant of valence and arousal, or the rarest of the action units
    that are present. If there are several targets, as in the multi-task track, it is the first of
    these three that is annotated.

    Args:
        frames (FrameTable): Annotations, grouped by clip.

    Returns:
        dict: Clip name to the strata (L, ) int of its frames, -1 where nothing is annotated.

    >>> table = FrameTable.from_rows(['a', 'a'], [1, 2], label=np.array([3, -1]),
    ...                              va=np.array([[0.5, 0.5], [-0.5, 0.5]]))
    >>> find_strata(table)['a'].tolist()
    [3, 9]
    """
    parts = []
    if EXPRESSION.column in frames.columns:
        parts.append((frames[EXPRESSION.column].astype(np.int64), len(EXPRESSION.names)))
    if VALENCE_AROUSAL.column in frames.columns:
        parts.append((find_quadrants(frames[VALENCE_AROUSAL.column]), len(QUADRANTS)))
    if ACTION_UNIT.column in frames.columns:
        parts.append((_find_rarest_units(frames[ACTION_UNIT.column]), len(ACTION_UNIT.names) + 1))
    strata, start = np.full(len(frames), UNLABELLED), 0
    for values, number in parts:
        strata = np.where((strata == UNLABELLED) & (values >= 0), values + start, strata)
        start += number
    rows_by_clip = zip(frames.clips, frames.rows_by_clip(), strict=True)
    return {clip: strata[rows] for clip, rows in rows_by_clip}


def _find_rarest_units(au: np.ndarray) -> np.ndarray:
    """Return the rarest present unit of each frame, K if there is none, -1 if hidden."""
    known = ACTION_UNIT.is_annotated(au)
    share = (au[known] == 1).mean(axis=0) if known.any() else np.ones(au.shape[1])
    rarest = np.append(np.where(au == 1, share, 2), np.full((len(au), 1), 1.5), axis=1)
    return np.where(known, rarest.argmin(axis=1), UNLABELLED)


def split_folds(labels: dict[str, np.ndarray], num_folds: int, seed: int = 0) -> list[list[str]]:
    """Split clips into folds with about the same number of frames of each class.

    The clips of one raw video, its main person and those to the left and right, stay in one fold
    because they share the scene and often faces. Uses scikit-learn's ``StratifiedGroupKFold`` on
    the labelled frames. It assigns the videos with the most uneven classes first; the seed only
    breaks ties, so other seeds give similar folds.

    Args:
        labels (dict): Clip name to its labels (L, ), -1 where not annotated. Those of other
            tracks come from :func:`find_strata`.
        num_folds (int): Number of folds.
        seed (int): Seed. Defaults to 0.

    Returns:
        list: Sorted validation clips of each fold. Clips without labels are left out.

    Raises:
        InvalidValueError: If there are fewer than two folds, or more than raw videos with labels or
            than frames of the largest class, or the seed is out of range.

    Example:
        >>> labels = {f'video{i}': np.array([0, 1, i % 2, -1]) for i in range(6)}
        >>> [len(fold) for fold in split_folds(labels, 3)]
        [2, 2, 2]
    """
    if not 0 <= seed <= MAX_SEED:
        raise InvalidValueError(f'--seed: got {seed}, expected an integer in 0..{MAX_SEED}')
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
    strata = np.concatenate(list(frames.values()))
    most = int(np.unique(strata, return_counts=True)[1].max())
    if num_folds > most:
        raise InvalidValueError(
            f'--folds: got {num_folds}, expected at most {most}, the frames of the largest class'
        )
    clip_id = np.repeat(np.arange(len(clips)), [len(label) for label in frames.values()])
    video_id = np.array([videos.index(raw_video(clip)) for clip in clips])[clip_id]
    splitter = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # if a class is missing in a fold; the tool reports it
        splits = splitter.split(clip_id, strata, video_id)
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
