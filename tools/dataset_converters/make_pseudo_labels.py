#!/usr/bin/env python
"""Label the frames labelled -1 with a model's predictions, in copies of the annotation files.

    python tools/dataset_converters/make_pseudo_labels.py TRAIN_SET --list unlabelled.txt
    python tools/test.py CONFIG CHECKPOINT --out unlabelled.npz \\
        --cfg-options test_dataloader.dataset.ann_file=unlabelled.txt
    python tools/dataset_converters/make_pseudo_labels.py TRAIN_SET --predictions unlabelled.npz \\
        --threshold 0.9 --out TRAIN_SET_pseudo

TRAIN_SET is the folder of official annotations, which is not changed. See docs/data.md.
"""

import argparse
import os
import sys
from collections.abc import Sequence

import numpy as np

from abaw_mm.cli import CommandParser, report_errors, start_index_argument
from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.datasets.annotations import LIST_HEADER, LIST_TEMPLATE
from abaw_mm.datasets.pseudo_labels import list_unlabelled, write_pseudo_labels
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.pseudo_labels import choose_pseudo_labels
from abaw_mm.files import open_atomic


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, start_index_argument())
    parser.add_argument('annotations', help='folder of official annotation files')
    parser.add_argument(
        '--list', metavar='FILE', help='only list the frames labelled -1, to be predicted'
    )
    parser.add_argument('--predictions', metavar='FILE', help='.npz of these frames')
    parser.add_argument('--out', metavar='DIR', help='folder of the new annotation files')
    parser.add_argument(
        '--threshold',
        type=float,
        default=0.9,
        help='probability from which a class is used (default: %(default)s)',
    )
    parser.add_argument(
        '--debias',
        type=float,
        default=0.0,
        metavar='POWER',
        help='divide probabilities by their mean over these frames to this power, so that frequent '
        'classes are not reinforced; 0-1, default: 0, unchanged',
    )
    args = parser.parse_args(argv)
    if bool(args.list) == bool(args.predictions) or bool(args.out) != bool(args.predictions):
        parser.error('expected --list FILE, or --predictions FILE and --out DIR')
    return args


def write_list(args: argparse.Namespace) -> None:
    """Write the frames labelled -1 in the format of the challenge's list."""
    frames = list_unlabelled(args.annotations, args.start_index)
    with open_atomic(args.list, 'w', encoding='utf-8') as file:
        file.write(f'{LIST_HEADER}\n')
        for clip, number in zip(frames.clip.tolist(), frames.frame_no.tolist(), strict=True):
            file.write(f'{clip}/{LIST_TEMPLATE.format(number)},\n')
    print(f'{args.list}: {len(frames)} frames of {len(set(frames.clip_id.tolist()))} clips')


def write_labels(args: argparse.Namespace) -> None:
    """Write the copies with pseudo-labels."""
    unlabelled = list_unlabelled(args.annotations, args.start_index)
    predictions = Predictions.read(args.predictions)
    predictions.check_task(('expr',), args.predictions)
    predictions.check_classes(EXPRESSIONS, args.predictions)
    rows = predictions.find(unlabelled)
    frames = predictions.take(np.sort(rows[rows >= 0]))
    label = choose_pseudo_labels(frames, args.threshold, args.debias)
    counts = np.bincount(label[label >= 0], minlength=len(EXPRESSIONS)).tolist()
    provenance = dict(
        annotations=os.path.abspath(args.annotations),
        config=predictions.config,
        sha256=predictions.sha256,
        steps=list(predictions.steps),
        threshold=args.threshold,
        debias=args.debias,
        classes=dict(zip(EXPRESSIONS, counts, strict=True)),
    )
    filled = write_pseudo_labels(
        args.annotations, args.out, frames.with_columns(label=label), provenance, args.start_index
    )
    print(
        f'{args.out}: {filled} of {len(unlabelled)} lines labelled -1 have a pseudo-label; '
        f'{len(unlabelled) - len(frames)} have no prediction, {len(frames) - filled} one below '
        f'{args.threshold:g}'
    )
    print('  '.join(f'{name} {n}' for name, n in zip(EXPRESSIONS, counts, strict=True)))


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Write the list or the annotation files."""
    args = parse_args(argv)
    if args.list:
        write_list(args)
    else:
        write_labels(args)


if __name__ == '__main__':
    sys.exit(main())
