"""Report of a sweep: the paper's figures beside ours, as a dict and as Markdown."""

import os
import platform
import shlex
import statistics
from collections.abc import Sequence
from pathlib import Path

import mmcv
import mmengine
import mmpretrain
import numpy as np
import torch

from abaw_mm.paper.rows import ROWS, TITLES, Row
from abaw_mm.paper.sweep import RANDOM, Sweep
from abaw_mm.version import __version__

NOTES = {
    'full': 'Settings are those of the configs. Figures are macro-F1 in % of the last checkpoint, '
    'on the validation frames that have a label and a crop.',
    'mini': 'This is a miniature: few iterations, small images, small batches, and weights other '
    'than those of the paper. Its figures prove only that everything runs; their differences from '
    'the paper and from one another mean nothing.',
}
HEADER = (
    'row',
    'paper',
    'ours',
    'difference',
    'weights',
    'trainable (M)',
    'total (M)',
    'FLOPs (G)',
    'time',
    'frames/s',
)


def describe_machine() -> dict:
    """Return device, cores, and versions of Python and the packages."""
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        device = f'{count} x {torch.cuda.get_device_name(0)}'
    else:
        device = 'CPU'
    return dict(
        device=device,
        processor=_find_processor(),
        cores=len(os.sched_getaffinity(0)),
        system=platform.platform(terse=True),
        python=platform.python_version(),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        mmcv=mmcv.__version__,
        mmpretrain=mmpretrain.__version__,
        numpy=np.__version__,
        abaw_mm=__version__,
    )


def _find_processor() -> str:
    info = Path('/proc/cpuinfo')
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith('model name'):
            return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def mean_and_spread(scores: Sequence[float]) -> tuple[float | None, float | None]:
    """Return mean and sample standard deviation (n - 1); None where there are too few scores.

    >>> mean_and_spread([28.37, 25.56, 22.26])[0].__round__(2), mean_and_spread([3.0])
    (25.4, (3.0, None))
    """
    return (
        statistics.mean(scores) if scores else None,
        statistics.stdev(scores) if len(scores) > 1 else None,
    )


def make_row(sweep: Sweep, row: Row) -> dict:
    """Return the paper's figure of a row beside ours, as far as the sweep has run.

    Returns:
        dict: Among others ``state``: ``'done'``, ``'failed'`` (at least one run failed),
        ``'pending'`` or ``'not run'``, and ``reason``, None if there is nothing to explain.
    """
    name, training = row.training, sweep.trainings[row.training]
    seeds = range(sweep.seeds)
    runs = [run for seed in seeds if (run := sweep.work_dir.read_result(name, seed))]
    failures = [
        dict(seed=seed, **failure)
        for seed in seeds
        if (failure := sweep.work_dir.read_failure(name, seed))
    ]
    state, reason = _find_state(sweep, name, len(runs), failures)
    mean, spread = mean_and_spread([run['macro_f1'] for run in runs])
    stats = sweep.work_dir.read_stats(name) or {}
    weights = sweep.weights.get(training.init)
    options = {
        key: value
        for key, value in sweep.make_options(name).items()
        if not key.endswith('data_root')  # a path of this machine, not a setting
    }
    return dict(
        label=row.label,
        paper=row.paper,
        state=state,
        reason=reason,
        mean=mean,
        spread=spread,
        difference=None if mean is None else mean - row.paper,
        training=name,
        config=f'configs/{training.config}',
        options=options,
        init=training.init,
        weights=dict(sha256=weights) if weights not in (None, RANDOM) else weights,
        **{key: stats.get(key) for key in ('trainable', 'total', 'flops', 'shape')},
        runs=runs,
        failures=failures,
        time={
            key: mean_and_spread([run['time'][key] for run in runs])[0]
            for key in ('train_s', 'frames_per_s')
        },
    )


def _find_state(
    sweep: Sweep, name: str, num_runs: int, failures: Sequence[dict]
) -> tuple[str, str | None]:
    """Return ``state`` and ``reason`` of a row."""
    skip_reason = sweep.find_skip_reason(name)
    if failures:
        return 'failed', f'{failures[0]["error"]} (log: {failures[0]["log"]})'
    if not num_runs and skip_reason:
        return 'not run', skip_reason
    if num_runs == sweep.seeds:
        return 'done', None
    seeds = f'{num_runs} of {sweep.seeds} seeds so far'
    return ('done', f'{seeds}: {skip_reason}') if skip_reason else ('pending', seeds)


