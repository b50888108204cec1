"""The paper's tables beside ours: one dict for JSON, and its Markdown."""

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

import abaw_mm
from abaw_mm.paper.rows import (
    ROWS,
    TITLES,
    Row,
)
from abaw_mm.paper.sweep import (
    RANDOM,
    Sweep,
)

NOTES = {
    'full': 'Settings are those of the configs; the figures are macro-F1 in %, of the last '
    'checkpoint, on the validation frames that have a label and a crop.',
    'mini': 'This is a miniature: few iterations, small images, small batches, and weights that '
    'are not those of the paper. Its figures prove only that things run; their '
    'differences from the paper and from one another mean nothing.',
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


def machine() -> dict:
    """Device, cores, and versions of what computes."""
    if torch.cuda.is_available():
        count = torch.cuda.device_count()
        device = f'{count} x {torch.cuda.get_device_name(0)}'
    else:
        device = 'CPU'
    return dict(
        device=device,
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        system=platform.platform(terse=True),
        python=platform.python_version(),
        torch=torch.__version__,
        mmengine=mmengine.__version__,
        mmcv=mmcv.__version__,
        mmpretrain=mmpretrain.__version__,
        numpy=np.__version__,
        abaw_mm=abaw_mm.__version__,
    )


def _processor() -> str:
    info = Path('/proc/cpuinfo')
    for line in info.read_text().splitlines() if info.is_file() else ():
        if line.startswith('model name'):
            return line.split(':', 1)[1].strip()
    return platform.processor() or platform.machine()


def mean_and_spread(scores: Sequence[float]) -> tuple[float | None, float | None]:
    """Mean, and standard deviation of a sample (n - 1); None for what there is not.

    >>> mean_and_spread([28.37, 25.56, 22.26])[0].__round__(2), mean_and_spread([3.0])
    (25.4, (3.0, None))
    """
    return (
        statistics.mean(scores) if scores else None,
        statistics.stdev(scores) if len(scores) > 1 else None,
    )


def make_row(sweep: Sweep, row: Row) -> dict:
    """What is known of a row: the paper's figure, ours, and why there is none if there is none.

    ``state`` is ``'done'``, ``'failed'`` (a run of it did), ``'pending'`` or ``'not run'``. A
    ``reason`` goes with all but the first.
    """
    name, training = row.training, sweep.trainings[row.training]
    runs = [result for seed in range(sweep.seeds) if (result := sweep.result(name, seed))]
    failures = [
        dict(seed=seed, **failure)
        for seed in range(sweep.seeds)
        if (failure := sweep.failure(name, seed))
    ]
    mean, spread = mean_and_spread([run['macro_f1'] for run in runs])
    why_not = sweep.why_not(name)
    state, reason = 'done', None
    if failures:
        state = 'failed'
        reason = f'{failures[0]["error"]} (log: {failures[0]["log"]})'
    elif not runs and why_not:
        state, reason = 'not run', why_not
    elif len(runs) < sweep.seeds:
        state = 'pending' if why_not is None else 'done'
        reason = f'{len(runs)} of {sweep.seeds} seeds so far' + (f': {why_not}' if why_not else '')
    stats = sweep.stats(name) or {}
    times = [run['time'] for run in runs]
    weights = sweep.weights.get(training.init)
    options = {
        key: value for key, value in sweep.options(name).items() if not key.endswith('data_root')
    }  # a place on this machine, no setting
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
            key: mean_and_spread([time[key] for time in times])[0]
            for key in ('train_s', 'frames_per_s')
        },
    )


def make_report(sweep: Sweep, command: Sequence[str], date: str) -> dict:
    """All five tables, as far as the work dir has them.

    Args:
        sweep (Sweep): After its ``prepare``.
        command (Sequence[str]): What was typed.
        date (str): When.
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
        machine=machine(),
        data=sweep.data,
        budget=sweep.budget,
        processes=sweep.processes,
        seeds=sweep.seeds,
        cfg_options=sweep.cfg_options,
        tables=tables,
    )


def _figure(value: float | None, form: str, scale: float = 1) -> str:
    return '-' if value is None else format(value / scale, form)


def _time(seconds: float | None) -> str:
    if seconds is None:
        return '-'
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'


def markdown_row(row: dict) -> list[str]:
    """Cells of a row of :func:`make_row`."""
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
        _figure(row['difference'], '+.2f'),
        weights or '-',
        _figure(row['trainable'], '.3f', 1e6),
        _figure(row['total'], '.3f', 1e6),
        _figure(row['flops'], '.3f', 1e9),
        _time(row['time']['train_s']),
        _figure(row['time']['frames_per_s'], '.1f'),
    ]


def to_markdown(report: dict) -> str:
    """The report for people."""
    machine, data = report['machine'], report['data']
    versions = ('python', 'torch', 'mmengine', 'mmcv', 'mmpretrain', 'numpy', 'abaw_mm')
    lines = [
        "# The paper's tables, and ours",
        '',
        report['note'],
        '',
        f'- command: `{report["command"]}`',
        f'- date: {report["date"]}',
        f'- machine: {machine["device"]}, {machine["processor"]}, {machine["cores"]} cores; '
        f'{report["processes"]} {"process" if report["processes"] == 1 else "processes"} a run',
        f'- versions: {", ".join(f"{name} {machine[name]}" for name in versions)}',
        *(
            f'- data, {split}: {counts["frames"]} frames with label and crop in {counts["clips"]} '
            f'clips'
            for split, counts in data.items()
        ),
        f'- budget: {report["budget"]}; seeds: {", ".join(map(str, range(report["seeds"])))}'
        + ''.join(f'; {key}={value}' for key, value in report['cfg_options'].items()),
        '',
        'Ours: macro-F1 in %, mean ± standard deviation over seeds. Weights: `random`, or the '
        'beginning of the SHA-256 of the file. FLOPs: of one image of the size that the run has; '
        'a multiplication with its addition counts once. Time and frames/s: of the training steps '
        'of one run, data included.',
    ]
    for table in report['tables']:
        lines += [
            '',
            f'## Table {table["table"]}: {table["title"]}',
            '',
            f'| {" | ".join(HEADER)} |',
            f'|{" --- |" * len(HEADER)}',
        ]
        lines += [f'| {" | ".join(_escape(markdown_row(row)))} |' for row in table['rows']]
        rows_of = {}
        for row in table['rows']:
            if row['reason']:
                rows_of.setdefault(f'{row["state"]}: {row["reason"]}', []).append(row['label'])
        notes = [f'- {"; ".join(rows)}: {reason}' for reason, rows in rows_of.items()]
        lines += ['', *notes] if notes else []
    return '\n'.join(lines) + '\n'


def _escape(cells: Sequence[str]) -> list[str]:
    return [cell.replace('|', '\\|') for cell in cells]


def by_hand(row: Row, sweep: Sweep) -> str:
    """The command that trains a row without a sweep."""
    training = sweep.trainings[row.training]
    weights = sweep.init.get(training.init, f'{training.init.upper()}.pth')
    options = training.options if weights == RANDOM else {'checkpoint': weights, **training.options}
    return ' '.join(
        ['bash tools/dist_train.sh', f'configs/{training.config}', str(sweep.processes)]
        + ['--cfg-options'] * bool(options)
        + [shlex.quote(f'{key}={value}') for key, value in options.items()]
    )
