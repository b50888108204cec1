"""A small network of one of our configs, with random weights."""

import os
from pathlib import Path

import torch
from mmpretrain.registry import MODELS

from abaw_mm import compat
from abaw_mm.apis.config import load_config

SMALL = (
    'model = dict(backbone=dict(base_channels=8, stem_channels=8, num_stages=3, strides=(1, 2, 2), '
    'dilations=(1, 1, 1), out_indices=(2, )), neck=dict(in_channels=32, hidden_channels=6), '
    'head=dict(in_channels=216))\n'
)


def write_small_model(
    repo: Path, data_root: Path, folder: Path, base: str, small: str = SMALL
) -> tuple[str, str]:
    """Write a config with a small network, and a checkpoint that fits it."""
    path = folder / 'small.py'
    path.write_text(
        f"_base_ = ['{os.path.relpath(repo / f'configs/{base}.py', folder)}']\n"
        f'test_dataloader = dict(num_workers=0, persistent_workers=False, '
        f'dataset=dict(data_root={str(data_root)!r}))\n{small}'
    )
    torch.manual_seed(0)
    cfg = compat.adapt_cfg_to_cpu(load_config(str(path)), 'none')
    model = MODELS.build(cfg.model)
    for layer in model.head.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight)  # scores that differ
    torch.save(dict(state_dict=model.state_dict(), meta={}), folder / 'small.pth')
    return str(path), str(folder / 'small.pth')
