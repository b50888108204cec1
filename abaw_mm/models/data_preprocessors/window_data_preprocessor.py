"""From windows of a ``ClipFeatureDataset`` to a temporal model's input."""

import torch
from mmengine.model import BaseDataPreprocessor
from mmpretrain.registry import MODELS

from abaw_mm.structures import FrameBatch


@MODELS.register_module()
class WindowDataPreprocessor(BaseDataPreprocessor):
    """Bring windows to the device, features as float32, the frames to score as a ``FrameBatch``.

    Args:
        batch_augments (dict, optional): What mmpretrain's classifiers hand on of their
            ``train_cfg``. Anything but None is refused.

    Raises:
        ValueError: For other batches than those of a ``ClipFeatureDataset``.
    """

    def __init__(self, batch_augments: dict | None = None) -> None:
        super().__init__(non_blocking=True)
        if batch_augments is not None:
            raise ValueError(
                f'WindowDataPreprocessor: got batch_augments={batch_augments}, expected none; '
                'leave out model.train_cfg.augments'
            )

    def forward(self, data: dict, training: bool = False) -> dict:
        """Make the model's input.

        Args:
            data (dict): N items of a ``ClipFeatureDataset``, stacked.
            training (bool): Makes no difference.

        Returns:
            dict: ``inputs`` (N, W, D) float32 and ``data_samples``, a list of one ``FrameBatch``
            of the F frames to score, with ``seen`` (N, W) bool and ``place`` (F, ) int64, the row
            of each in the (N * W) places.
        """
        if 'seen' not in data or not isinstance(data['inputs'], torch.Tensor):
            raise ValueError(
                f'WindowDataPreprocessor: got a batch with {sorted(data)}, expected stacked '
                "windows; set dataset=dict(type='ClipFeatureDataset', ...) and "
                "collate_fn=dict(type='default_collate') of the data loader"
            )
        row_of = {clip: row for row, clip in enumerate(dict.fromkeys(data['clip']))}
        clip_id = torch.tensor([row_of[clip] for clip in data['clip']])
        window = dict(clip_id=clip_id, sample_idx=data['sample_idx'])  # the same for all frames
        size = data['seen'].shape[1]
        place = data['scored'].flatten().nonzero().flatten()
        frames = {name: value[place // size] for name, value in window.items()}
        for name in ('frame_no', 'gt_label'):
            if name in data:  # labels may be hidden
                frames[name] = data[name].flatten()[place]
        moved = self.cast_data(dict(frames, place=place, seen=data['seen'], inputs=data['inputs']))
        inputs = moved.pop('inputs').float()
        return dict(
            inputs=inputs, data_samples=[FrameBatch(metainfo=dict(clips=list(row_of)), **moved)]
        )
