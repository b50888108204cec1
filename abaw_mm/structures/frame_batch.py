"""A batch of frames as arrays."""

import torch
from mmpretrain.structures import DataSample


class FrameBatch(DataSample):
    """Labels, ids and scores of N frames in one data sample, instead of a data sample a frame.

    mmpretrain's models get it as a list of one. Their losses take it as it is, for they
    concatenate the labels of the list; to predict, the model needs to be a ``FrameClassifier``.

    Attributes:
        gt_label (Tensor): (N, ) int64; not there where labels are hidden.
        pred_score (Tensor): (N, C) softmax.
        pred_label (Tensor): (N, ) int64.
        sample_idx (Tensor): (N, ) int64, rows of the dataset.
        frame_no (Tensor): (N, ) int64, numbers in the file names.
        clip_id (Tensor): (N, ) int64, rows of ``clips``.
        clips (list[str]): Names of the batch's clips.
        seen, place (Tensor): Of a ``WindowDataPreprocessor`` only.
    """

    def set_pred_score(self, value: torch.Tensor) -> 'FrameBatch':
        """Set the scores of all frames.

        Raises:
            ValueError: For the scores of one frame, as mmpretrain's own classifiers give them.
        """
        if value.ndim != 2 or len(value) != len(self.frame_no):
            raise ValueError(
                f'FrameBatch: got scores of shape {tuple(value.shape)}, expected '
                f'({len(self.frame_no)}, C); the workers hand over batches as arrays '
                "(collate_frames), which need model=dict(type='FrameClassifier')"
            )
        self.set_field(value, 'pred_score', dtype=torch.Tensor)
        return self

    def set_scores(self, score: torch.Tensor) -> None:
        """Set the softmax (N, C) of all frames, and the classes that it makes the likeliest."""
        self.set_pred_score(score)
        self.set_field(score.argmax(dim=1), 'pred_label', dtype=torch.Tensor)
