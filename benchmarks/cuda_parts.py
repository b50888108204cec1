#!/usr/bin/env python
"""The parts of benchmarks/cuda.sh: tests, training with NCCL, comparison, the paper's run, profile.

    bash benchmarks/cuda.sh [--out DIR] [--wheels DIR] [--rehearse]

Each part is a process with a time limit, so that one that fails leaves the others alone. It writes
``<part>.json`` and ``<part>.log`` into the folder; at the end all are in ``cuda.json`` and, as a
page for docs/performance.md, in ``cuda.md``. The exit status is 1 if a part failed.

``PARTS`` describes the parts. Without a GPU every part is skipped and named, and pytest lists the
tests that it skips. ``--rehearse`` runs the parts on the CPU on a few frames, to check the kit.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import torch
import training
from common import describe_machine, make_crops, run_in_fresh_process
from mmengine.hooks import Hook
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

REPO = Path(__file__).parents[1]
PARTS = {  # name: description, limit in seconds; 530 together
    'tests': ('tests marked cuda', 150),
    'train': ('tools/dist_train.sh with NCCL on 1 and 2 GPUs, 50 steps of 128 frames', 60),
    'compare': ('benchmarks/training.py against stock mmpretrain', 210),
    'paper': ("the paper's run: ResNet-18, 8000 steps of 128 frames, from JPEGs", 70),
    'profile': ("what bounds the paper's run", 40),
}
PAPER_STEPS = 8000
CUDA = training.CUDA


def run_logged(command: list[str], log: Path, limit: float, **variables: str) -> int:
    """Run a command in the repository; return its exit status, 124 if it exceeds the limit."""
    with log.open('a') as file:
        file.write(f'$ {" ".join(command)}\n')
        file.flush()
        process = subprocess.Popen(
            command,
            cwd=REPO,
            env=os.environ | variables,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # with the processes that it has started
            process.wait()
            file.write(f'stopped after {limit:.0f} s\n')
            return 124


# ---------------------------------------------------------------------------------------- parts


def run_tests(out: Path, rehearse: bool, limit: float) -> dict:
    """Run the tests marked cuda; in a rehearsal tests/gpu, which also runs on the CPU."""
    tests = sorted((REPO / 'tests').rglob('test_*.py'))
    files = [str(path) for path in tests if 'from devices import' in path.read_text()]
    chosen = [str(REPO / 'tests/gpu')] if rehearse else ['-m', 'cuda', *files]
    report = out / 'tests.xml'
    command = [sys.executable, '-m', 'pytest', '-q', '-ra', '-p', 'no:cacheprovider']
    status = run_logged([*command, f'--junitxml={report}', *chosen], out / 'tests.log', limit)
    if not report.is_file():
        raise RuntimeError(f'pytest ended with status {status} and no report')
    names: dict[str, list[str]] = dict(passed=[], failed=[], skipped=[])
    for case in ET.parse(report).iter('testcase'):
        outcome = 'passed'
        if case.find('skipped') is not None:
            outcome = 'skipped'
        elif case.find('failure') is not None or case.find('error') is not None:
            outcome = 'failed'
        names[outcome].append(f'{case.get("classname")}::{case.get("name")}')
    return dict(status=status, **names)


def run_training(out: Path, rehearse: bool, limit: float) -> dict:
    """Train with the launcher on 1 and 2 GPUs; in a rehearsal, in 1 process on the CPU."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        make_crops(Path(folder))
        steps, batch = (2, 16) if rehearse else (50, 128)
        for processes in [n for n in (1, 2) if n <= max(1, torch.cuda.device_count())]:
            work_dir = Path(folder, f'run{processes}')
            options = dict(
                data_root=folder,
                ann_file=training.TRAIN_SET,
            )
            start = time.perf_counter()
            status = run_logged(
                [
                    *('bash', 'tools/dist_train.sh', 'configs/res18_srp_affwild2.py'),
                    *(str(processes), '--no-validate', '--work-dir', str(work_dir)),
                    '--cfg-options',
                    *(f'train_dataloader.dataset.{name}={x}' for name, x in options.items()),
                    f'train_dataloader.batch_size={batch // processes}',
                    f'train_cfg.max_iters={steps}',
                    f'default_hooks.logger.interval={steps // 2}',
                ],
                out / 'train.log',
                limit / 2,
                NCCL_DEBUG='VERSION',
                PATH=f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
            )
            if status:
                raise RuntimeError(f'dist_train.sh with {processes} processes: status {status}')
            log = next(work_dir.glob('*/vis_data/scalars.json')).read_text().splitlines()
            rows[f'{processes}'] = dict(
                seconds=time.perf_counter() - start,
                losses=[json.loads(line)['loss'] for line in log],
            )
    return dict(steps=steps, batch=batch, processes=rows)


