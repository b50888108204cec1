"""The wrong frames of which a network was surest, and their pictures."""

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from abaw_mm.datasets.crops.crop_folder import (
    CropFolder,
    crop_path,
    list_crops,
)
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.errors import shorten
from abaw_mm.evaluation.metrics.frame_metric import FrameResults
from abaw_mm.structures import FrameTable

PER_CLIP = 3  # of one clip, so that many are seen
SIZE = 112  # pixels of a thumbnail's longer side; the crops have 112
QUALITY = 82


def confidence_of(results: FrameResults) -> np.ndarray:
    """(F, ) float32, the probability of the class that was chosen."""
    return results.pred_score[np.arange(len(results)), results.pred_label]


def surest_mistakes(results: FrameResults, number: int, per_clip: int = PER_CLIP) -> np.ndarray:
    """Rows of the wrong frames with the highest confidence, the surest first.

    Neighbours look alike: of a stretch of frames of a clip with the same label and prediction only
    the surest is taken, and of a clip the ``per_clip`` surest stretches.

    Args:
        results: Frames that all have a label.
        number (int): Most rows.
        per_clip (int): Most rows of a clip.
    """
    key = np.stack([results.clip_id, results.gt_label, results.pred_label])
    stretch = np.cumsum(np.any(np.diff(key, prepend=-1), axis=0))
    confidence = confidence_of(results)
    order = np.lexsort((-confidence, stretch))
    first = order[np.append(True, np.diff(stretch[order]) > 0)[: len(order)]]
    first = first[results.pred_label[first] != results.gt_label[first]]
    first = first[np.argsort(-confidence[first], kind='stable')]
    taken, rows = {}, []
    for row in first.tolist():
        clip = results.clip_id[row]
        taken[clip] = taken.get(clip, 0) + 1
        if taken[clip] <= per_clip:
            rows.append(row)
            if len(rows) == number:
                break
    return np.array(rows, np.int64)


def locate_crops(results: FrameResults, roots: Sequence[CropFolder]) -> np.ndarray:
    """(F, ) int8, where the crop of each frame lies, for :func:`crop_path`.

    Raises:
        FileNotFoundError: If a frame has no crop, naming some.
    """
    crops = list_crops(roots, results.clips)
    rows = crops.find(FrameTable(results.clips, results.clip_id, results.frame_no))
    lost = np.flatnonzero(rows < 0)
    if len(lost):
        examples = [
            f'{results.clips[results.clip_id[row]]}/{results.frame_no[row]}' for row in lost
        ]
        raise FileNotFoundError(
            f'got no crop of {len(lost)} of the {len(results)} frames that were predicted '
            f'({shorten(examples)}) in {shorten([root.root for root in roots])}, expected one of '
            'each; give the --data-root that was tested, or none for a page without pictures'
        )
    return crops['source'][rows]


def thumbnail(path: str) -> str:
    """A crop as a small JPEG in a data URL.

    Raises:
        UnreadableFrameError: As :func:`read_crop` does.
    """
    image = Image.fromarray(read_crop(path)[:, :, ::-1])
    image.thumbnail((SIZE, SIZE))
    buffer = io.BytesIO()
    image.save(buffer, 'JPEG', quality=QUALITY)
    return 'data:image/jpeg;base64,' + base64.b64encode(buffer.getvalue()).decode()


def thumbnails(
    results: FrameResults, rows: np.ndarray, roots: Sequence[CropFolder], source: np.ndarray
) -> list[str]:
    """:func:`thumbnail` of some rows; ``source`` is what :func:`locate_crops` gives."""
    return [
        thumbnail(
            crop_path(
                roots,
                results.clips[results.clip_id[row]],
                int(results.frame_no[row]),
                int(source[row]),
            )
        )
        for row in rows
    ]
