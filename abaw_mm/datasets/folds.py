"""Folds of clips for cross-validation."""

import warnings

import numpy as np

from abaw_mm.datasets.annotations import (
    UNLABELLED,
    raw_video,
)


def split_folds(labels: dict[str, np.ndarray], num_folds: int, seed: int = 0) -> list[list[str]]:
    """Deal the clips into folds with about as many frames of each class.

    The clips of one raw video, its main person and those to the left and right, stay together, as
    they share scene and often faces. scikit-learn's ``StratifiedGroupKFold`` deals, over labelled
    frames; it begins with the videos whose classes are the least even, and the seed only decides
    between videos that are equal in that: other seeds give much the same folds.

    Args:
        labels (dict): Clip to its labels (L, ), -1 where not annotated.
        num_folds (int): Number of folds.
        seed (int): Same seed, same folds.

    Returns:
        list: Of each fold the clips to validate on, sorted. Clips without a labelled frame are in
        none.

    Raises:
        ValueError: For less than two folds, or more than there are raw videos with labels.
    """
    # Here, as it takes a second that `import abaw_mm` need not wait.
    from sklearn.model_selection import StratifiedGroupKFold

    frames = {clip: label[label != UNLABELLED] for clip, label in sorted(labels.items())}
    frames = {clip: label for clip, label in frames.items() if len(label)}
    clips = list(frames)
    videos = sorted({raw_video(clip) for clip in clips})
    if not 2 <= num_folds <= len(videos):
        raise ValueError(
            f'--folds: got {num_folds}, expected 2 to {len(videos)}, the number of raw videos '
            '(clips without _left and _right) with labels'
        )
    clip_id = np.repeat(np.arange(len(clips)), [len(label) for label in frames.values()])
    video_id = np.array([videos.index(raw_video(clip)) for clip in clips])[clip_id]
    dealer = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # a rare class may not reach all folds; the tool tells
        splits = dealer.split(clip_id, np.concatenate(list(frames.values())), video_id)
        return [[clips[i] for i in np.unique(clip_id[rows])] for _, rows in splits]