def run_comparison(out: Path, rehearse: bool, limit: float) -> dict:
    """Compare with stock mmpretrain; rows that were ready at the limit are kept."""
    rows = out / 'rows.json'
    rows.unlink(missing_ok=True)
    command = [sys.executable, 'benchmarks/training.py', '--quick', '--json', str(rows)]
    extra = ['--nets', 'r18', '--kinds', 'step'] if rehearse else []
    status = run_logged([*command, *extra], out / 'compare.log', limit)
    if not rows.is_file():
        raise RuntimeError(f'benchmarks/training.py ended with status {status} and no rows')
    return dict(status=status, rows=json.loads(rows.read_text()), units=training.ROWS)


def run_paper(out: Path, rehearse: bool, limit: float) -> dict:
    """Time the paper's run in the Runner, or as much of it as the limit allows."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_crops(root, 64)

        def measure(steps: int) -> float:
            return run_in_fresh_process(training.measure_loop, 'r18', 'ours', root, 'train', steps)

        trial = measure(2 if rehearse else 100)  # frames/s
        allowed = int(0.6 * limit * trial / training.BATCH)
        steps = 3 if rehearse else max(100, min(PAPER_STEPS, allowed))
        speed = measure(steps)
    return dict(
        steps=steps,
        batch=training.BATCH,
        frames_per_s=speed,
        seconds_of_the_steps=steps * training.BATCH / speed,
        seconds_of_the_paper=training.PAPER_FRAMES / speed,
    )


class ProfileHook(Hook):
    """Time some steps of a Runner, then profile as many, since a profiler slows the host down."""

    priority = 'VERY_LOW'

    def __init__(self, warm_up: int, steps: int) -> None:
        kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * CUDA
        self.profiler = profile(activities=kinds)
        self.begin, self.middle, self.last = warm_up, warm_up + steps, warm_up + 2 * steps
        self.wait = 0.0  # for batches, in the timed steps
        self.seconds = 0.0

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        if self.begin < batch_idx <= self.middle:
            self.wait += time.perf_counter() - self.end

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        if batch_idx in (self.begin, self.middle, self.last):
            training.synchronize()
        if batch_idx == self.begin:
            self.start = time.perf_counter()
        elif batch_idx == self.middle:
            self.seconds = time.perf_counter() - self.start
            self.profiler.start()
        elif batch_idx == self.last:
            self.profiler.stop()
        self.end = time.perf_counter()


def profile_run(root: Path, warm_up: int, steps: int) -> dict:
    """Return the seconds per step of the Runner, its wait for batches, kernels and copies."""
    cfg = training.make_config('r18', 'ours', root, warm_up + 2 * steps + 1)
    runner = training.build_runner(cfg)
    hook = ProfileHook(warm_up, steps)
    runner.register_hook(hook)
    runner.train()
    averages = hook.profiler.key_averages()
    device = DeviceType.CUDA if CUDA else DeviceType.CPU
    # Operators on the host repeat the time of their kernels.
    events = [event for event in averages if event.device_type == device]
    kind = f'self_{"device" if CUDA else "cpu"}_time_total'
    busy = {event.key: getattr(event, kind) / 1e6 for event in events}
    copies = sum(seconds for name, seconds in busy.items() if name.startswith('Memcpy'))
    order = f'self_{"cuda" if CUDA else "cpu"}_time_total'
    return dict(
        step=hook.seconds / steps,
        wait=hook.wait / steps,
        copies=copies / steps,
        kernels=(sum(busy.values()) - copies) / steps,
        table=averages.table(sort_by=order, row_limit=15, max_name_column_width=50),
    )


def find_bound(step: float, wait: float, kernels: float, copies: float, limit: float) -> str:
    """Return what bounds a step, from seconds per step.

    Args:
        step: The whole step.
        wait: Of the main process for a batch.
        kernels: The device computes.
        copies: The device copies.
        limit: What the step's FLOPs take at the matrix rate.

    >>> find_bound(step=10, wait=6, kernels=3, copies=0, limit=1)
    'decode: the main process waits for batches in 60 % of the step'
    >>> find_bound(step=10, wait=1, kernels=9, copies=0, limit=7)
    'matrix rate: the GPU computes in 90 % of the step, 78 % of that is the least for its FLOPs'
    """
    if wait >= 0.2 * step:
        return f'decode: the main process waits for batches in {percent(wait / step)} of the step'
    if copies >= 0.3 * step:
        return f'copies: the GPU copies in {percent(copies / step)} of the step'
    computes = f'the GPU computes in {percent(kernels / step)} of the step'
    if kernels < 0.8 * step:
        return f'launches: {computes} and no batch is late'
    name = 'matrix rate' if limit >= 0.5 * kernels else 'memory and small kernels'
    return f'{name}: {computes}, {percent(limit / kernels)} of that is the least for its FLOPs'


def percent(share: float) -> str:
    return f'{100 * share:.0f} %'


def run_profile(out: Path, rehearse: bool, limit: float) -> dict:
    """Profile the paper's run and say what bounds it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        make_crops(root)
        warm_up, steps = (2, 2) if rehearse else (30, 40)
        figures = run_in_fresh_process(profile_run, root, warm_up, steps)
        flops = run_in_fresh_process(training.count_flops, 'r18', root) * training.BATCH
    rate = run_in_fresh_process(training.measure_matrix_rate)
    (out / 'operators.txt').write_text(figures.pop('table'))
    figures['limit'] = flops / rate
    return dict(figures, flops_per_s=rate, bound=find_bound(**figures))


