#!/usr/bin/env python
"""Why does ContraWarping not learn its negative? Can a network tell warped faces from plain ones?

    python benchmarks/contrawarping_negative.py --faces data/faces

Two tables, at the size of ``pretraining.py``; a tenth of the faces is held out, and scored.

Supervised: the backbone and a linear layer learn to tell the views of faces from the same views
after ``RandomLocalWarp``, by binary cross entropy (0.693 is a guess), plain and warped in one
batch. Scored is in how many pairs of a warped picture and another one the warped one has the higher
score, in % (50 is a guess): ``area`` of all such pairs (it is the area under the ROC curve),
``pairs`` of those of the same view. The others are plain, or resampled without local motion:
shifted by up to a pixel, or warped once, widely and smoothly. If only ``plain`` is told apart, it
is by the blur of interpolation and not by the motion.

Pre-trained: ContraWarping itself. ``plain`` is the mean cosine of what is predicted for a view with
the target of the face's other view; the gaps tell by how much it falls where the view is warped,
shifted, smoothly warped, or another person's. The negative asks for a gap of ``margin`` if warped.

``motion`` tells before how far the warps move a face, in pixels at 80 and 112 pixels: the mean over
the middle half of the picture, and the place that moves most, means of 64 fields.

A row is printed every 100 steps; the losses in it are the mean of the last 50. The seconds are of
the CPU, one thread. A batch has 32 faces, with their warped pictures 64, to be affordable.
"""

import argparse
import functools
import json
import random
import time
from collections.abc import Callable, Iterator

import abaw_mm  # noqa: F401  mends what mmpretrain's import needs

# isort: split
import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS
from sklearn.metrics import roc_auc_score
from torch import nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

from abaw_mm.compat.cpu import adapt_cfg_to_cpu
from abaw_mm.models.selfsup import (
    ContraWarping,
    RandomLocalWarp,
)
from abaw_mm.models.selfsup.local_warp import warp_images
from pretraining import PRETRAINING, ROOT, SIDE

FACES = 32  # a batch
RATE = 1e-3  # AdamW's, as in benchmarks/configs
# Nearly all that fits without folding: what a warp may move grows with the radius.
STRONG = dict(strength=0.12, radius=0.3, max_slope=0.65)
SUPERVISED = {  # name: the warp, and whether the views are drawn at random
    'default warp': ({}, True),
    'stronger warp': (STRONG, True),
    'stronger warp, no random views': (STRONG, False),
}
Views = tuple[torch.Tensor, torch.Tensor]  # (N, 3, SIDE, SIDE) uint8 each


class OneBatch(ContraWarping):
    """Plain and warped faces share batch statistics, which keep what all warped faces share."""

    def loss(self, inputs: list[torch.Tensor], data_samples: None) -> dict[str, torch.Tensor]:
        first, second = inputs
        plain, other, warped = self.predict_latent(
            torch.cat([first, second, self.warp(first)])
        ).chunk(3)
        with torch.no_grad():
            self.target_net.update_parameters(nn.Sequential(self.backbone, self.neck))
            targets = self.target_net(first)[0], self.target_net(second)[0]
        return self.head.loss_module((plain, other), targets, warped)


class NegativeAlone(ContraWarping):
    """The negative without the positive term, which wants warps to make no difference."""

    def loss(self, inputs: list[torch.Tensor], data_samples: None) -> dict[str, torch.Tensor]:
        first, second = inputs
        plain, warped = self.predict_latent(torch.cat([first, self.warp(first)])).chunk(2)
        with torch.no_grad():
            self.target_net.update_parameters(nn.Sequential(self.backbone, self.neck))
            target = self.target_net(second)[0]
        losses = self.head.loss_module((plain, plain), (target, target), warped)
        return dict(losses, loss_positive=losses['loss_positive'].detach())


PRETRAINED = {  # name: the model, its warp, its loss
    'ContraWarping': (ContraWarping, {}, {}),
    'ContraWarping, stronger warp': (ContraWarping, STRONG, {}),
    'ContraWarping, stronger warp, weight 16, one batch': (
        OneBatch,
        STRONG,
        dict(negative_weight=16.0),
    ),
    'ContraWarping, stronger warp, weight 64, one batch': (
        OneBatch,
        STRONG,
        dict(negative_weight=64.0),
    ),
    'the negative alone, stronger warp, one batch': (NegativeAlone, STRONG, {}),
}


def settings() -> Config:
    """Of pretraining.py's ContraWarping."""
    cfg = Config.fromfile(ROOT / 'benchmarks/configs/res18_contrawarping_mini.py')
    cfg.merge_from_dict(PRETRAINING)
    return adapt_cfg_to_cpu(cfg, 'none')


