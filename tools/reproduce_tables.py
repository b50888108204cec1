#!/usr/bin/env python
"""Train and score the rows of the paper's Tables 1 to 5 and report them beside its figures.

    python tools/reproduce_tables.py --data-root data/affwild2 --seeds 3 --nproc 2 \\
        --init res18_contrawarping=weights/r18.pth res50_contrawarping=weights/r50.pth
    python tools/reproduce_tables.py --list

Writes report.md and report.json to --work-dir after each run. After an interruption the same
command resumes. A row without its weights does not run; the report gives the reason. Status 1
means that a run failed. See docs/reproducing.md.
"""

import argparse
import datetime
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as ProgressBar

from abaw_mm.cli import CommandParser, cfg_options_argument, report_errors
from abaw_mm.files import atomic_write
from abaw_mm.paper.report import make_report, make_train_command, to_markdown
from abaw_mm.paper.rows import ROWS, TITLES, TRAININGS
from abaw_mm.paper.sweep import BUDGETS, RANDOM, Sweep
from abaw_mm.paper.work_dir import WorkDir

REPO = Path(__file__).resolve().parents[1]


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments."""
    parser = CommandParser(__doc__, cfg_options_argument('train_cfg.max_iters=100'))
    parser.add_argument(
        '--tables',
        type=int,
        nargs='+',
        choices=list(TITLES),
        default=list(TITLES),
        help='numbers of the tables; default: all',
    )
    parser.add_argument(
        '--rows',
        nargs='+',
        choices=list(TRAININGS),
        metavar='NAME',
        default=list(TRAININGS),
        help='trainings whose rows of these tables are run, see --list; default: all',
    )
    parser.add_argument('--seeds', type=int, default=1, help='runs per row; default: 1')
    parser.add_argument(
        '--data-root', help='data root, such as data/affwild2; default: that of the configs'
    )
    parser.add_argument(
        '--init',
        nargs='+',
        action='extend',
        default=[],
        metavar='NAME=PATH',
        help=f'weights that rows start from; NAME={RANDOM} for random weights. Can be repeated',
    )
    parser.add_argument(
        '--work-dir',
        default='work_dirs/tables',
        help='folder for all results; default: %(default)s',
    )
    parser.add_argument('--nproc', type=int, default=1, help='processes per run; default: 1')
    parser.add_argument(
        '--budget',
        choices=BUDGETS,
        default='full',
        help="full: the paper's recipe; mini: few iterations on small images, for two CPU cores, "
        'which only shows that everything runs; default: full',
    )
    parser.add_argument(
        '--list', action='store_true', help='print the rows and the command to train each by hand'
    )
    args = parser.parse_args(argv)
    pairs = [text.partition('=') for text in args.init]
    for name, _, path in pairs:
        if not path:
            parser.error(f'--init: got {name!r}, expected NAME=PATH or NAME={RANDOM}')
    args.init = {name: path for name, _, path in pairs}
    return args


def print_rows(sweep: Sweep, tables: Sequence[int]) -> None:
    """Print training, figure and command of each row."""
    for number in tables:
        print(f'Table {number}: {TITLES[number]}')
        for row in ROWS:
            if row.table == number and row.training in sweep.names:
                print(
                    f'  {row.label} ({row.paper:.2f}): --rows {row.training}, '
                    f'--init {sweep.trainings[row.training].init}=PATH\n    '
                    f'{make_train_command(row, sweep)}'
                )


def write_report(sweep: Sweep, command: Sequence[str], date: str) -> dict:
    """Write report.json and report.md."""
    report = make_report(sweep, command, date)
    for name, text in (
        ('report.json', json.dumps(report, indent=1, default=str) + '\n'),
        ('report.md', to_markdown(report)),
    ):
        with atomic_write(sweep.work_dir.path / name) as draft:
            draft.write_text(text)
    return report


def estimate_time_left(seconds: float, done: int, total: int) -> str:
    """Estimate the time left from the pace so far."""
    if not done:
        return ''
    left = datetime.timedelta(seconds=round(seconds * (total - done) / done))
    return f'about {left} left'


def run_sweep(sweep: Sweep, command: Sequence[str], date: str) -> None:
    """Run a sweep behind a progress bar; update the report after each run."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn('{task.fields[left]}'),
    )
    started = time.monotonic()
    with ProgressBar(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task('preparing', total=None, left='')
        for at in sweep.run():
            left = estimate_time_left(time.monotonic() - started, at.done, at.total)
            bar.update(task, completed=at.done, total=at.total, description=at.doing, left=left)
            if at.finished:
                bar.console.print(f'{at.finished} ({left})', highlight=False, markup=False)
                write_report(sweep, command, date)


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run the sweep."""
    args = parse_args(argv)
    tables = {row.training for row in ROWS if row.table in args.tables}
    sweep = Sweep(
        root=REPO,
        work_dir=WorkDir(args.work_dir),
        names=sorted(tables & set(args.rows)),
        seeds=args.seeds,
        init=args.init,
        data_root=args.data_root,
        budget=args.budget,
        processes=args.nproc,
        cfg_options=args.cfg_options or {},
    )
    if args.list:
        print_rows(sweep, args.tables)
        return 0
    MMLogger.get_instance('reproduce_tables', log_level='WARNING')  # each run has its own log
    command = ['python', 'tools/reproduce_tables.py', *(sys.argv[1:] if argv is None else argv)]
    date = datetime.datetime.now().astimezone().isoformat(timespec='seconds')
    run_sweep(sweep, command, date)
    report = write_report(sweep, command, date)
    states = [row['state'] for table in report['tables'] for row in table['rows']]
    print(', '.join(f'{states.count(state)} rows {state}' for state in dict.fromkeys(states)))
    print(f'{sweep.work_dir.path / "report.md"}')
    return int('failed' in states)


if __name__ == '__main__':
    sys.exit(main())
