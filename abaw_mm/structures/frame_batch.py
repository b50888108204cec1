"""Batches of frames as arrays, and how to recognise them."""

from collections.abc import Mapping

import torch
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from abaw_mm.errors import InvalidValueError
from abaw_mm.structures.collate_frames import collate_frames


class FrameBatch(DataSample):
    """Labels, ids and scores of N frames in one data sample, instead of one object per frame.

    mmpretrain's models receive it as a list of one. Their losses accept it unchanged because they
    concatenate the labels of the list. Prediction needs a ``FrameClassifier``.

    Attributes:
        gt_label (Tensor): (N, ) int64. Absent where labels are hidden.
        gt_va, gt_au (Tensor): (N, 2) float32 and (N, 12) int64, of the tracks that have them.
        pred_score (Tensor): (N, C) softmax.
        pred_label (Tensor): (N, ) int64.
        pred_va, pred_au (Tensor): (N, 2) in [-1, 1] and (N, 12) probabilities.
        sample_idx (Tensor): (N, ) int64, row numbers of the dataset.
        frame_no (Tensor): (N, ) int64, frame numbers, as in the names of the crops' files.
        clip_id (Tensor): (N, ) int64, index into ``clips``.
        clips (list[str]): Names of the clips in the batch.
        seen, place (Tensor): Only set by ``WindowDataPreprocessor``. With several streams, ``seen``
            is a dict of name to tensor.
    """

    def set_pred_score(self, value: torch.Tensor) -> 'FrameBatch':
        """Set the scores of all frames.

        Raises:
            ValueError: If the shape is not (N, C), as with mmpretrain's own classifiers, which set
                the scores of one frame.
        """
        if value.ndim != 2 or len(value) != len(self.frame_no):
            raise InvalidValueError(
                f'FrameBatch: got scores of shape {tuple(value.shape)}, expected '
                f'({len(self.frame_no)}, C); batches of collate_frames need '
                "model=dict(type='FrameClassifier')"
            )
        self.set_field(value, 'pred_score', dtype=torch.Tensor)
        return self

    def set_predictions(self, columns: Mapping[str, torch.Tensor]) -> None:
        """Set what a head predicts for all frames.

        Args:
            columns (Mapping): Name, such as ``pred_va``, to (N, K). ``pred_score`` also sets
                ``pred_label``.
        """
        for name, values in columns.items():
            if name == 'pred_score':
                self.set_scores(values)
            else:
                self.set_field(values, name, dtype=torch.Tensor)

    def set_scores(self, score: torch.Tensor) -> None:
        """Set the softmax (N, C) of all frames and the most likely class of each."""
        self.set_pred_score(score)
        self.set_field(score.argmax(dim=1), 'pred_label', dtype=torch.Tensor)


def uses_frame_batches(loader: DataLoader | Mapping) -> bool:
    """Return whether a data loader, or the config of one, makes batches with ``collate_frames``.

    >>> uses_frame_batches(dict(batch_size=8, collate_fn=dict(type='collate_frames')))
    True
    >>> uses_frame_batches(dict(batch_size=8))
    False
    """
    if not isinstance(loader, Mapping):
        return getattr(loader.collate_fn, 'func', loader.collate_fn) is collate_frames
    collate = loader.get('collate_fn')
    if isinstance(collate, Mapping):
        collate = collate.get('type')
    return collate is collate_frames or collate == collate_frames.__name__


def is_frame_batch(batch: Mapping) -> bool:
    """Return whether a batch or a data sample holds many frames as arrays.

    Args:
        batch (Mapping): What a data loader or a model returns: a batch of ``collate_frames``, a
            ``FrameBatch`` as a dict, or something else, such as the data sample of one frame.
    """
    return 'clip_id' in batch
