#!/usr/bin/env python
"""Score a predictions file on labelled frames with a crop, and on all labelled frames.

    python tools/analysis_tools/score_predictions.py predictions.npz \\
        --ann-file data/affwild2/annotations/EXPR_Recognition_Challenge/Validation_Set

Both figures are found in publications. Frames without a crop are filled as by
tools/make_submission.py. Without --ann-file only the first figure is known. --csv DIR writes the
confusion matrix and the counts of each clip.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
from rich.table import Table

from abaw_mm.cli import (
    CommandParser,
    absent_argument,
    fill_arguments,
    json_argument,
    make_console,
    make_table,
    report_errors,
    start_index_argument,
)
from abaw_mm.datasets.annotations import (
    number_lines,
    read_annotation_folder,
    read_clip_names,
    read_multi_task,
)
from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.score_predictions import Scores, score_predictions
from abaw_mm.evaluation.predictions.score_tracks import score_track
from abaw_mm.evaluation.submission.fill_tracks import make_filler
from abaw_mm.evaluation.submission.gap_filler import GapFiller
from abaw_mm.files import atomic_write, write_json
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import UNLABELLED
from abaw_mm.visualization.report.clip_bootstrap import confusion_per_clip


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        __doc__, fill_arguments(), start_index_argument(), absent_argument(), json_argument()
    )
    parser.add_argument('predictions', help='.npz written by tools/test.py --out')
    parser.add_argument(
        '--ann-file', nargs='+', metavar='DIR', help='folders of annotations of the tested set'
    )
    parser.add_argument('--clips', help='file with one clip per line: the fold that was tested')
    parser.add_argument(
        '--csv',
        type=Path,
        metavar='DIR',
        help='folder for clips.csv and confusion.csv, of the labelled frames with a crop',
    )
    args = parser.parse_args(argv)
    needs = dict(clips=args.clips, empty_clip=args.empty_clip, fill=args.fill != 'interpolate')
    for name, is_given in needs.items():
        if is_given and not args.ann_file:
            flag = f'--{name.replace("_", "-")}'
            parser.error(f'{flag}: has no effect without --ann-file; give the annotations')
    return args


def make_score_table(scores: Scores, classes: Sequence[str]) -> Table:
    """Make a table with both figures side by side."""
    parts = {'with a crop': scores.with_crop}
    if scores.all_labelled is not None:
        parts['all labelled'] = scores.all_labelled
    header = ['F1 (%)']
    for name in parts:
        header += [name, 'frames']
    rows = []
    for name in classes:
        cells = [(f'{x[f"f1_{name}"]:.2f}', x[f'support_{name}']) for x in parts.values()]
        rows.append([name, *sum(cells, ())])
    totals = [sum(x[f'support_{name}'] for name in classes) for x in parts.values()]
    for key, name in (('macro_f1', 'macro-F1'), ('accuracy', 'accuracy')):
        cells = [(f'{x[key]:.2f}', n) for x, n in zip(parts.values(), totals, strict=True)]
        rows.append([name, *sum(cells, ())])
    return make_table(header, rows)


def write_csv(predictions: Predictions, folder: Path) -> None:
    """Write the confusion matrix, and for each clip its accuracy and its counts per class."""
    known = predictions.take(predictions['gt_label'] != UNLABELLED)
    if not len(known):
        raise InvalidValueError(
            '--csv: got predictions without labels, expected those of an annotated set'
        )
    classes = known.classes
    per_clip = confusion_per_clip(known, len(classes))
    kinds = ('labelled', 'predicted', 'correct')
    clips = [['clip', 'frames', 'accuracy', *(f'{k}_{name}' for k in kinds for name in classes)]]
    for clip, counts in zip(known.clips, per_clip, strict=True):
        frames = int(counts.sum())
        if frames:
            parts = np.concatenate([counts.sum(1), counts.sum(0), counts.diagonal()]).tolist()
            clips.append([clip, frames, f'{100 * counts.trace() / frames:.2f}', *parts])
    confusion = [['label', *(f'predicted_{name}' for name in classes)]]
    confusion += [[name, *row] for name, row in zip(classes, per_clip.sum(0).tolist(), strict=True)]
    for name, rows in (('clips', clips), ('confusion', confusion)):
        with (
            atomic_write(folder / f'{name}.csv') as draft,
            open(draft, 'w', newline='', encoding='utf-8') as file,
        ):
            csv.writer(file).writerows(rows)


def read_track(args: argparse.Namespace, task: str) -> FrameTable | None:
    """Read the annotations of the VA, the AU or the multi-task track."""
    if not args.ann_file:
        return None
    clips = read_clip_names(args.clips, '--clips')
    if task == 'mtl':
        if len(args.ann_file) > 1:
            raise InvalidValueError(
                f'--ann-file: got {len(args.ann_file)} files for the track {task!r}, expected one'
            )
        return read_multi_task(args.ann_file[0], clips=clips)
    values = read_annotation_folder(args.ann_file, clips, task)
    return number_lines(args.start_index, **{task: values})


def score_expressions(args: argparse.Namespace, predictions: Predictions) -> tuple[Scores, Table]:
    """Score expressions; returns the scores and their table."""
    labels = None
    if args.ann_file:
        labels = read_annotation_folder(args.ann_file, read_clip_names(args.clips, '--clips'))
    filler = GapFiller(args.fill, args.start_class, args.empty_clip)
    scores = score_predictions(predictions, labels, filler, args.start_index, args.absent)
    return scores, make_score_table(scores, predictions.classes)


def score_other(args: argparse.Namespace, predictions: Predictions) -> tuple[Scores, Table]:
    """Score another track than that of expressions; returns the scores and their table."""
    for flag, is_given in (
        ('--csv', args.csv is not None),
        ('--absent', args.absent != 'zero' and predictions.task == 'va'),
    ):
        if is_given:
            raise InvalidValueError(
                f'{flag}: got it for predictions of the track {predictions.task!r}, where it has '
                'no effect; remove it'
            )
    filler = make_filler(predictions.task, args.fill, args.start_class, args.empty_clip)
    annotations = read_track(args, predictions.task)
    scores = score_track(predictions, annotations, filler, args.absent)
    parts = {'with a crop': scores.with_crop}
    if scores.all_labelled is not None:
        parts['all labelled'] = scores.all_labelled
    rows = []
    for name, value in scores.with_crop.items():
        cells = [part[name] for part in parts.values()]
        if isinstance(value, float):
            cells = [f'{x:.4f}' for x in cells]
        rows.append((name, *cells))
    return scores, make_table(('score', *parts), rows)


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Print the figures."""
    args = parse_args(argv)
    predictions = Predictions.read(args.predictions)
    score = score_expressions if predictions.task == 'expr' else score_other
    scores, table = score(args, predictions)
    console = make_console()
    console.print(f'source: {predictions.source}')
    console.print(table)
    if scores.all_labelled is None:
        console.print('note: --ann-file adds the figure on all labelled frames')
    else:
        console.print(
            f'{scores.num_filled} labelled frames without a prediction, filled by {args.fill!r}'
        )
    if scores.empty_clips:
        console.print(f'note: clips without any prediction: {shorten(scores.empty_clips)}')
    if args.json:
        source = {name: getattr(predictions, name) for name in ('config', 'sha256', 'steps')}
        write_json(args.json, asdict(scores) | source)
    if args.csv:
        write_csv(predictions, args.csv)


if __name__ == '__main__':
    sys.exit(main())