RUN: dict[str, Callable[[Path, bool, float], dict]] = dict(
    tests=run_tests,
    train=run_training,
    compare=run_comparison,
    paper=run_paper,
    profile=run_profile,
)

# ----------------------------------------------------------------------------------- the results


def describe_gpu() -> str:
    """Return GPU, driver and CUDA for the record."""
    if not CUDA:
        return 'no GPU'
    query = ['nvidia-smi', '--query-gpu=name,memory.total,driver_version', '--format=csv,noheader']
    try:
        smi = subprocess.run(query, capture_output=True, text=True).stdout.strip()
    except OSError:
        smi = torch.cuda.get_device_name()
    return f'{smi.replace(chr(10), "; ")}; CUDA {torch.version.cuda}'


def run_part(name: str, out: Path, rehearse: bool) -> dict:
    """Run a part in a process of its own."""
    what, limit = PARTS[name]
    if rehearse:
        limit *= 10
    is_skipped = not CUDA and not rehearse
    if is_skipped and name != 'tests':
        return dict(what=what, outcome='skipped: no GPU')
    file = out / f'{name}.json'
    file.unlink(missing_ok=True)
    (out / f'{name}.log').unlink(missing_ok=True)
    end = time.time() + limit - 5  # of what the part starts, so that it can report
    command = [sys.executable, __file__, '--out', str(out), '--part', name, '--end', str(end)]
    start = time.perf_counter()
    status = run_logged(command + ['--rehearse'] * rehearse, out / f'{name}.log', limit)
    seconds = time.perf_counter() - start
    if status or not file.is_file():
        reason = f'limit of {limit} s' if status == 124 else f'status {status}'
        outcome = f'failed ({reason}), see {name}.log'
        return dict(what=what, outcome=outcome, seconds=seconds)
    result = json.loads(file.read_text())
    outcome = 'done'
    if result.get('failed'):
        outcome = f'{len(result["failed"])} tests failed, see {name}.log'
    elif result.get('status'):
        outcome = f'incomplete (status {result["status"]}), see {name}.log'
    if is_skipped:
        outcome = f'skipped: no GPU ({len(result["skipped"])} tests)'
    return dict(what=what, outcome=outcome, seconds=seconds, **result)


