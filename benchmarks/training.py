#!/usr/bin/env python
"""Speed and memory of training and testing, compared with stock mmpretrain.

    python benchmarks/training.py [--quick] [--nets r18] [--kinds step] [--json rows.json]
    python benchmarks/training.py --profile operators.txt

The paper's network with three frozen stages at 224x224 pixels runs in three ways: stock mmpretrain
in float32, stock mmpretrain in mixed precision (``*_amp``; on the CPU with bfloat16, which its own
wrapper refuses), and ``configs/res18_srp_affwild2.py``. Stock mmpretrain uses its own
``CustomDataset`` and pipeline; its only part of ours is Spatial Reserve Pooling. The data are two
thousand drawn 112x112 JPEGs. The ways alternate, and the fastest round of each counts, because
other processes can only add time. Further rows compare ours with and without one setting.

With CUDA, batches have 128 frames and steps are timed with events; otherwise batches have 32 frames
and use all cores. A ratio above 1 means that ours, or the setting, is better. ``ROWS`` describes
the rows. ``--quick`` runs fewer rounds and omits some rows. ``--nets`` and ``--kinds`` choose rows.
"""

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
from common import (
    CROPS,
    STOCK_PIPELINE,
    TRAIN_SET,
    make_crops,
    make_parser,
    measure_peak_rss,
    measure_rss,
    report,
    run_in_fresh_process,
    time_opencv,
)
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import MMDistributedDataParallel
from mmengine.runner import Runner
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from abaw_mm import compat
from abaw_mm.compat.cpu import amp_dtype
from abaw_mm.datasets.samplers.keyed_random import random_keys
from abaw_mm.models.efficient_conv_bn import enable_efficient_conv_bn_eval
from abaw_mm.structures.tasks import EXPRESSIONS

CONFIGS = Path(__file__).parents[1] / 'configs'
NETS = {'r18': 'res18_srp_affwild2', 'r50': 'res50_srp_affwild2'}
KINDS = ('step', 'end_to_end', 'eval', 'memory', 'ddp')
STOCK = ('stock', 'stock_amp')
SIDES = (*STOCK, 'ours', 'unfused')  # 'unfused': ours without efficient_conv_bn_eval
ROWS = {  # name: description, unit; *_amp compares with stock in mixed precision
    **{
        f'{what}_{net}{amp}': (text, unit)
        for what, text, unit in (
            ('step', 'a training step on a batch in memory', 'frames/s'),
            ('end_to_end', "the Runner's training, from JPEGs", 'frames/s'),
            ('eval', "the Runner's test, from JPEGs to the score", 'frames/s'),
            ('memory', 'peak memory of a training step (on the CPU not with --quick)', 'MB'),
            ('minutes', "the paper's 8000 steps of 128, by end_to_end", 'min'),
        )
        for net in NETS
        for amp in ('', '_amp')
    },
    **{
        f'{what}_{net}': (text, 'frames/s')
        for what, text in (
            ('fuse_step', 'our step without (stock) and with efficient_conv_bn_eval (ours)'),
            ('fuse_eval', 'our eval without (stock) and with efficient_conv_bn_eval (ours)'),
            ('compile', 'our step without (stock) and with compile (ours; not with --quick)'),
            ('limit', 'what the matrix rate allows (stock), step (ours)'),
        )
        for net in NETS
    },
    'ddp_r18': (
        'our step in 2 processes without (stock) and with DDP (ours; not with --quick)',
        'frames/s',
    ),
    'decode_limit': ('decoding alone on one core (stock), end_to_end_r18 (ours)', 'frames/s'),
}
CUDA = torch.cuda.is_available()
DEVICE = torch.device('cuda' if CUDA else 'cpu')
BATCH = 128 if CUDA else 32
STEPS = dict(train=300, eval=120) if CUDA else dict(train=6, eval=6)  # per round
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

# -------------------------------------------------------------------------------------- configs


