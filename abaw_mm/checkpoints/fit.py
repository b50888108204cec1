"""Compare a checkpoint with a whole model before the model is filled."""

from typing import Any

from torch import nn

from abaw_mm.checkpoints.checks.values import check_values
from abaw_mm.checkpoints.import_report import ImportReport
from abaw_mm.checkpoints.layouts import map_classifier_names
from abaw_mm.checkpoints.load import unwrap_state_dict
from abaw_mm.checkpoints.match import (
    compare_tensors,
    flatten_checkpoint,
    list_resizable,
    match_backbone,
)
from abaw_mm.checkpoints.resnet_depth import explain_depth_mismatch
from abaw_mm.errors import InvalidValueError, join_first


def check_fit(
    model: nn.Module, checkpoint: dict, name: str, finetuning: bool = False
) -> tuple[str, bool]:
    """Check that a checkpoint fits a model.

    Args:
        model (nn.Module): The model of a config.
        checkpoint (dict): The loaded checkpoint. The names of a released classifier are translated
            to ours, in place.
        name (str): Path of the checkpoint, for messages.
        finetuning (bool): Whether the checkpoint is the start of a training, so that only the
            backbone must fit. Defaults to False.

    Returns:
        tuple: A text for the log with the table of matched tensors, and whether all tensors match.

    Raises:
        InvalidValueError: If a tensor that must fit is missing or has another shape, or has values
            that no trained network has.
    """
    wanted = model.state_dict()
    found = unwrap_state_dict(checkpoint)
    translated = map_classifier_names(wanted, found)
    if translated:
        found = {translated.get(key, key): value for key, value in found.items()}
        checkpoint['state_dict'] = found  # mmengine prefers it to the tensors at the top level
    # mmpretrain resizes position embeddings, which is right for another image size in a training.
    resizable = list_resizable(model) if finetuning else {}
    report = compare_tensors(wanted, found, resizable=resizable)
    table = f'{name or "checkpoint"} -> {type(model).__name__}\n{report.table()}'
    problems = _list_problems(report, wanted)
    check_values(
        {own: found[key] for own, key in report.sources.items()}, wanted, name or 'checkpoint'
    )
    if not problems:
        return table, True
    listed = join_first(problems)
    if finetuning and not _has_backbone_problem(report):
        return (
            f'load_from: {len(problems)} tensors do not fit and keep their initial values: '
            f'{listed}\n{table}'
        ), False

    depths = explain_depth_mismatch(wanted, found)
    if not depths and not finetuning and _is_backbone_alone(model, report, checkpoint):
        raise InvalidValueError(
            f'{name}: got a checkpoint of a backbone alone, expected a whole model with neck and '
            'head, which a test or --resume needs; use the checkpoint of a training '
            '(work_dirs/.../best_*.pth for a test), or start a training from the backbone with '
            '`tools/train.py ... --cfg-options checkpoint=...`'
        )
    advice = [depths] if depths else []
    if finetuning:
        advice.append('weights of a self-supervised backbone belong in `checkpoint`, not load_from')
        table += _describe_backbone(model, checkpoint)
    raise InvalidValueError(
        f'The checkpoint {name} does not fit the model: {len(problems)} tensors differ: {listed}. '
        f'{"; ".join(["Use the config that the checkpoint was trained with", *advice])}\n{table}'
    )


def _list_problems(report: ImportReport, wanted: dict[str, Any]) -> list[str]:
    """List the tensors that do not fit, in the order of the model."""
    problems = []
    for name, tensor in wanted.items():
        if name in report.mismatched or name in report.missing:
            got = report.mismatched[name][0] if name in report.mismatched else 'nothing'
            problems.append(f'{name} (got {got}, expected {tuple(tensor.shape)})')
    return problems


def _has_backbone_problem(report: ImportReport) -> bool:
    return any(name.startswith('backbone.') for name in (*report.missing, *report.mismatched))


def _is_backbone_alone(model: nn.Module, report: ImportReport, checkpoint: dict) -> bool:
    """Return whether a checkpoint has a whole backbone, under any names, and nothing else."""
    if any(not name.startswith('backbone.') for name in (*report.sources, *report.mismatched)):
        return False
    backbone = _match_backbone(model, checkpoint)
    return backbone is not None and backbone.matched == backbone.required


def _describe_backbone(model: nn.Module, checkpoint: dict) -> str:
    """Return the table of what ``checkpoint`` would load from the same file."""
    report = _match_backbone(model, checkpoint)
    return f'\nAs `checkpoint`, for the backbone alone, it has\n{report.table()}' if report else ''


def _match_backbone(model: Any, checkpoint: dict) -> ImportReport | None:
    """Match the backbone of a model, None if it has no backbone."""
    if not hasattr(model, 'backbone'):
        return None
    backbone = model.backbone
    return match_backbone(
        backbone.state_dict(), flatten_checkpoint(checkpoint), resizable=list_resizable(backbone)
    )