def format_page(results: dict) -> str:
    """Format the results as a page of Markdown."""
    parts = results['parts']
    lines = [
        '## On CUDA',
        '',
        f'`bash benchmarks/cuda.sh`, one run of {results["seconds"]:.0f} s. {results["gpu"]}; '
        f'{results["machine"]}.',
        '',
        '| part | what | outcome | s |',
        '| --- | --- | --- | --- |',
    ]
    for name, part in parts.items():
        seconds = f'{part["seconds"]:.0f}' if 'seconds' in part else ''
        lines.append(f'| {name} | {part["what"]} | {part["outcome"]} | {seconds} |')
    for format_part, key in (
        (format_tests, 'passed'),
        (format_training, 'processes'),
        (format_comparison, 'rows'),
        (format_paper, 'seconds_of_the_paper'),
        (format_profile, 'bound'),
    ):
        for part in parts.values():
            if key in part:
                lines += ['', *format_part(part)]
    return '\n'.join(lines) + '\n'


def format_tests(part: dict) -> list[str]:
    """List the tests that failed and were skipped."""
    counts = ', '.join(f'{len(part[key])} {key}' for key in ('passed', 'failed', 'skipped'))
    named = [f'- {key}: `{name}`' for key in ('failed', 'skipped') for name in part[key]]
    return [f'Tests marked cuda: {counts}.', *(['', *named] if named else [])]


def format_training(part: dict) -> list[str]:
    """List the runs of the launcher."""
    lines = []
    for processes, run in part['processes'].items():
        losses = ', '.join(map(str, run['losses']))
        lines.append(
            f'- dist_train.sh, {processes} process(es), {part["steps"]} steps of {part["batch"]} '
            f'frames in {run["seconds"]:.1f} s with the start; losses {losses}'
        )
    return lines


def format_comparison(part: dict) -> list[str]:
    """Format the rows of benchmarks/training.py as a table."""
    lines = [
        '| row | what | unit | stock | ours | ratio |',
        '| --- | --- | --- | --- | --- | --- |',
    ]
    for row in part['rows']:
        what, unit = part['units'][row['name']]
        figures = f'{row["stock"]:.4g} | {row["ours"]:.4g} | {row["ratio"]:.2f}'
        lines.append(f'| `{row["name"]}` | {what} | {unit} | {figures} |')
    return lines


def format_paper(part: dict) -> list[str]:
    """Say how long the paper's run takes."""
    steps, batch = part['steps'], part['batch']
    kind = 'measured' if steps * batch == training.PAPER_FRAMES else 'extrapolated'
    return [
        f"The paper's ResNet-18 run, {steps} steps of {batch} frames from JPEGs: "
        f'{part["frames_per_s"]:.0f} frames/s, so {part["seconds_of_the_paper"]:.1f} s for '
        f'8000 x 128 frames ({kind}).'
    ]


def format_profile(part: dict) -> list[str]:
    """Say what bounds a step."""
    names = ('step', 'wait', 'kernels', 'copies', 'limit')
    figures = ', '.join(f'{name} {1000 * part[name]:.2f} ms' for name in names)
    return [
        f'What bounds it: {part["bound"]}. Per step: {figures}; matrix rate '
        f'{part["flops_per_s"] / 1e12:.3g} TFLOP/s. The operators are in `operators.txt`.'
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', type=Path, required=True, help='folder of the results')
    parser.add_argument('--rehearse', action='store_true', help='on the CPU, on a few frames')
    parser.add_argument('--part', choices=PARTS, help='only run this part')
    parser.add_argument('--end', type=float, default=time.time() + 86400, help='end of --part')
    args = parser.parse_args()
    if args.rehearse and CUDA:
        parser.error('--rehearse: got a machine with a GPU, expected one without; leave it out')
    if args.part:
        result = RUN[args.part](args.out, args.rehearse, max(1.0, args.end - time.time()))
        (args.out / f'{args.part}.json').write_text(json.dumps(result, indent=1) + '\n')
        return 0
    results = dict(gpu=describe_gpu(), machine=describe_machine(), rehearsal=args.rehearse)
    start, parts = time.perf_counter(), {}
    for name in PARTS:
        parts[name] = run_part(name, args.out, args.rehearse)
        print(f'{name}: {parts[name]["outcome"]}', flush=True)
    results.update(seconds=time.perf_counter() - start, parts=parts)
    (args.out / 'cuda.json').write_text(json.dumps(results, indent=1) + '\n')
    (args.out / 'cuda.md').write_text(format_page(results))
    print(f'{args.out / "cuda.md"}: {results["seconds"]:.0f} s')
    outcomes = [part['outcome'] for part in parts.values()]
    return 0 if all(text.startswith(('done', 'skipped')) for text in outcomes) else 1


if __name__ == '__main__':
    sys.exit(main())
