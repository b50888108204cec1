"""A worker's frames as one batch of arrays."""

from collections.abc import Sequence

import numpy as np
import torch
from mmengine.registry import FUNCTIONS


@FUNCTIONS.register_module()
def collate_frames(frames: Sequence[dict]) -> dict:
    """Stack loaded frames: bytes leave the worker, at the crops' own size, and no object a frame.

    For pipelines that end in ``LoadFaceCrop``, or in a transform that keeps its keys;
    ``FrameDataPreprocessor`` does the rest where the model is.

    Args:
        frames: N frames with ``img`` ((H, W, 3) uint8), ``clip``, ``frame_no``, ``sample_idx``
            and, unless it is hidden, ``gt_label``.

    Returns:
        dict: ``inputs`` (N, H, W, 3) uint8; ``gt_label``, ``sample_idx``, ``frame_no``, ``clip_id``
        (N, ) int64; and ``clips``, the names that ``clip_id`` counts, as the bytes of one text with
        a zero byte between two.

    Raises:
        ValueError: For frames that are no bytes any more or packed for mmpretrain, frames of
            different sizes, or labels of some only.
    """
    for frame in frames:
        got = frame['img'].dtype if 'img' in frame else f'frames with {sorted(frame)}'
        if got != np.uint8:
            raise ValueError(
                f'collate_frames: got {got}, expected img as uint8; end the pipeline before '
                'PackInputs and without Normalize, which FrameDataPreprocessor does, or use '
                'configs/_base_/plain.py'
            )
    images = [frame['img'] for frame in frames]
    for frame in frames:
        if frame['img'].shape != images[0].shape:
            raise ValueError(
                f'collate_frames: got {frame["img_path"]} of {_size(frame)} pixels and '
                f'{frames[0]["img_path"]} of {_size(frames[0])}, expected crops of one size; add '
                "dict(type='Resize', scale=112) after LoadFaceCrop, or use "
                'configs/_base_/datasets/affwild2.py'
            )
    row_of = {clip: row for row, clip in enumerate(dict.fromkeys(f['clip'] for f in frames))}
    batch = dict(
        inputs=np.stack(images),
        clip_id=np.array([row_of[frame['clip']] for frame in frames]),
        clips=np.frombuffer('\0'.join(row_of).encode(errors='surrogateescape'), np.uint8).copy(),
    )
    labelled = sum('gt_label' in frame for frame in frames)
    if labelled not in (0, len(frames)):
        raise ValueError(
            f'collate_frames: got labels of {labelled} of {len(frames)} frames, expected all or '
            "none; use annotated sets and the challenge's list apart"
        )
    for name in ('sample_idx', 'frame_no', *['gt_label'][:labelled]):
        batch[name] = np.array([frame[name] for frame in frames])
    return {name: torch.from_numpy(column) for name, column in batch.items()}


def _size(frame: dict) -> str:
    height, width = frame['img'].shape[:2]
    return f'{width}x{height}'
