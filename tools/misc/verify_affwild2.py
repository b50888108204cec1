#!/usr/bin/env python
"""Check a download of Aff-Wild2 and say how to fix it.

    python tools/misc/verify_affwild2.py data/affwild2
    python tools/misc/verify_affwild2.py data/affwild2 --task va
    python tools/misc/verify_affwild2.py data/affwild2 --decode --frames test_set_format.txt

Status 0 means usable, perhaps with warnings; 1 means that errors were found, or that there is
nothing to check. See docs/data.md.
"""

import argparse
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.text import Text

from abaw_mm.cli import (
    CommandParser,
    make_console,
    make_table,
    report_errors,
    template_argument,
)
from abaw_mm.datasets.verify.check_download import Download, check_download, find_download
from abaw_mm.files import write_json
from abaw_mm.progress import show_progress
from abaw_mm.structures.tasks import TASKS

MAX_ROWS = 20  # clips, and findings of one kind, that are shown without --per-clip
STYLES = {'error': 'bold red', 'warning': 'yellow', 'note': 'dim'}
SPLIT_KEYS = (
    'split',
    'clips',
    'lines',
    'unlabelled',
    'crops',
    'missing',
    'gaps',
    'labelled_with_crop',
)
CLIP_KEYS = (
    'split',
    'clip',
    'lines',
    'unlabelled',
    'crops',
    'missing',
    'longest_gap',
    'first',
    'last',
)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, template_argument())
    parser.add_argument(
        'data_root',
        type=Path,
        help='data root, such as data/affwild2; other paths may be relative to it',
    )
    parser.add_argument(
        '--task', choices=TASKS, default='expr', help='track; default: %(default)s, expressions'
    )
    parser.add_argument(
        '--ann-dir',
        type=Path,
        nargs='+',
        metavar='DIR',
        default=[],
        help='folders of <clip>.txt; default: EXPR_*/{Train,Validation}_Set',
    )
    parser.add_argument(
        '--frames', type=Path, metavar='FILE', help="also check the challenge's list of test frames"
    )
    parser.add_argument(
        '--crops',
        type=Path,
        nargs='+',
        metavar='DIR',
        default=[],
        help='folders of <clip>/00001.jpg; default: cropped_aligned and '
        'cropped_aligned_new_50_vids, also in batch1 and batch2',
    )
    parser.add_argument(
        '--decode',
        action='store_true',
        help='decode every crop of these clips, to find truncated and empty files',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        metavar='N',
        help='processes of --decode; default: number of cores',
    )
    parser.add_argument('--per-clip', action='store_true', help='print every clip and finding')
    parser.add_argument(
        '--json',
        metavar='FILE',
        help='write the complete report; - for standard output, tables then go to standard error',
    )
    args = parser.parse_args(argv)
    if not 1 <= args.workers <= 256:
        parser.error(f'--workers: got {args.workers}, expected 1 to 256')
    return args


def print_paths(download: Download, console: Console) -> None:
    """Print which files are checked."""
    paths = [('data root', download.root), *download.annotations.items()]
    if download.frames:
        paths.append(('test', download.frames))
    paths += [('crops', Path(store.root)) for store in download.stores]
    for name, path in paths:
        console.print(f'{name}: {path}')
    if not download.stores:
        console.print('crops: none found')


def print_splits(report: dict, console: Console) -> None:
    """Print one line per split."""
    rows = [[total[key] for key in SPLIT_KEYS] for total in report['splits']]
    console.print('\nLines against crops')
    console.print(make_table(SPLIT_KEYS, rows))
    rows = [[t['split'], *t['per_class']] for t in report['splits'] if not t['hidden']]
    if rows:
        console.print('Frames with label and crop')
        console.print(make_table(['split', *report['classes']], rows))


def print_clips(report: dict, console: Console, per_clip: bool) -> None:
    """Print the clips with findings, the worst first; all clips if ``per_clip``."""
    kinds: dict[tuple[str, str], list[str]] = {}
    for finding in report['findings']:  # sorted by level
        kinds.setdefault((finding['split'], finding['clip']), []).append(finding['kind'])
    rank = {clip: i for i, clip in enumerate(kinds)}
    clips = [
        (rank.get((clip['split'], clip['clip']), len(rank)), clip)
        for clip in report['clips']
        if per_clip or (clip['split'], clip['clip']) in kinds
    ]
    clips.sort(key=lambda pair: (pair[0], -pair[1]['missing']))
    rows = [
        [*(clip[key] for key in CLIP_KEYS), ', '.join(kinds.get((clip['split'], clip['clip']), []))]
        for _, clip in (clips if per_clip else clips[:MAX_ROWS])
    ]
    if rows:
        console.print('Clips' if per_clip else 'Clips with findings')
        console.print(make_table([*CLIP_KEYS, 'findings'], rows, ('split', 'clip', 'findings')))
    if len(rows) < len(clips):
        console.print(f'... and {len(clips) - len(rows)} more clips (--per-clip)')


def print_findings(report: dict, console: Console, per_clip: bool) -> None:
    """Print the findings; without ``per_clip`` the first ``MAX_ROWS`` of each kind."""
    seen: Counter[str] = Counter()
    hidden = 0
    for finding in report['findings']:
        seen[finding['kind']] += 1
        # Annotations are fixed by hand, so all findings about them are printed.
        if not per_clip and finding['kind'] != 'annotation' and seen[finding['kind']] > MAX_ROWS:
            hidden += 1
            continue
        where = ' '.join(filter(None, (finding['split'], finding['clip'])))
        line = f'{finding["level"]}: {where + ": " if where else ""}{finding["text"]}'
        console.print(Text(line, STYLES[finding['level']]))
    if hidden:
        console.print(f'... and {hidden} more findings (--per-clip)')


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Check and print; the verdict is the last line."""
    args = parse_args(argv)
    console = make_console(sys.stderr if args.json == '-' else sys.stdout)
    download = find_download(
        args.data_root, args.ann_dir, args.frames, args.crops, args.filename_tmpl, args.task
    )
    print_paths(download, console)
    if args.decode:
        with show_progress('Decoding', partial(print, file=sys.stderr, flush=True)) as progress:
            report = check_download(download, args.workers, progress)
    else:
        report = check_download(download)
    print_splits(report, console)
    print_clips(report, console, args.per_clip)
    print_findings(report, console, args.per_clip)
    console.print(Text(report['verdict'], 'bold'))
    if args.json == '-':
        print(json.dumps(report, indent=1))
    elif args.json:
        write_json(args.json, report)
    return report['status']


if __name__ == '__main__':
    sys.exit(main())
