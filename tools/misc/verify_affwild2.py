#!/usr/bin/env python
"""Check a download of Aff-Wild2 (expression track) and say what to do about it.

    python tools/misc/verify_affwild2.py data/affwild2
    python tools/misc/verify_affwild2.py data/affwild2 --decode --frames test_set_format.txt

Exit status: 0 usable, maybe with warnings; 1 errors were found; 2 nothing to check (no such
folder, no annotations, wrong flags, or --json cannot be written); 130 interrupted.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from abaw_mm.cli import report_errors
from abaw_mm.datasets import verify
from abaw_mm.datasets.crops.check_images import decoding
from abaw_mm.datasets.crops.crop_folder import (
    CropFolder,
    list_crops,
)
from abaw_mm.datasets.crops.packed_crops import open_crops
from abaw_mm.files import atomic_write

PLAIN_WIDTH = 120  # columns where the output is no terminal
MAX_ROWS = 20  # clips or findings of one kind that are shown without --per-clip
STYLES = {'error': 'bold red', 'warning': 'yellow', 'note': 'dim'}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        'data_root',
        type=Path,
        help='such as data/affwild2; the other paths may be relative to it, as in a config',
    )
    parser.add_argument(
        '--ann-dir',
        type=Path,
        nargs='+',
        metavar='DIR',
        default=[],
        help='folders of <clip>.txt (default: EXPR_*/{Train,Validation}_Set)',
    )
    parser.add_argument(
        '--frames', type=Path, metavar='FILE', help="the challenge's list of test frames, too"
    )
    parser.add_argument(
        '--crops',
        type=Path,
        nargs='+',
        metavar='DIR',
        default=[],
        help='folders of <clip>/00001.jpg (default: cropped_aligned and '
        'cropped_aligned_new_50_vids, also in batch1 and batch2)',
    )
    parser.add_argument('--filename-tmpl', default='{:05d}.jpg', help='as in the dataset')
    parser.add_argument(
        '--decode',
        action='store_true',
        help='decode every crop of these clips: finds truncated and empty files',
    )
    parser.add_argument(
        '--workers',
        type=int,
        default=os.cpu_count() or 1,
        metavar='N',
        help='processes of --decode',
    )
    parser.add_argument('--per-clip', action='store_true', help='print every clip and finding')
    parser.add_argument(
        '--json',
        metavar='FILE',
        help='write all of it; - for standard output, the tables then go to standard error',
    )
    args = parser.parse_args(argv)
    if not 1 <= args.workers <= 256:
        parser.error(f'--workers: got {args.workers}, expected 1 to 256; give another --workers')
    return args


def locate(root: Path, path: Path) -> Path:
    """A path that the user gave, relative to the data root or to where the command runs."""
    for place in (root / path, path):
        if place.exists():
            return place
    raise FileNotFoundError(f'{path}: no such file or folder, nor in {root}; correct the path')


def name_of(folder: Path) -> str:
    """Split that a folder of annotations holds."""
    known = {name: split for split, names in verify.SPLIT_FOLDERS.items() for name in names}
    return known.get(folder.name, folder.name)


def find_inputs(args: argparse.Namespace) -> tuple[dict[str, Path], Path | None, list[CropFolder]]:
    """Split to its folder of annotations, the list of frames, and where crops lie."""
    root = args.data_root
    if not root.is_dir():
        raise FileNotFoundError(f'{root}: no such folder, expected the data root of Aff-Wild2')
    given = [(name_of(path), path) for path in (locate(root, path) for path in args.ann_dir)]
    folders = dict(given) or verify.find_annotations(root)
    if len(folders) < len(given) or (args.frames and 'test' in folders):
        raise ValueError('--ann-dir: got two folders of one split, expected each once')
    if not folders and not args.frames:
        raise FileNotFoundError(
            f'{root}: got no folder of EXPR annotations, expected such as annotations/'
            'EXPR_Recognition_Challenge/Train_Set; name folders with --ann-dir'
        )
    crops = [locate(root, path) for path in args.crops] or verify.find_crops(root)
    for path in (*folders.values(), *crops):
        if not path.is_dir():
            raise NotADirectoryError(f'{path}: got a file, expected a folder')
    frames = locate(root, args.frames) if args.frames else None
    return folders, frames, [open_crops(path, args.filename_tmpl) for path in crops]


def examine(
    args: argparse.Namespace,
    folders: dict[str, Path],
    frames: Path | None,
    stores: list[CropFolder],
    console: Console,
) -> dict:
    """Read, count and judge; returns the report of ``verify.make_report``."""
    read = [verify.read_annotations(name, folder) for name, folder in folders.items()]
    read += [verify.read_list('test', frames, args.filename_tmpl)] if frames else []
    splits, findings = [split for split, _ in read], [f for _, some in read for f in some]
    roots = [store.root for store in stores]
    for name, path in (
        ('data root', args.data_root),
        *((s.name, s.path) for s in splits),
        *(('crops', root) for root in roots or ['none found']),
    ):
        console.print(Text(f'{name}: {path}'), soft_wrap=True)
    if not args.ann_dir and len(folders) == 1:
        findings.append(
            verify.Finding('no_split', f'only {next(iter(folders))}, expected train and val')
        )

    asked = {clip for split in splits for clip in split.lines}
    on_disk = {clip for store in stores for clip in store.clips()}
    crops = {clip: (np.array([], np.int32),) * 2 for clip in asked}
    if stores:
        crops = list_crops(stores, sorted(asked | on_disk))
    known = asked | {finding.clip for finding in findings}  # a broken annotation is of a clip, too
    strays = {clip: len(crops[clip][0]) for clip in sorted(on_disk - known)}
    reports = [
        verify.check_clip(split.name, clip, *lines, crops[clip][0])
        for split in splits
        for clip, lines in split.lines.items()
    ]
    if args.decode:
        decode(stores, {clip: crops[clip] for clip in sorted(asked)}, reports, args.workers)
    findings = verify.judge(splits, reports, strays, roots, findings)
    return verify.make_report(
        str(args.data_root), splits, reports, strays, roots, findings, args.decode
    )


def decode(stores: list[CropFolder], crops: dict, reports: list, workers: int) -> None:
    """Fill in ``sizes`` and ``broken`` of the reports, behind a progress bar."""
    by_clip = {}
    for report in reports:
        by_clip.setdefault(report.clip, []).append(report)
    columns = 'Decoding', BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    total = sum(len(numbers) for numbers, _ in crops.values())
    with (
        decoding(stores, crops, workers) as results,
        Progress(*columns, console=Console(stderr=True)) as bar,
    ):
        task = bar.add_task('', total=total)
        for clip, sizes, broken in (future.result() for future in results):
            for report in by_clip[clip]:
                for size, number in sizes.items():
                    report.sizes[size] = report.sizes.get(size, 0) + number
                report.broken.update(broken)
            bar.advance(task, sum(sizes.values()) + len(broken))
    for report in reports:  # the processes end in any order
        report.sizes = dict(sorted(report.sizes.items()))
        report.broken = dict(sorted(report.broken.items()))


def print_table(
    console: Console, title: str, header: Sequence[str], rows: Sequence[Sequence]
) -> None:
    """Names to the left, figures to the right; as Markdown, which is plain text as well."""
    grid = Table(box=box.MARKDOWN)
    for at, name in enumerate(header):
        is_text = not rows or isinstance(rows[0][at], str)
        grid.add_column(name, justify='left' if is_text else 'right', overflow='fold')
    for row in rows:
        grid.add_row(*(Text('-' if cell is None else str(cell)) for cell in row))
    console.print(title)
    console.print(grid)


def show(report: dict, console: Console, per_clip: bool) -> None:
    """The tables, the findings, and the verdict as the last line."""
    keys = (
        'split',
        'clips',
        'lines',
        'unlabelled',
        'crops',
        'missing',
        'gaps',
        'labelled_with_crop',
    )
    console.print()
    print_table(
        console,
        'Lines against crops',
        keys,
        [[total[key] for key in keys] for total in report['splits']],
    )
    classes = [[t['split'], *t['per_class']] for t in report['splits'] if not t['hidden']]
    if classes:
        print_table(console, 'Frames with label and crop', ['split', *report['classes']], classes)

    kinds, findings = {}, report['findings']
    for finding in findings:  # the worst first
        kinds.setdefault((finding['split'], finding['clip']), []).append(finding['kind'])
    order = list(kinds)
    keys = (
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
    clips = [clip for clip in report['clips'] if per_clip or (clip['split'], clip['clip']) in kinds]
    clips.sort(
        key=lambda c: (
            order.index((c['split'], c['clip']))
            if (c['split'], c['clip']) in kinds
            else len(order),
            -c['missing'],
        )
    )
    shown = clips if per_clip else clips[:MAX_ROWS]
    rows = [
        [*(clip[key] for key in keys), ', '.join(kinds.get((clip['split'], clip['clip']), []))]
        for clip in shown
    ]
    if rows:
        print_table(
            console, 'Clips' if per_clip else 'Clips with findings', [*keys, 'findings'], rows
        )
    if len(shown) < len(clips):
        console.print(f'... and {len(clips) - len(shown)} more clips (--per-clip)')

    seen = {}
    for finding in findings:
        kind = finding['kind']
        seen[kind] = seen.get(kind, 0) + 1
        # A broken annotation is one to mend by hand, so each is told.
        if per_clip or kind == 'annotation' or seen[kind] <= MAX_ROWS:
            where = ' '.join(filter(None, (finding['split'], finding['clip'])))
            line = f'{finding["level"]}: {where + ": " if where else ""}{finding["text"]}'
            console.print(Text(line, STYLES[finding['level']]), soft_wrap=True)
    hidden = sum(max(0, number - MAX_ROWS) for kind, number in seen.items() if kind != 'annotation')
    if hidden and not per_clip:
        console.print(f'... and {hidden} more findings (--per-clip)')
    console.print(Text(report['verdict'], 'bold'), soft_wrap=True)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    stream = sys.stderr if args.json == '-' else sys.stdout
    console = Console(file=stream, width=None if stream.isatty() else PLAIN_WIDTH)
    try:
        inputs = find_inputs(args)
    except (OSError, ValueError) as error:
        print(f'verify_affwild2: {error}', file=sys.stderr)
        return 2
    try:
        report = examine(args, *inputs, console)
    except KeyboardInterrupt:
        print('verify_affwild2: interrupted, nothing was written', file=sys.stderr)
        return 130
    show(report, console, args.per_clip)
    text = json.dumps(report, indent=1) + '\n'  # ASCII, for any name of a file
    if args.json == '-':
        sys.stdout.write(text)
    elif args.json:
        try:
            with atomic_write(args.json) as draft:
                draft.write_text(text)
        except OSError as error:
            print(f'verify_affwild2: --json {args.json}: {error}', file=sys.stderr)
            return 2
    return report['status']


if __name__ == '__main__':
    sys.exit(report_errors(main)())
