"""Get the model of a Runner without the wrapper of distributed training."""

from typing import Any

from mmengine.model import is_model_wrapper
from torch import nn


def unwrap_model(model: nn.Module) -> Any:
    """Return the model inside a wrapper such as DDP, or the model itself if it has none.

    >>> model = nn.Linear(1, 1)
    >>> unwrap_model(model) is model
    True
    """
    return model.module if is_model_wrapper(model) else model