def make_report(sweep: Sweep, command: Sequence[str], date: str) -> dict:
    """Return all five tables, as far as the sweep has run.

    Args:
        sweep (Sweep): Sweep whose ``prepare`` or ``run`` was called.
        command (Sequence[str]): Command that the user typed.
        date (str): Date of the command.
    """
    tables = [
        dict(
            table=number,
            title=title,
            rows=[make_row(sweep, row) for row in ROWS if row.table == number],
        )
        for number, title in TITLES.items()
    ]
    return dict(
        note=NOTES[sweep.budget],
        command=shlex.join(command),
        date=date,
        machine=describe_machine(),
        data=sweep.data,
        budget=sweep.budget,
        processes=sweep.processes,
        seeds=sweep.seeds,
        cfg_options=sweep.cfg_options,
        tables=tables,
    )


def _format_number(value: float | None, form: str, unit: float = 1) -> str:
    return '-' if value is None else format(value / unit, form)


def _format_time(seconds: float | None) -> str:
    if seconds is None:
        return '-'
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'


def format_row(row: dict) -> list[str]:
    """Return the cells of a row of :func:`make_row`, in the order of ``HEADER``."""
    ours = row['state'] if row['mean'] is None else f'{row["mean"]:.2f}'
    if row['spread'] is not None:
        ours += f' ± {row["spread"]:.2f}'
    if row['mean'] is not None and row['state'] != 'done':
        ours += f' ({row["state"]})'
    weights = row['weights'] if row['runs'] else None
    if isinstance(weights, dict):
        weights = f'{row["init"]} {weights["sha256"][:8]}'
    return [
        row['label'],
        f'{row["paper"]:.2f}',
        ours,
        _format_number(row['difference'], '+.2f'),
        weights or '-',
        _format_number(row['trainable'], '.3f', 1e6),
        _format_number(row['total'], '.3f', 1e6),
        _format_number(row['flops'], '.3f', 1e9),
        _format_time(row['time']['train_s']),
        _format_number(row['time']['frames_per_s'], '.1f'),
    ]


def to_markdown(report: dict) -> str:
    """Format a report of :func:`make_report` as Markdown."""
    lines = [
        "# The paper's tables, and ours",
        '',
        report['note'],
        '',
        *_format_settings(report),
        '',
        'Ours: macro-F1 in %, mean ± standard deviation over seeds. Weights: `random`, or the '
        'first digits of the SHA-256 of the file. FLOPs: for one image at the size of the run; a '
        'multiplication with its addition counts once. Time and frames/s: training steps of one '
        'run, data loading included.',
    ]
    for table in report['tables']:
        lines += ['', f'## Table {table["table"]}: {table["title"]}', '', *_format_table(table)]
    return '\n'.join(lines) + '\n'


def _format_settings(report: dict) -> list[str]:
    machine = report['machine']
    versions = ('python', 'torch', 'mmengine', 'mmcv', 'mmpretrain', 'numpy', 'abaw_mm')
    plural = '' if report['processes'] == 1 else 'es'
    return [
        f'- command: `{report["command"]}`',
        f'- date: {report["date"]}',
        f'- machine: {machine["device"]}, {machine["processor"]}, {machine["cores"]} cores; '
        f'{report["processes"]} process{plural} per run',
        f'- versions: {", ".join(f"{name} {machine[name]}" for name in versions)}',
        *(
            f'- data, {split}: {counts["frames"]} frames with label and crop in {counts["clips"]} '
            'clips'
            for split, counts in report['data'].items()
        ),
        f'- budget: {report["budget"]}; seeds: {", ".join(map(str, range(report["seeds"])))}'
        + ''.join(f'; {key}={value}' for key, value in report['cfg_options'].items()),
    ]


def _format_table(table: dict) -> list[str]:
    """Return a table, and one note for all rows that have the same reason."""
    lines = [f'| {" | ".join(HEADER)} |', f'|{" --- |" * len(HEADER)}']
    reasons: dict[str, list[str]] = {}
    for row in table['rows']:
        cells = [cell.replace('|', '\\|') for cell in format_row(row)]
        lines.append(f'| {" | ".join(cells)} |')
        if row['reason']:
            reasons.setdefault(f'{row["state"]}: {row["reason"]}', []).append(row['label'])
    notes = [f'- {"; ".join(labels)}: {reason}' for reason, labels in reasons.items()]
    return [*lines, '', *notes] if notes else lines


def make_train_command(row: Row, sweep: Sweep) -> str:
    """Return the command that trains a row without a sweep."""
    training = sweep.trainings[row.training]
    weights = sweep.init.get(training.init, f'{training.init.upper()}.pth')
    options = training.options if weights == RANDOM else {'checkpoint': weights, **training.options}
    return ' '.join(
        ['bash tools/dist_train.sh', f'configs/{training.config}', str(sweep.processes)]
        + ['--cfg-options'] * bool(options)
        + [shlex.quote(f'{key}={value}') for key, value in options.items()]
    )
