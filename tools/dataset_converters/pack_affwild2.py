#!/usr/bin/env python
"""Pack all crops of a folder into one LMDB store, or check a store.

    python tools/dataset_converters/pack_affwild2.py data/affwild2/cropped_aligned
    python tools/dataset_converters/pack_affwild2.py data/affwild2/cropped_aligned --verify

Files are stored unchanged, so pixels stay the same. If packing stops (empty file, full disk,
Ctrl-C, kill), run the same command again: it continues with the clips that are not complete. See
docs/data.md for training from a store.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from functools import partial

from abaw_mm.cli import CommandParser, report_errors, template_argument
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.crops.crop_packer import pack_crops, summarize_store, verify_store
from abaw_mm.progress import show_progress

write_line = partial(print, file=sys.stderr, flush=True)


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, template_argument())
    parser.add_argument('root', help='folder of the crops, <clip>/00001.jpg under it')
    parser.add_argument('out', nargs='?', help='the store; default: ROOT.lmdb')
    parser.add_argument(
        '--workers', type=int, default=16, help='threads that read files; default: 16'
    )
    check = parser.add_mutually_exclusive_group()
    check.add_argument(
        '--verify',
        action='store_true',
        help='pack nothing; compare the store with its checksums, and with ROOT if it exists',
    )
    check.add_argument(
        '--no-verify',
        action='store_true',
        help='do not compare the store with its checksums after packing',
    )
    args = parser.parse_args(argv)
    if args.workers < 1:
        parser.error(f'--workers: got {args.workers}, expected 1 or more')
    args.root = os.path.normpath(args.root)
    args.out = os.path.normpath(args.out or f'{args.root}.lmdb')
    if not args.verify and not os.path.isdir(args.root):
        parser.error(
            f'ROOT: got no folder {args.root!r}, expected the folder of the crops; unpack '
            'the archive there or give another ROOT'
        )
    return args


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Pack and verify."""
    args = parse_args(argv)
    source = CropFolder(args.root, args.filename_tmpl)
    if not args.verify:
        with show_progress('Packing', write_line) as report:
            pack_crops(source, args.out, args.workers, report)
    problems = []
    if not args.no_verify:
        # After packing, only the store is read: the folder has just been read.
        compared = source if args.verify and os.path.isdir(args.root) else None
        with show_progress('Verifying', write_line) as report:
            problems = verify_store(args.out, compared, args.workers, report)
    summary = summarize_store(args.out)
    if problems:
        print(*problems, sep='\n', file=sys.stderr)
        print(
            f'{args.out}: {len(problems)} problems, expected none; copy the store again if it is '
            'a copy, otherwise remove it and pack again',
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
    sys.exit(main())
