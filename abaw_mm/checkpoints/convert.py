"""Convert a checkpoint of another framework into a file with an mmpretrain backbone."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import save_checkpoint
from mmpretrain.registry import MODELS

from abaw_mm.checkpoints.checks.values import check_values
from abaw_mm.checkpoints.import_report import ImportReport
from abaw_mm.checkpoints.load import get_loaded_sha256
from abaw_mm.checkpoints.match import list_resizable, match_backbone, require_complete
from abaw_mm.checkpoints.resnet_depth import DEPTHS, count_blocks
from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.files import open_atomic, sha256
from abaw_mm.version import __version__


@dataclass(frozen=True)
class ConvertedBackbone:
    """Backbone found in a checkpoint.

    Attributes:
        network (str): Name of the network, such as ``'ResNet-18'``.
        report (ImportReport): Which tensors were found.
        state_dict (dict[str, Tensor]): Tensors under mmpretrain's names, with the prefix
            ``backbone.``.
    """

    network: str
    report: ImportReport
    state_dict: dict[str, torch.Tensor]


def infer_resnet_config(found: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return the config of the ResNet whose blocks a flat checkpoint holds.

    Raises:
        ValueError: If the blocks are not those of a ResNet.
    """
    blocks = count_blocks(found)
    if blocks not in DEPTHS:
        raise InvalidValueError(
            f'got {blocks[0]} blocks in four stages, expected those of a ResNet-18, 34, 50, 101 or '
            '152; name the network with --backbone or --config. The first keys are '
            f'{shorten(list(found))}'
        )
    return dict(type='ResNet', depth=DEPTHS[blocks])


def read_backbone_config(path: str) -> dict[str, Any]:
    """Return ``model.backbone`` of a config file.

    Raises:
        ValueError: If the config has none.
    """
    cfg = Config.fromfile(path).get('model', {}).get('backbone')
    if cfg is None:
        raise InvalidValueError(f'--config: {path}: got no model.backbone, expected one')
    return dict(cfg)


def convert_backbone(
    found: Mapping[str, torch.Tensor],
    cfg: Mapping[str, Any],
    source: Path,
    prefix: str | None = None,
    allow_partial: bool = False,
) -> ConvertedBackbone:
    """Find a backbone in a flat checkpoint and rename its tensors.

    Args:
        found (Mapping[str, Tensor]): Checkpoint, see :func:`flatten_checkpoint`.
        cfg (Mapping): Config of the backbone.
        source (Path): File of the checkpoint, for messages.
        prefix (str, optional): Encoder to take, such as ``'encoder_k'``. Defaults to the one that
            the framework's documentation names.
        allow_partial (bool): Accept a part of the backbone. Defaults to False.

    Raises:
        ValueError: If the backbone is not found, or only a part of it unless that is allowed.
    """
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        backbone = MODELS.build(dict(cfg))
    network = f'{cfg["type"]}-{cfg["depth"]}' if 'depth' in cfg else str(cfg['type'])
    report = match_backbone(backbone.state_dict(), found, prefix, list_resizable(backbone))
    require_complete(report, f'{source} -> {network}', found, allow_partial)
    check_values(
        {name: found[key] for name, key in report.sources.items()},
        backbone.state_dict(),
        f'{source} -> {network}',
    )
    # Tensors are copied: a file with a view would hold all of the view's storage.
    state_dict = {
        f'backbone.{name}': found[key].detach().clone(memory_format=torch.contiguous_format)
        for name, key in report.sources.items()
    }
    return ConvertedBackbone(network, report, state_dict)


def write_backbone(converted: ConvertedBackbone, source: Path, out: Path) -> None:
    """Write a backbone as .pth or, if the name says so, as .safetensors.

    Its ``meta`` holds file name and checksum of the source, layout, prefix, number of matched
    tensors, and the version of this package.
    """
    report = converted.report
    meta = dict(
        source=source.name,
        sha256=get_loaded_sha256(source) or sha256(source),
        layout=report.layout,
        prefix=report.prefix,
        matched=f'{report.matched} of {report.required}',
        abaw_mm_version=__version__,
    )
    if out.suffix == '.safetensors':
        with open_atomic(out, 'wb') as file:
            file.write(safetensors.torch.save(converted.state_dict, meta))
    else:
        save_checkpoint(dict(state_dict=converted.state_dict, meta=meta), str(out))
