"""Check the predictions that a report compares."""

from collections.abc import Sequence

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.evaluation.postprocessing.ensemble import check_same_frames
from abaw_mm.evaluation.predictions.file import HOW_TO_WRITE
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import get_targets

COPIES = 1000  # rows of one frame at most


def check_runs(runs: Sequence[Predictions], names: Sequence[str], classes: Sequence[str]) -> None:
    """Check that runs can be compared.

    Args:
        runs (Sequence[Predictions]): At least one.
        names (Sequence[str]): Names of their files, for messages.
        classes (Sequence[str]): Expected class names, in order, of tracks with classes.

    Raises:
        ValueError: If a run is of another track, or has other classes, other frames or other
            labels, or no labels.
    """
    for run, name in zip(runs, names, strict=True):
        if run.classes:
            run.check_classes(classes, name)
        is_labelled = _find_labelled(run).any()
        if not is_labelled and 'time' in run.columns:
            raise InvalidValueError(
                f'{name}: got the predictions of a video, which have no labels to compare with, '
                'expected labelled frames; tools/predict_video.py CONFIG CHECKPOINT VIDEO --out '
                'DIR --report writes the page of a video'
            )
        if not is_labelled:
            raise InvalidValueError(
                f'{name}: got {len(run)} frames without any label, like those of the test split, '
                'expected labelled frames to compare the predictions with; give predictions of the '
                f'validation set: {HOW_TO_WRITE}'
            )
    check_same_frames(runs, names)


def _find_labelled(run: Predictions) -> np.ndarray:
    """Return which frames are annotated for any part of the track, (F,) bool."""
    return np.any([t.is_annotated(run[t.ground_truth]) for t in get_targets(run.task)], axis=0)


def check_complete(run: Predictions, name: str, expected: FrameTable) -> None:
    """Check that predictions have the frames and labels of the annotations.

    Args:
        run (Predictions): Predictions.
        name (str): Name of their file, for messages.
        expected (FrameTable): Annotated frames with a crop, as ``FrameReader`` reads them. The
            multi-task track repeats some.

    Raises:
        ValueError: If frames are missing, unexpected, or have other labels.
    """
    known = run.take(np.flatnonzero(_find_labelled(run)))
    expected = expected.take(np.argsort(expected.key, kind='stable'))
    pairs: list[FrameTable] = [expected, known]
    if run.task == 'mtl':
        pairs = [_number_copies(frames) for frames in pairs]
    row = pairs[0].find(pairs[1])
    other = np.zeros(len(known), bool)
    for target in get_targets(run.task):
        differs = expected[target.column][row] != known[target.ground_truth]
        other |= differs if target.is_class else differs.any(axis=1)
    other &= row >= 0
    for frames, rows, what in (
        (
            expected,
            pairs[1].find_missing(pairs[0]),
            'lacks {} of the {} labelled frames with a crop',
        ),
        (known, np.flatnonzero(row < 0), 'has {} frames beyond the {} labelled ones with a crop'),
        (known, np.flatnonzero(other), 'has other labels for {} of the {} labelled frames'),
    ):
        if len(rows):
            raise InvalidValueError(
                f'{name}: {what.format(len(rows), len(expected))}, such as '
                f'{shorten(frames.name_frames(rows))}, expected the frames and labels of the '
                f'annotations; {HOW_TO_WRITE}, or give the --ann-file and --data-root that were '
                'tested'
            )


def _number_copies(frames: FrameTable) -> FrameTable:
    """Return a table whose numbers also tell apart the first, the second, ... row of a frame.

    Args:
        frames (FrameTable): Sorted.
    """
    start = np.flatnonzero(np.append(True, np.diff(frames.key) != 0)[: len(frames)])
    length = np.diff(np.append(start, len(frames)))
    copy = np.arange(len(frames)) - start.repeat(length)
    number = frames.frame_no.astype(np.int64) * COPIES + copy
    return FrameTable(frames.clips, frames.clip_id, number, {})
