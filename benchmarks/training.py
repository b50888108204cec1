#!/usr/bin/env python
"""Training and scoring: ours against stock mmpretrain, in one run.

    python benchmarks/training.py [--quick] [--json rows.json] [--profile operators.txt]

The paper's network, three stages frozen, at 224x224 pixels, by three Runners: stock mmpretrain in
float32, stock mmpretrain with its mixed precision (``*_amp``; on the CPU bfloat16, which its own
wrapper refuses), and ours as ``configs/res18_srp_affwild2.py`` has it. Stock reads through its own
``CustomDataset`` and pipeline; Spatial Reserve Pooling is the only part of ours in it. Two thousand
112x112 JPEGs are drawn. The three take turns, and of each its fastest round counts: on a machine
that others use, too, all else adds time.

With CUDA: batches of 128, events around the steps; else batches of 32 on all cores. A ratio above 1
means that ours is better. ``--quick`` takes fewer rounds, in under 5 minutes on two cores.
"""

import argparse
import logging
import multiprocessing as mp
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
import torch.distributed as dist
from data import (
    CROPS,
    STOCK_PIPELINE,
    TRAIN_SET,
    decoding,
    fresh,
    highest_resident,
    make_crops,
    report,
    resident,
)
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from abaw_mm import compat
from abaw_mm.compat.cpu import amp_dtype
from abaw_mm.datasets.annotations import EXPRESSIONS
from abaw_mm.datasets.samplers.keyed_random import random_keys

CONFIGS = Path(__file__).parents[1] / 'configs'
NETS = {'r18': 'res18_srp_affwild2', 'r50': 'res50_srp_affwild2'}
SIDES = ('stock', 'stock_amp', 'ours')
OURS = ('ours', 'compiled')  # the second with model.compile
ROWS = {  # name: what it is, the unit; *_amp is against stock with its mixed precision
    **{
        f'{what}_{net}{amp}': (text, unit)
        for what, text, unit in (
            ('step', 'a training step on a batch in memory', 'frames/s'),
            ('end_to_end', "the Runner's training, from JPEGs", 'frames/s'),
            ('eval', "the Runner's test, from JPEGs to the score", 'frames/s'),
            ('memory', 'peak memory of a training step (not with --quick)', 'MB'),
            ('minutes', "the paper's 8000 steps of 128, by end_to_end", 'min'),
        )
        for net in NETS
        for amp in ('', '_amp')
    },
    **{
        f'compile_{net}': (
            'step without (stock) and with model.compile (not with --quick)',
            'frames/s',
        )
        for net in NETS
    },
    **{f'limit_{net}': ('what the matrix rate allows (stock), step', 'frames/s') for net in NETS},
    'exchange_r18': ('what DDP adds to a step of 2 processes: fast.py, one bucket (ours)', '%'),
    'exchange_static_r18': ('the same: one bucket without (stock) and with static_graph', '%'),
    'decode_limit': ('decoding alone on one core (stock), end_to_end_r18', 'frames/s'),
}
CUDA = torch.cuda.is_available()
DEVICE = torch.device('cuda' if CUDA else 'cpu')
BATCH = 128 if CUDA else 32
STEPS = dict(train=300, eval=120) if CUDA else dict(train=6, eval=6)  # of a round
PAPER_FRAMES = 8000 * 128

STOCK_PIPELINES = dict(
    train=STOCK_PIPELINE,
    test=[
        dict(type='LoadImageFromFile'),
        dict(type='ResizeEdge', scale=256, edge='short'),
        dict(type='CenterCrop', crop_size=224),
        dict(type='PackInputs'),
    ],
)


def config(net: str, side: str, root: Path, iters: int = 10**9) -> Config:
    """A config of ours, or the same in stock parts."""
    cfg = Config.fromfile(CONFIGS / f'{NETS[net]}{"" if side in OURS else "_plain"}.py')
    for split in ('train', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=BATCH, num_workers=min(8, os.cpu_count()), pin_memory=CUDA)
        if side in OURS:
            loader.dataset.update(data_root=str(root), ann_file=TRAIN_SET)
        else:
            loader.dataset = dict(
                type='CustomDataset',
                data_root=str(root),
                ann_file='list.txt',
                data_prefix=CROPS,
                classes=EXPRESSIONS,
                pipeline=STOCK_PIPELINES[split],
            )
    if side in OURS:
        cfg.train_dataloader.sampler.stride = 1
        cfg.model.compile = side == 'compiled'
    else:
        cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
        cfg.test_evaluator = dict(type='SingleLabelMetric', num_classes=8)
        names = ('timer', 'logger', 'param_scheduler', 'sampler_seed')
        cfg.default_hooks = {name: cfg.default_hooks[name] for name in names}
    if side == 'stock_amp':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.test_cfg.fp16 = True
    cfg.default_hooks.checkpoint = None
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.train_cfg = dict(by_epoch=False, max_iters=iters)
    cfg.update(work_dir=str(root / 'work'), log_level='ERROR', experiment_name=str(time.time_ns()))
    cfg.visualizer.vis_backends = []
    return compat.adapt_cfg_to_cpu(cfg, 'none')


