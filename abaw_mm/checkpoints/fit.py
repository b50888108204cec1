"""Compare a checkpoint with the model that it is to fill."""

import re

import torch
from torch import nn

from abaw_mm.checkpoints.layouts import classifier_names
from abaw_mm.checkpoints.match import ImportReport, compare, flatten, match, tell_depths
from abaw_mm.errors import MAX_LISTED


def check_fit(
    model: nn.Module, checkpoint: dict, name: str, finetuning: bool = False
) -> tuple[str, bool]:
    """Compare a checkpoint with the model that it is to fill.

    Args:
        model (nn.Module): Of a config.
        checkpoint (dict): What was read; a classifier of the released code gets our names.
        name (str): Its path, for messages.
        finetuning (bool): Whether a training starts from it, so that the backbone alone must fit.

    Returns:
        tuple: What to log, a table of what was found included; and whether every tensor was.

    Raises:
        ValueError: If it does not fit, with the first names and shapes.
    """
    state_dict = checkpoint.get('state_dict', checkpoint)
    found = {
        re.sub(r'^module\.', '', key): value
        for key, value in state_dict.items()
        if isinstance(value, torch.Tensor)
    }
    ours = classifier_names(model.state_dict(), found)
    if ours:
        found = {ours.get(key, key): value for key, value in found.items()}
        checkpoint['state_dict'] = found  # which mmengine takes before anything beside it
    report = compare(model.state_dict(), found)
    table = f'{name or "checkpoint"} -> {type(model).__name__}\n{report.table()}'
    wrong = [
        f'{name} (got {report.mismatched[name][0] if name in report.mismatched else "nothing"}'
        f', expected {tuple(tensor.shape)})'
        for name, tensor in model.state_dict().items()
        if name in report.mismatched or name in report.missing
    ]
    if not wrong:
        return table, True
    listed = ', '.join(wrong[:MAX_LISTED]) + (
        f' and {len(wrong) - MAX_LISTED} more' if len(wrong) > MAX_LISTED else ''
    )
    in_backbone = [
        name for name in (*report.missing, *report.mismatched) if name.startswith('backbone.')
    ]
    if finetuning and not in_backbone:
        line = f'load_from: {len(wrong)} tensors do not fit and begin anew: {listed}\n{table}'
        return line, False
    depths = tell_depths(model.state_dict(), found)
    if depths:
        advice = f'; {depths}'
    elif not finetuning and _is_backbone_alone(model, report, checkpoint):
        raise ValueError(
            f'The checkpoint {name} holds a backbone alone, without the '
            'neck and head that a test or --resume needs; give the checkpoint of a training '
            '(work_dirs/.../best_*.pth to test). A backbone is what a training starts from: '
            '`--cfg-options checkpoint=...` of tools/train.py'
        )
    else:
        advice = ''
    if finetuning:
        advice += (
            '; weights of a self-supervised backbone belong into `checkpoint`, not into load_from'
        )
        if hasattr(model, 'backbone'):
            own = match(model.backbone.state_dict(), flatten(checkpoint))
            table += f'\nAs `checkpoint`, for the backbone alone, it has\n{own.table()}'
    raise ValueError(
        f'The checkpoint {name} does not fit the model: {len(wrong)} '
        f'tensors differ: {listed}. Give the config that the checkpoint was trained with'
        f'{advice}\n{table}'
    )


def _is_backbone_alone(model: nn.Module, report: ImportReport, checkpoint: dict) -> bool:
    """Whether a checkpoint fills the backbone wholly, by whatever names, and nothing else."""
    if not hasattr(model, 'backbone') or any(
        not name.startswith('backbone.') for name in (*report.sources, *report.mismatched)
    ):
        return False
    own = match(model.backbone.state_dict(), flatten(checkpoint))
    return own.matched == own.required
