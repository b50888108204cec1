#!/usr/bin/env python
"""Measure how well a network sees which faces are warped.

    python benchmarks/warp_visibility.py trained drawn --faces data/faces_drawn \\
        --held-out data/drawn/cropped_aligned
    python benchmarks/warp_visibility.py order drawn --held-out data/drawn/cropped_aligned \\
        --checkpoints work_dirs/pretraining/drawn/contrawarping_*/pretraining/iter_1500.pth

``trained`` trains the network of benchmarks/pretraining.py on plain and warped first views with
binary cross entropy, and reports the AUC on held-out faces: what single faces reveal of the warp.
``order`` reports, for checkpoints of ContraWarping, the distance of the predictions of plain and
warped views of held-out faces, and how many warped views are further from the other view.
"""

import argparse
import ast
from collections.abc import Iterator

import abaw_mm  # noqa: F401  patches what the import of mmpretrain needs

# isort: split
import torch
from mmengine.config import Config, DictAction
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS, MODELS
from pretraining import CONFIGS, POINTS, PRETRAINING, ROOT
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F

from abaw_mm.checkpoints.load import load_checkpoint_file

BATCH = 64
HELD_OUT = 1000  # faces


def read_config(args: argparse.Namespace) -> Config:
    """Read the config of ContraWarping with the muscle warp."""
    cfg = Config.fromfile(ROOT / CONFIGS / 'res18_contrawarping_mini.py')
    cfg.merge_from_dict(PRETRAINING)
    cfg.data_preprocessor.warp.points = ast.literal_eval(POINTS[args.world])
    cfg.merge_from_dict(args.cfg_options)
    return cfg


def load_faces(cfg: Config, folder: str, limit: int) -> torch.Tensor:
    """Load faces that are evenly spaced in the list of a folder, (N, 3, 112, 112) uint8 BGR."""
    dataset = DATASETS.build(dict(cfg.train_dataloader.dataset, data_root=folder, keep=0))
    number = min(limit, len(dataset))
    return torch.stack([dataset[i * len(dataset) // number]['inputs'] for i in range(number)])


def train(cfg: Config, args: argparse.Namespace) -> Iterator[str]:
    """Train a network to recognise warped faces; report on held-out ones."""
    faces = load_faces(cfg, args.faces, args.limit)
    held_out = load_faces(cfg, args.held_out, HELD_OUT)
    torch.manual_seed(args.seed)
    views = MODELS.build(cfg.data_preprocessor)
    width = cfg.model.neck.in_channels
    network = nn.Sequential(
        MODELS.build(cfg.model.backbone), MODELS.build(dict(type='GlobalAveragePooling'))
    )
    layer = nn.Linear(width, 1)
    parameters = [*network.parameters(), *layer.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=args.steps)
    for step in range(1, args.steps + 1):
        plain, _, warped = views.make_views(faces[torch.randint(len(faces), (BATCH,))].flip(1))
        scores = layer(network(torch.cat([plain, warped]))[-1])[:, 0]
        loss = F.binary_cross_entropy_with_logits(
            scores, torch.arange(2).repeat_interleave(BATCH).float()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % args.interval == 0:
            yield f'{args.world} step {step}: {score(network, layer, views, held_out)}'


@torch.no_grad()
def score(network: nn.Module, layer: nn.Module, views: nn.Module, faces: torch.Tensor) -> str:
    """Report the AUC, and the share of pairs in the right order, with the same views each time."""
    state = torch.get_rng_state()
    torch.manual_seed(1)
    network.eval()
    rows = []
    for part in faces.flip(1).split(BATCH):
        plain, _, warped = views.make_views(part)
        rows.append(torch.stack([layer(network(view)[-1])[:, 0] for view in (plain, warped)]))
    network.train()
    torch.set_rng_state(state)
    plain, warped = torch.cat(rows, 1)
    auc = roc_auc_score([0] * len(plain) + [1] * len(warped), torch.cat([plain, warped]))
    return f'AUC {auc:.3f}, pairs {100 * (warped > plain).float().mean():.1f} %'


@torch.no_grad()
def order(cfg: Config, args: argparse.Namespace) -> Iterator[str]:
    """Report how far the predictions of plain and warped views are apart.

    Also compares the cosines of both with the target's feature of the other view.
    """
    faces = load_faces(cfg, args.held_out, HELD_OUT)
    for path in args.checkpoints:
        torch.manual_seed(1)
        model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
        model.load_state_dict(load_checkpoint_file(path)['state_dict'])
        model.eval()
        rows, apart = [], []
        for part in faces.flip(1).split(BATCH):
            view_1, view_2, warped = model.data_preprocessor.make_views(part)
            target = model.target_net(view_2)[0]
            latents = model.predict_latents([view_1, warped])
            rows.append(torch.stack([F.cosine_similarity(one, target) for one in latents]))
            apart.append((2 - 2 * F.cosine_similarity(*latents)).clamp(min=0).sqrt())
        plain, warped = torch.cat(rows, 1)
        yield (
            f'{path}: distance {torch.cat(apart).mean():.3f}, cosine {plain.mean():.3f}, '
            f'decrease {(plain - warped).mean():.4f}, '
            f'pairs {100 * (warped < plain).float().mean():.1f} %'
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('mode', choices=('trained', 'order'))
    parser.add_argument('world', choices=POINTS, help='drawn or real faces')
    parser.add_argument('--faces', default='data/faces', help='folder of unlabelled faces')
    parser.add_argument('--held-out', required=True, help='folder of other faces')
    parser.add_argument('--checkpoints', nargs='*', default=[], help='checkpoints of ContraWarping')
    parser.add_argument('--limit', type=int, default=20_000, help='number of faces to train on')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={}, help='as usual')
    parser.add_argument('--steps', type=int, default=750)
    parser.add_argument('--interval', type=int, default=150)
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    init_default_scope('mmpretrain')
    MMLogger.get_instance('warp_visibility', log_level='WARNING')
    cfg = read_config(args)
    for line in (train if args.mode == 'trained' else order)(cfg, args):
        print(line, flush=True)


if __name__ == '__main__':
    main()