def make_config(net: str, side: str, root: Path, iters: int = 10**9) -> Config:
    """Make our config of a network, or the same with parts of stock mmpretrain.

    Args:
        net: Key of ``NETS``.
        side: One of ``SIDES``, or ``'compiled'`` for ours with ``compile``.
        root: Folder of the crops.
        iters: Number of training iterations.
    """
    is_stock = side in STOCK
    cfg = Config.fromfile(CONFIGS / f'{NETS[net]}{"_plain" if is_stock else ""}.py')
    for split in ('train', 'test'):
        loader = cfg[f'{split}_dataloader']
        loader.update(batch_size=BATCH, num_workers=min(16, os.cpu_count()), pin_memory=CUDA)
        if is_stock:
            loader.dataset = dict(
                type='CustomDataset',
                data_root=str(root),
                ann_file='list.txt',
                data_prefix=CROPS,
                classes=EXPRESSIONS,
                pipeline=STOCK_PIPELINES[split],
            )
        else:
            loader.dataset.update(data_root=str(root), ann_file=TRAIN_SET)
    if is_stock:
        cfg.train_dataloader.sampler = dict(type='InfiniteSampler', shuffle=True)
        cfg.test_evaluator = dict(type='SingleLabelMetric', num_classes=8)
        names = ('timer', 'logger', 'param_scheduler', 'sampler_seed')
        cfg.default_hooks = {name: cfg.default_hooks[name] for name in names}
    else:
        cfg.train_dataloader.sampler.stride = 1
    if is_stock or side == 'unfused':
        cfg.efficient_conv_bn_eval = None
    if side == 'stock_amp':
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.test_cfg.fp16 = True
    cfg.compile = side == 'compiled'
    cfg.default_hooks.checkpoint = None
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.train_cfg = dict(by_epoch=False, max_iters=iters)
    cfg.update(work_dir=str(root / 'work'), log_level='ERROR', experiment_name=str(time.time_ns()))
    cfg.visualizer.vis_backends = []
    return compat.adapt_cfg_to_cpu(cfg, 'none')


def build_runner(cfg: Config) -> Runner:
    """Build a Runner as the project's own commands do."""
    runner = Runner.from_cfg(cfg)
    enable_efficient_conv_bn_eval(runner.model, runner.cfg)
    return runner


def synchronize() -> None:
    if CUDA:
        torch.cuda.synchronize()


def time_calls(action: Callable[[], object], times: int) -> float:
    """Return the seconds per call, measured with CUDA events where there is CUDA."""
    synchronize()
    if not CUDA:
        start = time.perf_counter()
        for _ in range(times):
            action()
        return (time.perf_counter() - start) / times
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(times):
        action()
    end.record()
    synchronize()
    return begin.elapsed_time(end) / 1000 / times


# ---------------------------------------------------------------------------------------- steps


def make_step(net: str, side: str, root: Path, with_ddp: bool = False) -> Callable[[], object]:
    """Return a function that runs a training step on one batch in memory."""
    cfg = make_config(net, side, root)
    cfg.train_dataloader.update(num_workers=0, persistent_workers=False)
    runner = build_runner(cfg)
    runner.model.init_weights()
    runner.model.train()
    optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    batch = next(iter(runner.build_dataloader(runner._train_dataloader)))
    if side not in STOCK:
        batch['key'] = random_keys(0, 0, range(BATCH))
    runner._maybe_compile('train_step')
    model = runner.model
    if with_ddp:
        device_ids = [torch.cuda.current_device()] if CUDA else None
        model = MMDistributedDataParallel(model, device_ids=device_ids, broadcast_buffers=False)
    return partial(model.train_step, batch, optim_wrapper)


def measure_steps(net: str, root: Path, rounds: int, sides: Sequence[str]) -> dict[str, float]:
    """Return the frames/s of each side, whose steps alternate."""
    actions = {side: make_step(net, side, root) for side in sides}
    warm_up, times = (10, 20) if CUDA else (2, 1)
    for action in actions.values():
        time_calls(action, warm_up)
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side, action in actions.items():
            seconds[side].append(time_calls(action, times))
    return {side: BATCH / min(values) for side, values in seconds.items()}


