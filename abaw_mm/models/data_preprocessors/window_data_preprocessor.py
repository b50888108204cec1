"""Data preprocessor for windows of a ``ClipFeatureDataset``."""

import torch
from mmengine.model import BaseDataPreprocessor
from mmpretrain.registry import MODELS

from abaw_mm.checks import check_arguments
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.data_preprocessors.batch_augments import check_no_batch_augments
from abaw_mm.structures import FrameBatch


@MODELS.register_module()
class WindowDataPreprocessor(BaseDataPreprocessor):
    """Move windows to the device and collect the frames to score in a ``FrameBatch``.

    Args:
        batch_augments (dict, optional): ``train_cfg`` of the classifier. Must be None.

    Raises:
        ValueError: If ``batch_augments`` is not None.
    """

    @check_arguments('model.data_preprocessor')
    def __init__(self, batch_augments: dict | None = None) -> None:
        super().__init__(non_blocking=True)
        check_no_batch_augments(batch_augments)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Prepare the model's input.

        Args:
            data (dict): N stacked items of a ``ClipFeatureDataset``.
            training (bool): Not used.

        Returns:
            dict: ``inputs`` (N, W, D) float32 and ``data_samples``, a list of one ``FrameBatch`` of
            the F frames to score. Its ``seen`` is (N, W) bool. Its ``place`` (F, ) int64 is the
            position of each frame among the N * W positions.

        Raises:
            ValueError: If the batch is not one of a ``ClipFeatureDataset``.
        """
        _check_windows(data)
        row_of = {clip: row for row, clip in enumerate(dict.fromkeys(data['clip']))}
        place = data['scored'].flatten().nonzero().flatten()
        window = place // data['seen'].shape[1]
        frames = dict(
            clip_id=torch.tensor([row_of[clip] for clip in data['clip']])[window],
            sample_idx=data['sample_idx'][window],
        )
        for name in ('frame_no', 'gt_label'):
            if name in data:  # labels may be hidden
                frames[name] = data[name].flatten()[place]
        moved = self.cast_data(dict(frames, place=place, seen=data['seen'], inputs=data['inputs']))
        inputs = moved.pop('inputs').float()
        batch = FrameBatch(metainfo=dict(clips=list(row_of)), **moved)
        return dict(inputs=inputs, data_samples=[batch])


def _check_windows(data: dict) -> None:
    if 'seen' not in data or not isinstance(data['inputs'], torch.Tensor):
        raise InvalidValueError(
            f'WindowDataPreprocessor: got a batch with {sorted(data)}, expected stacked windows; '
            "set dataset=dict(type='ClipFeatureDataset', ...) and "
            "collate_fn=dict(type='default_collate') of the data loader"
        )
