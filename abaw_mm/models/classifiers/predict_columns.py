"""What a head predicts, as columns of a batch of frames."""

from typing import Any

import torch


def predict_columns(head: Any, feats: Any) -> dict[str, torch.Tensor]:
    """Return the predictions of all frames: name of the column to (N, K).

    Args:
        head (nn.Module): A head with a method ``predict_columns``, or a classification head of
            mmpretrain, whose softmax is ``pred_score``.
        feats: Features, as the head takes them.
    """
    if hasattr(head, 'predict_columns'):
        return head.predict_columns(feats)
    return dict(pred_score=head(feats).softmax(dim=1))
