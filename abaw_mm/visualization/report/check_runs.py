"""Check the predictions that a report compares."""

from collections.abc import Sequence

import numpy as np

from abaw_mm.datasets.annotations import number_lines
from abaw_mm.datasets.crops.crop_folder import CropFolder, list_crops
from abaw_mm.datasets.frame_index import join_labels_and_crops
from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.evaluation.postprocessing.ensemble import check_same_frames
from abaw_mm.evaluation.predictions.file import HOW_TO_WRITE
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.tasks import UNLABELLED


def check_runs(runs: Sequence[Predictions], names: Sequence[str], classes: Sequence[str]) -> None:
    """Check that runs can be compared.

    Args:
        runs (Sequence[Predictions]): At least one.
        names (Sequence[str]): Names of their files, for messages.
        classes (Sequence[str]): Expected class names, in order.

    Raises:
        ValueError: If a run has other classes, other frames or other labels, or no labels.
    """
    for run, name in zip(runs, names, strict=True):
        run.check_classes(classes, name)
        if np.all(run['gt_label'] == UNLABELLED) and 'time' in run.columns:
            raise InvalidValueError(
                f'{name}: got the predictions of a video, which have no labels to compare with, '
                'expected labelled frames; tools/predict_video.py CONFIG CHECKPOINT VIDEO --out '
                'DIR --report writes the page of a video'
            )
        if np.all(run['gt_label'] == UNLABELLED):
            raise InvalidValueError(
                f'{name}: got {len(run)} frames without any label, like those of the test split, '
                'expected labelled frames to compare the predictions with; give predictions of the '
                f'validation set: {HOW_TO_WRITE}'
            )
    check_same_frames(runs, names)


def check_complete(
    run: Predictions,
    name: str,
    labels: dict[str, np.ndarray],
    roots: Sequence[CropFolder],
    start_index: int = 1,
) -> None:
    """Check that predictions have the frames and labels of the annotations.

    Args:
        run (Predictions): Predictions.
        name (str): Name of their file, for messages.
        labels (dict): Clip name to its labels (L,), from ``read_annotation_folder``.
        roots (Sequence[CropFolder]): Folders of the crops. A frame is expected if it has a label
            and a crop.
        start_index (int): Number of the first frame of a clip. Defaults to 1.

    Raises:
        ValueError: If frames are missing, unexpected, or have other labels.
    """
    lines = number_lines(start_index, label=labels)
    expected = join_labels_and_crops(lines, list_crops(roots, lines.clips))
    known = run.take(run['gt_label'] != UNLABELLED)
    row = expected.find(known)
    other = (row >= 0) & (expected['label'][row] != known['gt_label'])
    for frames, rows, what in (
        (expected, known.find_missing(expected), 'lacks {} of the {} labelled frames with a crop'),
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
