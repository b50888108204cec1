"""Find the worst mistakes of a run, and make thumbnails of them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abaw_mm.datasets.crops.crop_folder import CropFolder, crop_path, list_crops
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.errors import MissingFileError, shorten
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.visualization.report.page import make_thumbnail

PER_CLIP = 3  # mistakes per clip, so that several clips are shown
STRETCH = 50  # frames that share one picture where the error is a number


@dataclass(frozen=True)
class Pictures:
    """Settings of the pictures of mistakes.

    Args:
        roots (list[CropFolder]): Folders of the crops.
        number (int): Maximum number of thumbnails per run. Defaults to 24.
    """

    roots: list[CropFolder]
    number: int = 24


def find_mistakes(frames: Predictions, number: int, per_clip: int = PER_CLIP) -> np.ndarray:
    """Find the wrong frames with the highest confidence.

    Neighbouring frames look alike. Therefore only the most confident frame is taken from each
    stretch of frames of a clip with the same label and the same prediction, and only ``per_clip``
    stretches from each clip.

    Args:
        frames (Predictions): Frames that all have a label.
        number (int): Maximum number of rows.
        per_clip (int): Maximum number of rows per clip. Defaults to 3.

    Returns:
        ndarray: Row numbers, the most confident first.
    """
    label, pred, confidence = frames['gt_label'], frames['pred_label'], frames.confidence
    stretch = [frames.clip_id, label, pred]
    rows = choose_worst(frames.clip_id, stretch, confidence, pred != label, per_clip)
    return rows[:number]


def find_errors(frames: Predictions, number: int) -> np.ndarray:
    """Find the frames whose valence and arousal are the farthest from the annotated ones.

    Of each 50 frames of a clip only the farthest is taken.

    Args:
        frames (Predictions): Frames that are all annotated, with ``pred_va`` and ``gt_va``.
        number (int): Maximum number of rows.

    Returns:
        ndarray: Row numbers, the largest distance first.
    """
    error = np.linalg.norm(frames['pred_va'] - frames['gt_va'], axis=1)
    stretch = [frames.clip_id, frames.frame_no // STRETCH]
    return choose_worst(frames.clip_id, stretch, error, error > 0)[:number]


def find_unit_mistakes(
    frames: Predictions, thresholds: Sequence[float], number: int
) -> tuple[np.ndarray, np.ndarray]:
    """Find the wrong action units whose probabilities are the farthest from the annotation.

    Only the farthest frame is taken from each stretch of a clip with the same mistake.

    Args:
        frames (Predictions): Frames that are all annotated, with ``pred_au`` and ``gt_au``.
        thresholds (Sequence[float]): (U,) lowest probability of 'present'.
        number (int): Maximum number of mistakes.

    Returns:
        tuple: Rows and units (N,), the worst first.
    """
    truth, score = frames['gt_au'].T, frames['pred_au'].T  # one unit after the other
    pred = score >= np.asarray(thresholds, score.dtype)[:, None]
    size = len(frames)
    stretch = [np.arange(len(score)).repeat(size), np.tile(frames.clip_id, len(score))]
    stretch += [truth.ravel(), pred.ravel()]
    chosen = choose_worst(stretch[1], stretch, abs(score - truth).ravel(), (pred != truth).ravel())[
        :number
    ]
    return chosen % size, chosen // size


def choose_worst(
    clip_id: np.ndarray,
    stretch: Sequence[np.ndarray],
    error: np.ndarray,
    is_wrong: np.ndarray,
    per_clip: int = PER_CLIP,
) -> np.ndarray:
    """Choose the row with the largest error of each stretch, and a few stretches of each clip.

    Args:
        clip_id (ndarray): (F,) clip of each row.
        stretch (Sequence[ndarray]): Columns (F,). Neighbouring rows with the same values are a
            stretch.
        error (ndarray): (F,) size of the error.
        is_wrong (ndarray): (F,) bool; other rows are not chosen.
        per_clip (int): Maximum number of rows per clip. Defaults to 3.

    Returns:
        ndarray: Row numbers, the largest error first.
    """
    number = np.cumsum(np.any(np.diff(np.stack(stretch), prepend=-1), axis=0))
    order = np.lexsort((-error, number))
    best = order[np.append(True, np.diff(number[order]) > 0)[: len(order)]]
    best = best[is_wrong[best]]
    best = best[np.argsort(-error[best], kind='stable')]
    taken: dict[int, int] = {}
    rows = []
    for row in best.tolist():
        clip = int(clip_id[row])
        taken[clip] = taken.get(clip, 0) + 1
        if taken[clip] <= per_clip:
            rows.append(row)
    return np.array(rows, np.int64)


def show_mistakes(
    frames: Predictions,
    rows: np.ndarray,
    predicted: Sequence[str],
    labelled: Sequence[str],
    pictures: Pictures,
) -> list[dict]:
    """Collect what the page shows of mistakes.

    Args:
        frames (Predictions): Frames.
        rows (ndarray): (N,) rows of the mistakes.
        predicted (Sequence[str]): What is predicted, for each row.
        labelled (Sequence[str]): What is annotated, for each row.
        pictures (Pictures): Settings of the pictures.

    Raises:
        MissingFileError: If a frame has no crop.
        UnreadableFrameError: If a crop is damaged.
    """
    source = locate_crops(frames, pictures.roots)
    thumbnails = make_thumbnails(frames, rows, pictures.roots, source)
    return [
        dict(
            picture=picture,
            clip=frames.clips[frames.clip_id[row]],
            frame=int(frames.frame_no[row]),
            predicted=one,
            labelled=other,
        )
        for row, picture, one, other in zip(rows, thumbnails, predicted, labelled, strict=True)
    ]


def locate_crops(frames: FrameTable, roots: Sequence[CropFolder]) -> np.ndarray:
    """Find the source of each frame's crop.

    Args:
        frames (FrameTable): Frames.
        roots (Sequence[CropFolder]): Folders of the crops.

    Returns:
        ndarray: (F,) int8, for :func:`crop_path`.

    Raises:
        FileNotFoundError: If a frame has no crop.
    """
    crops = list_crops(roots, frames.clips)
    row = crops.find(frames)
    lost = np.flatnonzero(row < 0)
    if len(lost):
        raise MissingFileError(
            f'got no crop of {len(lost)} of the {len(frames)} frames that were predicted '
            f'({shorten(frames.name_frames(lost))}) in {shorten([root.root for root in roots])}, '
            'expected one crop per frame; give the --data-root that was tested, or none for a page '
            'without pictures'
        )
    return crops['source'][row]


def make_thumbnails(
    frames: FrameTable, rows: np.ndarray, roots: Sequence[CropFolder], source: np.ndarray
) -> list[str]:
    """Make a thumbnail of each given row; ``source`` is the result of :func:`locate_crops`.

    Raises:
        UnreadableFrameError: If a crop is damaged.
    """
    paths = [
        crop_path(
            roots, frames.clips[frames.clip_id[row]], int(frames.frame_no[row]), int(source[row])
        )
        for row in rows
    ]
    return [make_thumbnail(read_crop(path)[:, :, ::-1]) for path in paths]