def synchronize() -> None:
    if CUDA:
        torch.cuda.synchronize()


def seconds_of(action: Callable[[], object], times: int) -> float:
    """Of a call, by CUDA's events where there is CUDA."""
    synchronize()
    if not CUDA:
        start = time.perf_counter()
        for _ in range(times):
            action()
        return (time.perf_counter() - start) / times
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        action()
    end.record()
    synchronize()
    return start.elapsed_time(end) / 1000 / times


# ---------------------------------------------------------------------------------------- steps


def stepper(
    net: str, side: str, root: Path
) -> tuple[Callable[[], object], Runner, OptimWrapper, dict]:
    """A training step on one batch that is there, and what it is made of."""
    cfg = config(net, side, root)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    runner.model.train()
    optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    batch = next(iter(runner.build_dataloader(runner._train_dataloader)))
    if side in OURS:
        batch['key'] = random_keys(0, 0, range(BATCH))
    step = partial(runner.model.train_step, batch, optim_wrapper)
    return step, runner, optim_wrapper, batch


def steps(net: str, root: Path, rounds: int, sides: Sequence[str]) -> dict[str, float]:
    """Frames/s of each side."""
    actions = {side: stepper(net, side, root)[0] for side in sides}
    warm_up, times = (10, 20) if CUDA else (2, 1)
    for action in actions.values():
        seconds_of(action, warm_up)
    taken = {side: [] for side in sides}
    for _ in range(rounds):
        for side, action in actions.items():
            taken[side].append(seconds_of(action, times))
    return {side: BATCH / min(values) for side, values in taken.items()}


def memory(net: str, side: str, root: Path) -> float:
    """MB at the highest of three steps; on the CPU the growth of the resident set."""
    before = resident()
    action, *_ = stepper(net, side, root)
    seconds_of(action, 3)
    return torch.cuda.max_memory_allocated() / 1e6 if CUDA else highest_resident() - before


def flops(net: str, root: Path) -> float:
    """Of a frame in a training step, multiplications and additions counted apart."""
    action, *_ = stepper(net, 'ours', root)
    with FlopCounterMode(display=False) as counter:
        action()
    return counter.get_total_flops() / BATCH


def matrix_rate() -> float:
    """FLOP/s of a large product in the type that ours trains in."""
    size = 8192 if CUDA else 2048
    a, b = (torch.randn(size, size, device=DEVICE, dtype=amp_dtype(DEVICE)) for _ in range(2))
    seconds_of(lambda: a @ b, 3)
    return 2 * size**3 / min(seconds_of(lambda: a @ b, 5) for _ in range(50))


def profiled(net: str, root: Path) -> str:
    """Where the time of our step goes: the operators that take most of it."""
    action, *_ = stepper(net, 'ours', root)
    seconds_of(action, 2)
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * CUDA
    with profile(activities=kinds) as profiler:
        seconds_of(action, 3)
    order = f'self_{"cuda" if CUDA else "cpu"}_time_total'
    return profiler.key_averages().table(sort_by=order, row_limit=12, max_name_column_width=40)


# ---------------------------------------------------------------------------------------- loops


class Clock(Hook):
    """Frames/s of a loop, without its first steps."""

    priority = 'VERY_LOW'

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up
        self.speed = 0.0

    def _after(self, step: int) -> None:
        if step + 1 == self.warm_up:
            synchronize()
            self.step, self.start = step, time.perf_counter()

    def _end(self, step: int) -> None:
        synchronize()
        self.speed = (step - self.step) * BATCH / (time.perf_counter() - self.start)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._after(batch_idx)

    def after_train(self, runner) -> None:
        self._end(runner.iter - 1)

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._after(batch_idx)
        self.last = batch_idx

    def after_test_epoch(self, runner, metrics=None) -> None:
        self._end(self.last)  # with the metric


