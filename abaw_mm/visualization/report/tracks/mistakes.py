"""Find the most confident mistakes of a run, and make thumbnails of them."""

from collections.abc import Sequence

import numpy as np

from abaw_mm.datasets.crops.crop_folder import CropFolder, crop_path, list_crops
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.errors import MissingFileError, shorten
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.visualization.report.page import make_thumbnail

PER_CLIP = 3  # mistakes per clip, so that several clips are shown


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
    stretch = np.cumsum(np.any(np.diff([frames.clip_id, label, pred], prepend=-1), axis=0))
    order = np.lexsort((-confidence, stretch))
    best = order[np.append(True, np.diff(stretch[order]) > 0)[: len(order)]]
    best = best[pred[best] != label[best]]
    best = best[np.argsort(-confidence[best], kind='stable')]
    taken: dict[int, int] = {}
    rows = []
    for row in best.tolist():
        clip = int(frames.clip_id[row])
        taken[clip] = taken.get(clip, 0) + 1
        if taken[clip] <= per_clip:
            rows.append(row)
    return np.array(rows[:number], np.int64)


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
