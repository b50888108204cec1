#!/usr/bin/env python
"""Split the clips of a dataset into folds for cross-validation.

    python tools/dataset_converters/make_folds.py data/affwild2

    python tools/dataset_converters/make_folds.py data/affwild2 --task va

Writes data/affwild2/folds/fold0of5_train.txt, fold0of5_val.txt, ...: one clip per line, for the
dataset's `clips`. Clips of one raw video stay in one fold. Training and validation set are split
together. docs/data.md has a config that trains on a fold.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from abaw_mm.cli import CommandParser, fold_arguments, make_console, make_table, report_errors
from abaw_mm.datasets.annotations import raw_video
from abaw_mm.datasets.folds import QUADRANTS, find_strata, split_folds, write_fold_lists
from abaw_mm.datasets.frame_index import FrameReader
from abaw_mm.datasets.verify.read_download import require_annotations
from abaw_mm.errors import shorten
from abaw_mm.structures.tasks import ACTION_UNITS, EXPRESSIONS, TASKS

STRATA = {  # names of what frames are stratified by
    'expr': EXPRESSIONS,
    'va': QUADRANTS,
    'au': (*ACTION_UNITS, 'none'),
    'mtl': (*EXPRESSIONS, *QUADRANTS, *ACTION_UNITS, 'none'),
}


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, fold_arguments())
    parser.add_argument('root', type=Path, help='data root, such as data/affwild2')
    parser.add_argument(
        '--task', choices=TASKS, default='expr', help='track; default: %(default)s, expressions'
    )
    parser.add_argument('--train-only', action='store_true', help='leave out the validation set')
    parser.add_argument('--out', type=Path, help='folder of the lists; default: ROOT/folds')
    return parser.parse_args(argv)


def print_counts(
    labels: Mapping[str, np.ndarray],
    folds: Sequence[Sequence[str]],
    console: Console,
    task: str,
) -> None:
    """Print videos, clips and labelled frames of each class in the validation part of each fold."""
    names = STRATA[task]
    rows = []
    for i, clips in enumerate(folds):
        label = np.concatenate([labels[clip] for clip in clips])
        counts = np.bincount(label[label >= 0], minlength=len(names))
        rows.append((i, len({raw_video(clip) for clip in clips}), len(clips), *counts))
        absent = [names[c] for c in np.flatnonzero(counts == 0)]
        if absent and task == 'expr':
            console.print(f'note: fold {i} has no frame of {shorten(absent)}, so no F1 of it')
    console.print(make_table(('fold', 'videos', 'clips', *names), rows))


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Write the lists, print the counts."""
    args = parse_args(argv)
    splits = ['train'] if args.train_only else ['train', 'val']
    folders = args.ann_dir or require_annotations(args.root, splits, args.task)
    reader = FrameReader(
        [str(folder) for folder in folders],
        data_root='',
        start_index=1,
        filename_tmpl='{:05d}.jpg',
        clips=None,
        owner='make_folds.py',
        task=args.task,
    )
    labels = find_strata(reader.read_annotations())
    folds = split_folds(labels, args.folds, args.seed)
    out = args.out or args.root / 'folds'
    write_fold_lists(folds, out)
    used = {clip for clips in folds for clip in clips}
    console = make_console()
    console.print(
        f'Labelled validation frames of {len(used)} clips in {", ".join(map(str, folders))}'
    )
    print_counts(labels, folds, console, args.task)
    left_out = [clip for clip in labels if clip not in used]
    if left_out:
        console.print(
            f'note: {len(left_out)} clips without labels are in no fold: {shorten(left_out)}'
        )
    console.print(f'Lists are in {out}; docs/data.md has a config that trains on one')


if __name__ == '__main__':
    sys.exit(main())