def build(
    kind: type = ContraWarping, warp: dict | None = None, loss: dict | None = None
) -> ContraWarping:
    """A model from random weights, always the same."""
    cfg = settings().model
    cfg.pop('type')
    cfg.warp.update(warp or {})
    cfg.head.loss.update(loss or {})
    torch.manual_seed(0)
    model = kind(**cfg)
    model.init_weights()
    return model.to(memory_format=torch.channels_last)


def draw_views(folder: str, at_random: bool, rounds: int) -> tuple[Views, Views]:
    """Views of the faces to train with, several times each, and of those held out."""
    cfg = settings().train_dataloader.dataset
    cfg.data_root = folder
    if not at_random:
        cfg.pipeline[1].transforms = [[dict(type='Resize', scale=(SIDE, SIDE))]]
    faces = DATASETS.build(cfg)
    random.seed(0)
    np.random.seed(0)
    rows = np.random.permutation(len(faces)).tolist()
    held_out, rest = rows[: len(rows) // 10], rows[len(rows) // 10 :]

    def views(rows: list[int]) -> Views:
        return tuple(map(torch.stack, zip(*(faces[row]['inputs'] for row in rows), strict=True)))

    return views(rest * (rounds if at_random else 1)), views(held_out)


def normalise(model: ContraWarping, *images: torch.Tensor) -> list[torch.Tensor]:
    batch = dict(inputs=list(images), data_samples=None)
    return [
        x.contiguous(memory_format=torch.channels_last)
        for x in model.data_preprocessor(batch, training=True)['inputs']
    ]


def batches(number: int, steps: int) -> Iterator[torch.Tensor]:
    """Rows of each step, all of them before any comes again."""
    rng = torch.Generator().manual_seed(0)
    rounds = -(-steps * FACES // number)
    order = torch.cat([torch.randperm(number, generator=rng) for _ in range(rounds)])
    return iter(order[: steps * FACES].split(FACES))


def shift(images: torch.Tensor) -> torch.Tensor:
    """Every face by up to a pixel across and down."""
    field = 2 * torch.rand(len(images), 1, 1, 2) - 1
    return warp_images(images, field.expand(-1, *images.shape[2:], 2))


def others(warp: RandomLocalWarp) -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    """The warp, and what it is compared with."""
    smooth = RandomLocalWarp(num_points=1, radius=1.0, strength=0.06, ellipse=None, fade=1.0)
    return dict(plain=lambda images: images, warped=warp, shifted=shift, smooth=smooth)


def update(optimizer: torch.optim.Optimizer, loss: torch.Tensor, rate: float) -> None:
    for group in optimizer.param_groups:
        group['lr'] = rate
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def measure_statistics(
    net: nn.Module, forward: Callable[[torch.Tensor], object], images: Iterator[torch.Tensor]
) -> None:
    """Batch statistics of the weights as they are now; running ones lag behind at this rate."""
    norms = [module for module in net.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all
    with torch.no_grad():
        for batch in images:
            forward(batch)
    for norm in norms:
        norm.momentum = 0.1


def supervised(name: str, train: Views, held_out: Views, warp: dict, steps: int) -> None:
    """Tell warped views from plain ones; prints a row every 100 steps."""
    model = build(warp=warp)
    net, warp = model.backbone, model.warp
    last = nn.Linear(net.feat_dim, 1)
    optimizer = torch.optim.AdamW([*net.parameters(), *last.parameters()], weight_decay=0.01)

    def pairs(rows: torch.Tensor) -> torch.Tensor:
        (plain,) = normalise(model, train[0][rows])
        return torch.cat([plain, warp(plain)])

    def scores(images: torch.Tensor) -> torch.Tensor:
        return last(net(images)[-1].float().mean((2, 3)))[:, 0].float()

    truth = torch.arange(2).repeat_interleave(FACES).float()
    (faces,) = normalise(model, held_out[0])
    start, losses = time.process_time(), []
    for step, rows in enumerate(batches(len(train[0]), steps), start=1):
        net.train()
        with torch.autocast('cpu', torch.bfloat16):
            loss = F.binary_cross_entropy_with_logits(scores(pairs(rows)), truth)
        update(optimizer, loss, RATE * min(1, step / 20))
        losses.append(loss.item())
        if step % 100 and step != steps:
            continue
        with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
            measure_statistics(net, net, map(pairs, batches(len(train[0]), 12)))
            net.eval()
            torch.manual_seed(step)
            found = {
                kind: torch.cat([scores(change(part)) for part in faces.split(100)])
                for kind, change in others(warp).items()
            }
        row = dict(supervised=name, steps=step, loss=round(np.mean(losses[-50:]), 3))
        for kind in ('plain', 'shifted', 'smooth'):
            both = torch.cat([found[kind], found['warped']])
            area = roc_auc_score(torch.arange(2).repeat_interleave(len(faces)), both)
            row[f'area_{kind}'] = round(100 * area, 1)
        for kind in ('plain', 'shifted', 'smooth'):
            higher = (found['warped'] > found[kind]).float().mean().item()
            row[f'pairs_{kind}'] = round(100 * higher, 1)
        print(json.dumps(dict(row, seconds=round(time.process_time() - start))), flush=True)


@torch.no_grad()
def gaps(model: ContraWarping, first: torch.Tensor, second: torch.Tensor) -> dict[str, float]:
    """The agreement of two views, and how much of it other pictures lack."""
    model.eval()
    torch.manual_seed(0)
    first, second = normalise(model, first, second)
    with torch.autocast('cpu', torch.bfloat16):
        target = torch.cat([model.target_net(part)[0] for part in second.split(100)]).float()
        found = {
            name: torch.cat([model.predict_latent(change(part)) for part in first.split(100)])
            for name, change in others(model.warp).items()
        }
    found['another'] = found['plain'].roll(1, 0)
    cosines = {
        name: F.cosine_similarity(predicted.float(), target).mean().item()
        for name, predicted in found.items()
    }
    plain = cosines.pop('plain')
    return dict(
        plain=round(plain, 3),
        **{f'gap_{name}': round(plain - cosine, 3) for name, cosine in cosines.items()},
    )


def pretrained(
    name: str, train: Views, held_out: Views, kind: type, warp: dict, loss: dict, steps: int
) -> ContraWarping:
    """ContraWarping; prints a row every 100 steps, and returns the model."""
    model = build(kind, warp, loss)
    MessageHub.get_current_instance().update_info('max_iters', steps)  # for the target's momentum
    optimizer = torch.optim.AdamW(
        [weight for weight in model.parameters() if weight.requires_grad], weight_decay=0.01
    )
    number = len(train[0])

    def both(images: torch.Tensor) -> None:
        (plain,) = normalise(model, images)
        model.predict_latent(torch.cat([plain, model.warp(plain)]))
        model.target_net(plain)

    start, losses = time.process_time(), []
    for step, rows in enumerate(batches(number, steps), start=1):
        model.train()
        with torch.autocast('cpu', torch.bfloat16):
            terms = model.loss(normalise(model, *(view[rows] for view in train)), None)
        update(optimizer, sum(terms.values()), RATE * min(1, step / 20))
        losses.append([term.item() for term in terms.values()])
        if step % 100 and step != steps:
            continue
        with torch.autocast('cpu', torch.bfloat16):
            measure_statistics(model, both, (train[0][rows] for rows in batches(number, 12)))
        positive, negative = np.mean(losses[-50:], axis=0)
        row = dict(
            pretrained=name,
            steps=step,
            loss_positive=round(positive, 3),
            loss_negative=round(negative, 3),
            **gaps(model, *held_out),
        )
        print(json.dumps(dict(row, seconds=round(time.process_time() - start))), flush=True)
    return model


def motion() -> None:
    """Print how far the two warps move a face."""
    for name, warp in (('default warp', {}), ('stronger warp', STRONG)):
        for side in (SIDE, 112):
            generator = torch.Generator().manual_seed(0)
            length = RandomLocalWarp(**warp).draw(64, side, side, generator=generator).norm(dim=-1)
            quarter = side // 4
            middle = length[:, quarter : side - quarter, quarter : side - quarter]
            print(
                json.dumps(
                    dict(
                        name=f'motion, {name}',
                        side=side,
                        middle=round(middle.mean().item(), 2),
                        most=round(length.flatten(1).amax(1).mean().item(), 2),
                    )
                ),
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--faces', default='data/faces', help='folder of faces without labels')
    parser.add_argument('--steps', type=int, default=600, help='of each training')
    parser.add_argument('--rounds', type=int, default=3, help='views drawn of each face')
    rows = ['motion', *SUPERVISED, *PRETRAINED]
    parser.add_argument('--rows', nargs='+', choices=rows, default=rows)
    args = parser.parse_args()
    torch.set_num_threads(1)
    MMLogger.get_instance('mmengine', log_level='WARNING')  # every layer's initialisation else
    init_default_scope('mmpretrain')
    views = functools.cache(lambda at_random: draw_views(args.faces, at_random, args.rounds))
    for name in args.rows:
        if name == 'motion':
            motion()
        elif name in SUPERVISED:
            warp, at_random = SUPERVISED[name]
            supervised(name, *views(at_random), warp, args.steps)
        else:
            pretrained(name, *views(True), *PRETRAINED[name], args.steps)


if __name__ == '__main__':
    main()
