"""Base class of linear heads that predict one number for each name of a track."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from mmengine.model import BaseModule
from mmpretrain.structures import DataSample
from torch import nn

from abaw_mm.errors import InvalidValueError
from abaw_mm.structures import FrameBatch
from abaw_mm.structures.tasks import Target


class TrackHead(BaseModule):
    """Linear layer with a masked loss over the annotated frames of a batch.

    Works with a ``FrameBatch`` and with mmpretrain's data samples.

    Args:
        in_channels (int): Number of features per frame.
        init_cfg (dict, optional): Initialisation. Defaults to a normal distribution of 0.01, as in
            ``LinearClsHead``.

    Attributes:
        task (str): Track of the head.
        target (Target): What it predicts.
    """

    task: ClassVar[str]
    target: ClassVar[Target]

    def __init__(self, in_channels: int, init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg or dict(type='Normal', layer='Linear', std=0.01))
        self.in_channels = in_channels
        self.fc = nn.Linear(in_channels, len(self.target.names))

    def pre_logits(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return the features of the last stage, (N, C)."""
        return feats[-1]

    def forward(self, feats: Sequence[torch.Tensor]) -> torch.Tensor:
        """Compute the outputs of the linear layer, (N, K)."""
        return self.fc(self.pre_logits(feats))

    def loss(self, feats: Sequence[torch.Tensor], data_samples: list) -> dict:
        """Compute the loss over annotated frames, 0 if there are none.

        Args:
            feats (tuple[Tensor]): Features, the last of which (N, C) is used.
            data_samples (list): One ``FrameBatch``, or N data samples.

        Raises:
            ValueError: If the samples have no annotation of this track.
        """
        target = gather_target(data_samples, self.target, type(self).__name__)
        return dict(loss=self.compute_loss(self(feats), target)[0])

    def compute_loss(self, score: torch.Tensor, target: torch.Tensor) -> tuple[torch.Tensor, bool]:
        """Compute the loss over annotated frames.

        Args:
            score (Tensor): (N, K) outputs of the linear layer.
            target (Tensor): (N, K) annotations.

        Returns:
            tuple: The loss, and whether a frame is annotated. Without one the loss is 0 with zero
            gradients, so that ``DistributedDataParallel`` finds every parameter used.
        """
        return mask_loss(self._compute_loss, score, target, self.target)

    def predict_columns(self, feats: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return what is predicted for the frames: name of the column to (N, K)."""
        return {self.target.prediction: self._activate(self(feats).float())}

    def predict(
        self, feats: Sequence[torch.Tensor], data_samples: list | None = None
    ) -> list[DataSample]:
        """Set the predictions of mmpretrain's data samples.

        Args:
            feats (tuple[Tensor]): Features.
            data_samples (list, optional): N data samples. Defaults to new ones.
        """
        return set_samples(self.predict_columns(feats), data_samples)

    @abstractmethod
    def _compute_loss(self, score: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Compute the loss of annotated frames, at least one; score is float32."""

    @abstractmethod
    def _activate(self, score: torch.Tensor) -> torch.Tensor:
        """Map outputs of the linear layer to predictions."""


def gather_target(data_samples: list, target: Target, owner: str) -> torch.Tensor:
    """Return the annotations of a batch, (N,) or (N, K).

    Args:
        data_samples (list): One ``FrameBatch``, or N data samples.
        target (Target): What to return.
        owner (str): Name of the head, for the message.

    Raises:
        ValueError: If a sample does not have it.
    """
    name = target.ground_truth
    if not all(name in sample for sample in data_samples):
        raise InvalidValueError(
            f'{owner}: got training frames without {name}, expected annotated ones; set '
            "train_dataloader.dataset.task to the head's track, and ann_file to its annotations"
        )
    if isinstance(data_samples[0], FrameBatch):
        return data_samples[0].get(name)
    values = [torch.as_tensor(sample.get(name)) for sample in data_samples]
    return torch.cat(values) if target.is_class else torch.stack(values)


def mask_loss(
    compute: Any, score: torch.Tensor, target: torch.Tensor, kind: Target
) -> tuple[torch.Tensor, bool]:
    """Compute a loss over annotated frames; see :meth:`TrackHead.compute_loss`."""
    target = target.to(score.device)
    known = target != kind.hidden
    if known.ndim > 1:
        known = known.all(dim=1)
    if not known.any():
        return score.sum() * 0.0, False
    return compute(score[known].float(), target[known]), True


def set_samples(
    columns: Mapping[str, torch.Tensor], data_samples: list | None = None
) -> list[DataSample]:
    """Set predictions (N, K) of N data samples, and ``pred_label`` from ``pred_score``."""
    size = len(next(iter(columns.values())))
    samples = [DataSample() for _ in range(size)] if data_samples is None else data_samples
    for row, sample in enumerate(samples):
        for name, values in columns.items():
            sample.set_field(values[row], name, dtype=torch.Tensor)
        if 'pred_score' in columns:
            sample.set_pred_label(columns['pred_score'][row].argmax(dim=0, keepdim=True))
    return samples
