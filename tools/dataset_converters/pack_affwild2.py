#!/usr/bin/env python
"""Pack all crops of a folder into one LMDB store, or check a store.

    python tools/dataset_converters/pack_affwild2.py data/affwild2/cropped_aligned
    python tools/dataset_converters/pack_affwild2.py data/affwild2/cropped_aligned --verify

Files go in as they are, so pixels stay equal. After a kill the same command goes on with the clips
that are not complete. docs/data.md tells how to train from the store.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

from abaw_mm.cli import report_errors
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.crop_packer import (
    pack_crops,
    summarize_store,
    verify_store,
)

STATUS = """exit status:
  0  the store is complete, and sound as far as it was verified
  1  the store is damaged, or differs from the folder under --verify
  2  nothing was verified: wrong arguments, an unfinished store, or packing had to stop (an empty
     file, a full disk, a second packer, Ctrl-C); run the same command again to go on"""


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('root', help='folder of the crops, <clip>/00001.jpg under it')
    parser.add_argument('out', nargs='?', help='the store; default: ROOT.lmdb')
    parser.add_argument('--workers', type=int, default=16, help='threads that read files')
    parser.add_argument(
        '--filename-tmpl',
        default='{:05d}.jpg',
        help='file name of a frame, as in the dataset; .png is found beside .jpg',
    )
    check = parser.add_mutually_exclusive_group()
    check.add_argument(
        '--verify',
        action='store_true',
        help='pack nothing; compare the store with its checksums, and with ROOT if it is there',
    )
    check.add_argument(
        '--no-verify',
        action='store_true',
        help='do not read the store again after packing to compare it with its checksums',
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f'--workers: got {args.workers}, expected 1 or more; give another --workers')
    args.root = os.path.normpath(args.root)
    args.out = os.path.normpath(args.out or f'{args.root}.lmdb')
    if not args.verify and not os.path.isdir(args.root):
        parser.error(
            f'ROOT: got no folder {args.root!r}, expected the folder of the crops; unpack '
            'the archive there or give another ROOT'
        )
    return args


@contextmanager
def progress_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on the error stream, and the function that moves it."""
    columns = [*Progress.get_default_columns(), MofNCompleteColumn()]
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    try:
        source = CropFolder(args.root, args.filename_tmpl)
        if not args.verify:
            with progress_bar('Packing') as report:
                pack_crops(source, args.out, args.workers, report)
        problems = []
        if not args.no_verify:
            # What was just packed was read from the folder just now; that need not be read twice.
            compared = source if args.verify and os.path.isdir(args.root) else None
            with progress_bar('Verifying') as report:
                problems = verify_store(args.out, compared, args.workers, report)
        summary = summarize_store(args.out)
    except (ValueError, OSError, ImportError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f'{args.out}: stopped; run the same command again to go on', file=sys.stderr)
        return 2
    if problems:
        print(*problems, sep='\n', file=sys.stderr)
        print(
            f'{args.out}: {len(problems)} problems, expected none; copy the store again if it is '
            'a copy, else remove it and pack again',
            file=sys.stderr,
        )
        return 1
    print(
        f'{args.out}: {summary.clips} clips, {summary.crops} crops, '
        f'{summary.bytes / 1e9:.3f} GB, checksum {summary.checksum}; '
        f'in the dataset: data_prefix={os.path.basename(args.out)!r}'
    )
    return 0


if __name__ == '__main__':
    sys.exit(report_errors(main)())
