"""Collate the frames that a worker loaded into one batch of arrays."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.registry import FUNCTIONS

from abaw_mm.errors import InvalidValueError
from abaw_mm.structures.shared_batch import SharedBatch, to_tensors
from abaw_mm.structures.tasks import TASKS


@FUNCTIONS.register_module()
def collate_frames(frames: Sequence[dict]) -> dict:
    """Stack loaded frames as uint8 arrays at the size of the crops.

    Workers send bytes, without an object per frame, in shared memory (``SharedBatch``).
    ``FrameDataPreprocessor`` crops, resizes and normalises them on the model's device. The pipeline
    has to end in ``LoadFaceCrop`` or in a transform that keeps its keys.

    Args:
        frames (Sequence[dict]): N frames with ``img`` ((H, W, 3) uint8), ``clip``, ``frame_no``,
            ``sample_idx`` and, unless labels are hidden, the targets of the track: ``gt_label``,
            ``gt_va`` (2,), ``gt_au`` (12,).

    Returns:
        dict: ``inputs`` (N, H, W, 3) uint8; ``gt_label``, ``sample_idx``, ``frame_no`` and
        ``clip_id`` (N, ) int64; ``gt_va`` (N, 2) float32; ``gt_au`` (N, 12) int64; and ``clips``,
        a list of the clip names that ``clip_id`` indexes.

    Raises:
        ValueError: If frames are not uint8 images, differ in size, or only some have labels.
    """
    _check_images(frames)
    id_of = {clip: clip_id for clip_id, clip in enumerate(dict.fromkeys(f['clip'] for f in frames))}
    columns: dict = dict(
        clips=list(id_of), clip_id=np.array([id_of[frame['clip']] for frame in frames])
    )
    for name in ('sample_idx', 'frame_no'):
        columns[name] = np.array([frame[name] for frame in frames])
    for target in TASKS['mtl']:
        if _has_labels(frames, target.ground_truth):
            values = np.array([frame[target.ground_truth] for frame in frames])
            is_float = values.dtype.kind == 'f'
            columns[target.ground_truth] = values if is_float else values.astype(np.int64)
    images = [frame['img'] for frame in frames]
    if torch.utils.data.get_worker_info() is not None:
        return SharedBatch(images, columns)
    return to_tensors(dict(inputs=np.stack(images), **columns))


def _check_images(frames: Sequence[dict]) -> None:
    """Raise ValueError unless all frames are uint8 images of one size."""
    for frame in frames:
        got = frame['img'].dtype if 'img' in frame else f'frames with {sorted(frame)}'
        if got != np.uint8:
            raise InvalidValueError(
                f'collate_frames: got {got}, expected img as uint8; remove Normalize '
                'and PackInputs from the pipeline (FrameDataPreprocessor does their work), or '
                'inherit configs/_base_/plain.py'
            )
    for frame in frames:
        if frame['img'].shape != frames[0]['img'].shape:
            raise InvalidValueError(
                f'collate_frames: got {frame["img_path"]} of {_size(frame)} pixels and '
                f'{frames[0]["img_path"]} of {_size(frames[0])}, expected crops of one size; add '
                "dict(type='Resize', scale=112) after LoadFaceCrop, or inherit "
                'configs/_base_/datasets/affwild2.py'
            )


def _has_labels(frames: Sequence[dict], name: str) -> bool:
    """Return whether frames have labels; raise ValueError if only some do."""
    labelled = sum(name in frame for frame in frames)
    if labelled not in (0, len(frames)):
        raise InvalidValueError(
            f'collate_frames: got labels of {labelled} of {len(frames)} frames, expected all or '
            "none; do not combine annotated sets with the challenge's list of frames"
        )
    return labelled > 0


def _size(frame: dict) -> str:
    height, width = frame['img'].shape[:2]
    return f'{width}x{height}'
