"""Refuse tensors that no trained network can have."""

from collections.abc import Mapping

import torch

from abaw_mm.errors import InvalidValueError, join_first


def check_values(
    values: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], what: str
) -> None:
    """Check the values of tensors before a module is filled with them.

    Args:
        values: Tensors of a checkpoint under the names of the module.
        wanted: State dict of the module.
        what: File and module for the message, such as ``'ssl.pth -> ResNet'``.

    Raises:
        InvalidValueError: If a tensor has another kind of numbers than the module's, numbers that
            are not finite, a negative variance, or a weight of several dimensions is all zero.
    """
    problems = {name: _find_problem(name, value, wanted[name]) for name, value in values.items()}
    broken = [f'{name} ({problem})' for name, problem in problems.items() if problem]
    if broken:
        raise InvalidValueError(
            f'{what}: got {len(broken)} tensors that no trained network has: '
            f'{join_first(broken)}; the training that wrote the file diverged, or the file was '
            'changed: use another checkpoint'
        )


def _find_problem(name: str, value: torch.Tensor, wanted: torch.Tensor) -> str | None:
    """Return why a tensor cannot fill one of a module, None if it can."""
    if value.layout != torch.strided or value.is_meta:
        return 'not a plain tensor'
    if not wanted.is_floating_point():
        return None  # a counter
    if not value.is_floating_point():
        return f'{value.dtype} instead of floating-point numbers'.replace('torch.', '')
    value = value.detach().to(wanted.dtype)
    if not value.isfinite().all():
        return 'NaN' if value.isnan().any() else 'infinite'
    is_variance = name.endswith('running_var')
    if is_variance and value.numel() and value.min() < 0:
        return 'negative'
    is_weight = name.endswith('weight') and value.dim() > 1  # weights of norms may start as zero
    if (is_variance or is_weight) and value.numel() and not value.any():
        return 'all zero'
    return None