def warm_up_of(number: int) -> int:
    return max(2, number // 5)


def loop(net: str, side: str, root: Path, what: str, number: int) -> float:
    """Frames/s of the Runner's own loop over ``number`` batches."""
    warm_up = warm_up_of(number)
    runner = Runner.from_cfg(config(net, side, root, number + warm_up))
    clock = Clock(warm_up)
    runner.register_hook(clock)
    runner.test() if what == 'eval' else runner.train()
    return clock.speed


def loops(net: str, root: Path, what: str, number: int, rounds: int) -> dict[str, float]:
    """Frames/s of the three sides."""
    speed = {side: [] for side in SIDES}
    for _ in range(rounds):
        for side in SIDES:
            speed[side].append(loop(net, side, root, what, number))
    return {side: max(values) for side, values in speed.items()}


# --------------------------------------------------------------------------------- two processes


def exchange(root: Path, rounds: int) -> dict[str, float]:
    """What DDP adds to a step of two processes, in % of the step without."""
    context = mp.get_context('spawn')
    queue = context.Queue()
    processes = [
        context.Process(target=_exchange, args=(root, rounds, rank, queue)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    taken = queue.get()
    for process in processes:
        process.join()
    return {name: 100 * (value / taken['alone'] - 1) for name, value in taken.items()}


def _exchange(root: Path, rounds: int, rank: int, queue: mp.Queue) -> None:
    logging.disable(logging.INFO)
    if CUDA:
        torch.cuda.set_device(rank)
    torch.set_num_threads(max(1, os.cpu_count() // 2))
    sides = {name: stepper('r18', 'ours', root) for name in ('alone', 'fast', 'one', 'static')}
    dist.init_process_group(  # now, so that the Runners have not wrapped their models
        'nccl' if CUDA else 'gloo', init_method=f'file://{root}/meet', rank=rank, world_size=2
    )
    fast = dict(config('r18', 'ours', root).model_wrapper_cfg)
    fast.pop('type')
    one = dict(bucket_cap_mb=100, gradient_as_bucket_view=True)
    actions = dict(alone=sides['alone'][0])
    for name, settings in (
        ('fast', fast),
        ('one', fast | one),
        ('static', fast | one | dict(static_graph=True)),
    ):
        _, runner, optim_wrapper, batch = sides[name]
        settings['device_ids'] = [rank] if CUDA else None
        model = MMDistributedDataParallel(runner.model, **settings)
        actions[name] = partial(model.train_step, batch, optim_wrapper)
    taken = {name: [] for name in actions}
    for turn in range(rounds + 1):
        for name, action in actions.items():
            dist.barrier()
            taken[name] += [seconds_of(action, 10 if CUDA else 2)] if turn else []
    if rank == 0:
        queue.put({name: min(values) for name, values in taken.items()})
    dist.barrier()
    dist.destroy_process_group()


# ---------------------------------------------------------------------------------------- rows


def measure(quick: bool) -> Iterator[tuple[str, float, float]]:
    """Name, stock and ours of each row."""
    rounds = 1 if quick else 3
    number = {what: steps // (2 if quick else 1) for what, steps in STEPS.items()}
    with tempfile.TemporaryDirectory() as folder:
        train, test = Path(folder, 'train'), Path(folder, 'test')
        make_crops(train)
        make_crops(test, number['eval'] + warm_up_of(number['eval']), BATCH)  # a clip a batch

        def pairs(name: str, figures: dict[str, float]) -> Iterator[tuple[str, float, float]]:
            yield name, figures['stock'], figures['ours']
            yield f'{name}_amp', figures['stock_amp'], figures['ours']

        rate, first = fresh(matrix_rate), None
        for net in NETS:
            step = fresh(steps, net, train, 4 * rounds, SIDES if quick else (*SIDES, 'compiled'))
            yield from pairs(f'step_{net}', step)
            if not quick:
                yield f'compile_{net}', step['ours'], step['compiled']
            yield f'limit_{net}', rate / fresh(flops, net, train), step['ours']
            speed = fresh(loops, net, train, 'train', number['train'], rounds)
            yield from pairs(f'end_to_end_{net}', speed)
            yield from pairs(
                f'minutes_{net}', {side: PAPER_FRAMES / value / 60 for side, value in speed.items()}
            )
            first = first or speed['ours']
            yield from pairs(f'eval_{net}', fresh(loops, net, test, 'eval', number['eval'], rounds))
            if not quick:
                yield from pairs(
                    f'memory_{net}', {side: fresh(memory, net, side, train) for side in SIDES}
                )
        if not quick and (not CUDA or torch.cuda.device_count() > 1):
            added = exchange(train, 2 * rounds)
            yield 'exchange_r18', added['fast'], added['one']
            yield 'exchange_static_r18', added['one'], added['static']
        yield 'decode_limit', fresh(decoding, train, 'opencv'), first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--quick', action='store_true', help='under 5 minutes on two cores')
    parser.add_argument('--json', type=Path, help='write the rows to this file')
    parser.add_argument(
        '--profile', type=Path, help='only write where the time of our steps goes to this file'
    )
    args = parser.parse_args()
    if args.profile:
        with tempfile.TemporaryDirectory() as folder:
            make_crops(Path(folder))
            args.profile.write_text(
                '\n'.join(
                    f'{net}, batch of {BATCH}\n{fresh(profiled, net, Path(folder))}' for net in NETS
                )
            )
        return
    device = torch.cuda.get_device_name() if CUDA else 'no GPU'
    report(f'batches of {BATCH} frames; {device}', ROWS, measure(args.quick), args.json)


if __name__ == '__main__':
    main()