def measure_memory(net: str, side: str, root: Path) -> float:
    """Return the peak memory of three steps in MB; on the CPU growth of the resident set."""
    before = measure_rss()
    time_calls(make_step(net, side, root), 3)
    return torch.cuda.max_memory_allocated() / 1e6 if CUDA else measure_peak_rss() - before


def count_flops(net: str, root: Path) -> float:
    """Return the FLOPs per frame of our training step; additions and multiplications count."""
    step = make_step(net, 'ours', root)
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / BATCH


def measure_matrix_rate() -> float:
    """Return the FLOP/s of a large matrix product in the type of our training."""
    size = 8192 if CUDA else 2048
    a, b = (torch.randn(size, size, device=DEVICE, dtype=amp_dtype(DEVICE)) for _ in range(2))
    time_calls(lambda: a @ b, 3)
    return 2 * size**3 / min(time_calls(lambda: a @ b, 5) for _ in range(50))


def profile_step(net: str, root: Path) -> str:
    """Return a table of the operators that take most of the time of our step."""
    step = make_step(net, 'ours', root)
    time_calls(step, 2)
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * CUDA
    with profile(activities=kinds) as profiler:
        time_calls(step, 3)
    order = f'self_{"cuda" if CUDA else "cpu"}_time_total'
    return profiler.key_averages().table(sort_by=order, row_limit=12, max_name_column_width=40)


# ---------------------------------------------------------------------------------------- loops


class ClockHook(Hook):
    """Measure the frames/s of a loop without its first iterations."""

    priority = 'VERY_LOW'

    def __init__(self, warm_up: int) -> None:
        self.warm_up = warm_up
        self.speed = 0.0

    def _count(self, step: int) -> None:
        self.last = step
        if step + 1 == self.warm_up:
            synchronize()
            self.start = time.perf_counter()

    def _stop(self) -> None:
        synchronize()
        frames = (self.last + 1 - self.warm_up) * BATCH
        self.speed = frames / (time.perf_counter() - self.start)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._count(batch_idx)

    def after_train(self, runner) -> None:
        self._stop()

    def after_test_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self._count(batch_idx)

    def after_test_epoch(self, runner, metrics=None) -> None:
        self._stop()  # includes the metric


