#!/usr/bin/env python
"""Deal the clips of a data set into folds for cross-validation.

    python tools/dataset_converters/make_folds.py data/affwild2

It writes data/affwild2/folds/fold0of5_train.txt, fold0of5_val.txt, ...: a clip a line, as `clips`
of the dataset reads them. Clips of the same raw video stay together; train and validation set are
dealt together. docs/data.md has a config that trains on a fold.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from abaw_mm.cli import report_errors
from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.datasets.annotations import (
    raw_video,
    read_annotation_folder,
)
from abaw_mm.datasets.folds import split_folds
from abaw_mm.datasets.verify import find_annotations
from abaw_mm.errors import shorten
from abaw_mm.files import atomic_write

PLAIN_WIDTH = 150  # columns of a table that goes to a file


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.split('\n')[0],
        epilog='exit status: 0; 1 after an error; 2 for wrong flags',
    )
    parser.add_argument('root', type=Path, help='data root, such as data/affwild2')
    parser.add_argument('--folds', type=int, default=5, help='number of folds; default: 5')
    parser.add_argument(
        '--seed', type=int, default=0, help='same seed, same folds; it decides between equals only'
    )
    parser.add_argument('--train-only', action='store_true', help='leave the validation set out')
    parser.add_argument(
        '--ann-dir',
        type=Path,
        nargs='+',
        metavar='DIR',
        help='folders of annotations; default: those of the latest edition under the data root',
    )
    parser.add_argument('--out', type=Path, help='folder of the lists; default: ROOT/folds')
    return parser.parse_args(argv)


def find_folders(args: argparse.Namespace) -> list[Path]:
    """Folders of annotations to deal."""
    if args.ann_dir:
        return args.ann_dir
    found = find_annotations(args.root)
    wanted = ['train'] if args.train_only else ['train', 'val']
    missing = [split for split in wanted if split not in found]
    if missing:
        raise FileNotFoundError(
            f'{args.root}: got no annotations of {shorten(missing)}, expected such as '
            'annotations/EXPR_Recognition_Challenge/Train_Set; give the data root, or the folders '
            'by --ann-dir'
        )
    return [found[split] for split in wanted]


def show(labels: dict[str, np.ndarray], folds: list[list[str]], console: Console) -> None:
    """Print what each fold validates on: videos, clips, labelled frames of each class."""
    table = Table(box=box.MARKDOWN)
    table.add_column('fold')
    for name in ('videos', 'clips', *EXPRESSIONS):
        table.add_column(name, justify='right')
    for i, clips in enumerate(folds):
        label = np.concatenate([labels[clip] for clip in clips])
        counts = np.bincount(label[label >= 0], minlength=len(EXPRESSIONS))
        numbers = (len({raw_video(clip) for clip in clips}), len(clips), *counts)
        table.add_row(str(i), *map(str, numbers))
        absent = [EXPRESSIONS[c] for c in np.flatnonzero(counts == 0)]
        if absent:
            console.print(f'note: fold {i} has no frame of {shorten(absent)}: expect no F1 of it')
    console.print(table)


def main(argv: Sequence[str] | None = None) -> int:
    """Write the lists, print the counts."""
    args = parse_args(argv)
    folders = find_folders(args)
    labels = read_annotation_folder(folders)
    folds = split_folds(labels, args.folds, args.seed)
    dealt = sorted(clip for clips in folds for clip in clips)
    out = args.out or args.root / 'folds'
    for i, clips in enumerate(folds):
        others = [clip for clip in dealt if clip not in set(clips)]
        for name, part in (('train', others), ('val', clips)):
            with atomic_write(out / f'fold{i}of{args.folds}_{name}.txt') as draft:
                draft.write_text('\n'.join([*part, '']), encoding='utf-8')
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    console = Console(width=width, soft_wrap=True, markup=False, highlight=False)
    console.print(
        f'Labelled frames to validate on, of {len(dealt)} clips in {", ".join(map(str, folders))}'
    )
    show(labels, folds, console)
    left_out = [clip for clip in labels if clip not in set(dealt)]
    if left_out:
        console.print(
            f'note: {len(left_out)} clips without a label are in no fold: {shorten(left_out)}'
        )
    console.print(f'The lists are in {out}; docs/data.md has a config that trains on one')
    return 0


if __name__ == '__main__':
    sys.exit(report_errors(main)())
