#!/usr/bin/env python
"""Train and score the rows of the paper's Tables 1 to 5 and write them beside its figures.

    python tools/reproduce_tables.py --data-root data/affwild2 --seeds 3 --nproc 2 \
        --init res18_contrawarping=weights/r18.pth res50_contrawarping=weights/r50.pth
    python tools/reproduce_tables.py --list

Writes report.md and report.json into --work-dir, anew after each run. Start it again after a kill
and it goes on where it stood. A row without its weights is not run, and the report says so.
docs/reproducing.md tells more.

Exit status: 0 all that was asked for ran; 1 a run failed; 2 wrong flags, no such file, or a work
dir of other settings; 130 interrupted.
"""

import argparse
import datetime
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import DictAction
from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import BarColumn, TaskProgressColumn, TextColumn
from rich.progress import Progress as Bar

from abaw_mm.files import atomic_write
from abaw_mm.paper.report import (
    by_hand,
    make_report,
    to_markdown,
)
from abaw_mm.paper.rows import (
    ROWS,
    TITLES,
    TRAININGS,
)
from abaw_mm.paper.sweep import (
    BUDGETS,
    RANDOM,
    Sweep,
    WorkDirInUseError,
)

REPO = Path(__file__).resolve().parents[1]


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--tables',
        type=int,
        nargs='+',
        choices=list(TITLES),
        default=list(TITLES),
        help='numbers of the tables (default: all)',
    )
    parser.add_argument(
        '--rows',
        nargs='+',
        choices=list(TRAININGS),
        metavar='NAME',
        default=list(TRAININGS),
        help='of these tables only the rows of these trainings; --list has their names',
    )
    parser.add_argument('--seeds', type=int, default=1, help='runs of each row (default: 1)')
    parser.add_argument('--data-root', help='such as data/affwild2 (default: as in the configs)')
    parser.add_argument(
        '--init',
        nargs='+',
        action='extend',
        default=[],
        metavar='NAME=PATH',
        help=f'weights that rows start from; NAME={RANDOM} for none. May be given again',
    )
    parser.add_argument('--work-dir', default='work_dirs/tables', help='(default: %(default)s)')
    parser.add_argument('--nproc', type=int, default=1, help='processes of a run (default: 1)')
    parser.add_argument(
        '--budget',
        choices=BUDGETS,
        default='full',
        help="full: the paper's recipe. mini: few iterations of small images, for two CPU cores; "
        'it shows that everything runs, no more',
    )
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        metavar='KEY=VALUE',
        help='overrides of the config of every row, after those of the budget',
    )
    parser.add_argument(
        '--list', action='store_true', help='print the rows and how to run each by hand'
    )
    args = parser.parse_args(argv)
    pairs = [text.partition('=') for text in args.init]
    for name, _, path in pairs:
        if not path:
            parser.error(f'--init: got {name!r}, expected NAME=PATH or NAME={RANDOM}')
    args.init = {name: path for name, _, path in pairs}
    return args


def print_rows(sweep: Sweep, tables: Sequence[int]) -> None:
    """Each row: name of its training, the paper's figure, and the command."""
    for number in tables:
        print(f'Table {number}: {TITLES[number]}')
        for row in ROWS:
            if row.table == number and row.training in sweep.names:
                print(
                    f'  {row.label} ({row.paper:.2f}): --rows {row.training}, '
                    f'--init {sweep.trainings[row.training].init}=PATH\n    '
                    f'{by_hand(row, sweep)}'
                )


def write_report(sweep: Sweep, command: Sequence[str], date: str) -> dict:
    """Both files."""
    report = make_report(sweep, command, date)
    for name, text in (
        ('report.json', json.dumps(report, indent=1, default=str) + '\n'),
        ('report.md', to_markdown(report)),
    ):
        with atomic_write(sweep.work_dir / name) as draft:
            draft.write_text(text)
    return report


def left(started: float, done: float, total: float) -> str:
    """About how long it still takes, from the pace so far."""
    if done <= 0:
        return 'left: ?'
    seconds = (time.monotonic() - started) * (total - done) / done
    return f'about {datetime.timedelta(seconds=round(seconds))} left'


def show(sweep: Sweep, command: Sequence[str], date: str, console: Console) -> None:
    """Run all, behind a bar; a line for each run that ends."""
    columns = (
        TextColumn('{task.description}'),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn('{task.fields[left]}'),
    )
    started = time.monotonic()
    with Bar(*columns, console=console) as bar:
        task = bar.add_task('preparing', total=1, left='')
        counted = False
        for at in sweep.run():
            if not counted and not at.doing.startswith('counting'):
                started, counted = time.monotonic(), True
            estimate = left(started, at.done, at.total)
            bar.update(task, completed=at.done, total=at.total, description=at.doing, left=estimate)
            if at.finished:
                bar.console.print(f'{at.finished} ({estimate})', highlight=False, markup=False)
                write_report(sweep, command, date)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the sweep."""
    args = parse_args(argv)
    names = {row.training for row in ROWS if row.table in args.tables}
    console = Console(stderr=True)
    MMLogger.get_instance('reproduce_tables', log_level='WARNING')  # each run has a log of its own
    command = ['python', 'tools/reproduce_tables.py', *(sys.argv[1:] if argv is None else argv)]
    date = datetime.datetime.now().astimezone().isoformat(timespec='seconds')
    # An end that was asked for politely is handed on to the training, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        sweep = Sweep(
            root=REPO,
            work_dir=args.work_dir,
            names=sorted(names & set(args.rows)),
            seeds=args.seeds,
            init=args.init,
            data_root=args.data_root,
            budget=args.budget,
            processes=args.nproc,
            cfg_options=args.cfg_options,
        )
        if args.list:
            print_rows(sweep, args.tables)
            return 0
        show(sweep, command, date, console)
    except (ValueError, OSError, WorkDirInUseError) as error:
        print(f'reproduce_tables: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('reproduce_tables: interrupted; the same command goes on', file=sys.stderr)
        return 130
    report = write_report(sweep, command, date)
    states = [row['state'] for table in report['tables'] for row in table['rows']]
    print(', '.join(f'{states.count(state)} rows {state}' for state in dict.fromkeys(states)))
    print(f'{sweep.work_dir / "report.md"}')
    return int('failed' in states)


if __name__ == '__main__':
    sys.exit(main())