def count_warm_up(number: int) -> int:
    return max(2, number // 5)


def measure_loop(net: str, side: str, root: Path, what: str, number: int) -> float:
    """Return the frames/s of the Runner's own loop over ``number`` batches."""
    warm_up = count_warm_up(number)
    runner = build_runner(make_config(net, side, root, number + warm_up))
    clock = ClockHook(warm_up)
    runner.register_hook(clock)
    runner.test() if what == 'eval' else runner.train()
    return clock.speed


def measure_loops(
    net: str, root: Path, what: str, number: int, rounds: int, sides: Sequence[str]
) -> dict[str, float]:
    """Return the frames/s of each side, whose loops alternate."""
    speed: dict[str, list[float]] = {side: [] for side in sides}
    for _ in range(rounds):
        for side in sides:
            speed[side].append(measure_loop(net, side, root, what, number))
    return {side: max(values) for side, values in speed.items()}


# --------------------------------------------------------------------------------- two processes


def measure_ddp(root: Path, rounds: int) -> list[float]:
    """Return the frames/s per process of a step in two processes, without and with DDP."""
    context = mp.get_context('spawn')
    queue = context.Queue()
    processes = [
        context.Process(target=_measure_ddp, args=(root, rounds, rank, queue)) for rank in range(2)
    ]
    for process in processes:
        process.start()
    speed = queue.get()
    for process in processes:
        process.join()
    return speed


def _measure_ddp(root: Path, rounds: int, rank: int, queue: mp.Queue) -> None:
    logging.disable(logging.INFO)
    if CUDA:
        torch.cuda.set_device(rank)
    torch.set_num_threads(max(1, os.cpu_count() // 2))
    dist.init_process_group(
        'nccl' if CUDA else 'gloo', init_method=f'file://{root}/meet', rank=rank, world_size=2
    )
    actions = [make_step('r18', 'ours', root, with_ddp) for with_ddp in (False, True)]
    seconds: list[list[float]] = [[], []]
    for number in range(rounds + 1):
        for action, values in zip(actions, seconds, strict=True):
            dist.barrier()
            value = time_calls(action, 10 if CUDA else 2)
            if number:  # the first round warms up
                values.append(value)
    if rank == 0:
        queue.put([BATCH / min(values) for values in seconds])
    dist.barrier()
    dist.destroy_process_group()


# ---------------------------------------------------------------------------------------- rows


def measure(
    quick: bool, nets: Sequence[str] = tuple(NETS), kinds: Sequence[str] = KINDS
) -> Iterator[tuple[str, float, float]]:
    """Yield name, stock figure and our figure of each row.

    Args:
        quick: Whether to run fewer rounds.
        nets: Keys of ``NETS``.
        kinds: Which of ``KINDS`` to measure.
    """
    run = run_in_fresh_process
    rounds = 1 if quick else 3
    number = {what: steps // (2 if quick else 1) for what, steps in STEPS.items()}
    with tempfile.TemporaryDirectory() as folder:
        train, test = Path(folder, 'train'), Path(folder, 'test')
        make_crops(train)
        # One clip per batch.
        make_crops(test, number['eval'] + count_warm_up(number['eval']), BATCH)

        def compare(name: str, figures: dict[str, float]) -> Iterator[tuple[str, float, float]]:
            yield name, figures['stock'], figures['ours']
            yield f'{name}_amp', figures['stock_amp'], figures['ours']

        sides = (*STOCK, 'ours')
        for net in nets:
            if 'step' in kinds:
                all_sides = SIDES if quick else (*SIDES, 'compiled')
                step = run(measure_steps, net, train, 4 * rounds, all_sides)
                yield from compare(f'step_{net}', step)
                yield f'fuse_step_{net}', step['unfused'], step['ours']
                if not quick:
                    yield f'compile_{net}', step['ours'], step['compiled']
                rate = run(measure_matrix_rate)
                yield f'limit_{net}', rate / run(count_flops, net, train), step['ours']
            if 'end_to_end' in kinds:
                speed = run(measure_loops, net, train, 'train', number['train'], rounds, sides)
                yield from compare(f'end_to_end_{net}', speed)
                minutes = {side: PAPER_FRAMES / value / 60 for side, value in speed.items()}
                yield from compare(f'minutes_{net}', minutes)
                if net == 'r18':
                    yield 'decode_limit', run(time_opencv, train), speed['ours']
            if 'eval' in kinds:
                speed = run(measure_loops, net, test, 'eval', number['eval'], rounds, SIDES)
                yield from compare(f'eval_{net}', speed)
                yield f'fuse_eval_{net}', speed['unfused'], speed['ours']
            if 'memory' in kinds and (CUDA or not quick):
                memory = {side: run(measure_memory, net, side, train) for side in sides}
                yield from compare(f'memory_{net}', memory)
        if 'ddp' in kinds and not quick and (not CUDA or torch.cuda.device_count() > 1):
            yield 'ddp_r18', *measure_ddp(train, 2 * rounds)


def write_profiles(path: Path) -> None:
    """Write the operators that take most of the time of our steps."""
    with tempfile.TemporaryDirectory() as folder:
        make_crops(Path(folder))
        path.write_text(
            '\n'.join(
                f'{net}, batch of {BATCH}\n{run_in_fresh_process(profile_step, net, Path(folder))}'
                for net in NETS
            )
        )


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument('--nets', nargs='+', choices=NETS, default=tuple(NETS), help='networks')
    parser.add_argument('--kinds', nargs='+', choices=KINDS, default=KINDS, help='kinds of rows')
    parser.add_argument('--profile', type=Path, help='only write a profile of our steps')
    args = parser.parse_args()
    if args.profile:
        write_profiles(args.profile)
        return
    device = torch.cuda.get_device_name() if CUDA else 'no GPU'
    figures = measure(args.quick, args.nets, args.kinds)
    report(f'batches of {BATCH} frames; {device}', ROWS, figures, args.json)


if __name__ == '__main__':
    main()
