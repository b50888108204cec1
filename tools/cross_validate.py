#!/usr/bin/env python
"""Train and score a config on all folds of its data.

    python tools/cross_validate.py configs/res50_srp_affwild2.py --work-dir work_dirs/folds

The clips of the training and the validation set are split as by make_folds.py. Each fold is
predicted by the last checkpoint of a training on the others. WORK_DIR/out_of_fold.npz has the
predictions of all frames, WORK_DIR/scores.json their score and that of each fold. With --test-set,
the models of all folds also predict the challenge's list of frames; WORK_DIR/test_set.npz has the
mean of their probabilities. The same command continues after an interruption.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import MMLogger
from rich.console import Console
from rich.progress import Progress

from abaw_mm.apis.config import find_config
from abaw_mm.cli import (
    CommandParser,
    absent_argument,
    cfg_options_argument,
    fold_arguments,
    make_console,
    make_table,
    report_errors,
)
from abaw_mm.datasets.verify.read_download import require_annotations
from abaw_mm.errors import MissingFileError
from abaw_mm.evaluation.predictions.score_tracks import SCORES
from abaw_mm.files import write_json
from abaw_mm.paper.cross_validation import (
    CrossValidation,
    find_track,
    make_cross_validation,
    merge_folds,
    score_folds,
)
from abaw_mm.paper.sweep import CommandError
from abaw_mm.paper.work_dir import WorkDir

REPO = Path(__file__).resolve().parents[1]


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        __doc__,
        absent_argument(),
        fold_arguments(),
        cfg_options_argument('train_cfg.max_iters=4000'),
    )
    parser.add_argument('config', help='path of the config, or the name of one of ours')
    parser.add_argument('--work-dir', required=True, help='folder for all results')
    parser.add_argument('--nproc', type=int, default=1, help='processes per training; default: 1')
    parser.add_argument('--data-root', help='data root; default: that of the config')
    parser.add_argument(
        '--test-set',
        type=Path,
        metavar='LIST',
        help="the challenge's list of frames, to be predicted by the models of all folds",
    )
    return parser.parse_args(argv)


def run(validation: CrossValidation) -> list[str]:
    """Train and predict all folds behind a progress bar; return the errors of those that failed."""
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task('preparing', total=None)
        for at in validation.run():
            bar.update(task, completed=at.done, total=at.total, description=at.doing)
            if at.finished:
                bar.console.print(at.finished, highlight=False, markup=False)
    failures = ((name, validation.work_dir.read_failure(name, 0)) for name in validation.names)
    return [
        f'{name}: {failure["error"]} ({failure["log"]})' for name, failure in failures if failure
    ]


def predict_test_set(validation: CrossValidation, path: Path) -> str:
    """Predict the test set behind a progress bar; return the error if it failed."""
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task('test set', total=None)
        try:
            for at in validation.predict_test_set(path):
                bar.update(task, completed=at.done, total=at.total, description=at.doing)
        except CommandError as error:
            return f'{error} ({error.log})'
    return ''


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Run what is not done yet, and print the scores."""
    args = parse_args(argv)
    args.config = Path(find_config(args.config))
    cfg = Config.fromfile(args.config)
    cfg.merge_from_dict(args.cfg_options or {})
    data_root, task = args.data_root or cfg.train_dataloader.dataset.data_root, find_track(cfg)
    if args.test_set and not args.test_set.exists():
        raise MissingFileError(f'--test-set: {args.test_set}: no such file; correct the path')
    MMLogger.get_instance('cross_validate', log_level='WARNING')  # each run has its own log
    validation = make_cross_validation(
        REPO,
        WorkDir(args.work_dir, [SCORES[task][0]]),
        args.config,
        args.ann_dir or require_annotations(Path(data_root), task=task),
        args.folds,
        args.seed,
        args.nproc,
        args.data_root,
        args.cfg_options,
    )
    failures = run(validation)
    if failures:
        print(*failures, sep='\n', file=sys.stderr)
        return 1
    folds = validation.read_predictions()
    scores = score_folds(list(folds.values()), args.absent)
    folder = validation.work_dir.path
    merge_folds(list(folds.values()), args.config.stem).write(folder / 'out_of_fold.npz')
    write_json(str(folder / 'scores.json'), scores)
    key, title, digits = SCORES[task]
    rows = [
        (name, len(fold.clips), len(fold), f'{score:{digits}}')
        for (name, fold), score in zip(folds.items(), scores['folds'], strict=True)
    ]
    console = make_console()
    console.print(make_table(('fold', 'clips', 'frames', title), rows))
    console.print(
        f'{title} of all frames together {scores["all"][key]:{digits}}; of the folds '
        f'{scores["mean"]:{digits}} ± {scores["std"]:{digits}} (mean and standard deviation)'
    )
    console.print(f'{folder / "out_of_fold.npz"}, {folder / "scores.json"}')
    if args.test_set:
        error = predict_test_set(validation, args.test_set)
        if error:
            print(f'--test-set: {error}', file=sys.stderr)
            return 1
        mean = validation.average_test_set()
        mean.write(folder / 'test_set.npz')
        console.print(f'{folder / "test_set.npz"}: {len(mean)} frames, mean of {args.folds} models')
    return 0


if __name__ == '__main__':
    sys.exit(main())
