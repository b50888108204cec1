"""Predictions of one or more runs as a page: scores, figures, pictures, nothing to load."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from abaw_mm.datasets.annotations import UNLABELLED, number_lines
from abaw_mm.datasets.crops.crop_folder import (
    CropFolder,
    list_crops,
)
from abaw_mm.datasets.frame_index import join_labels_and_crops
from abaw_mm.errors import shorten
from abaw_mm.evaluation.metrics.macro_f1 import (
    mean_f1,
    score_labels,
)
from abaw_mm.evaluation.predictions.postprocess import (
    Postprocess,
    expect_same_labels,
)
from abaw_mm.evaluation.predictions.predictions import (
    MAKE_AGAIN,
    Predictions,
)
from abaw_mm.version import __version__
from abaw_mm.visualization.report import figures as figures
from abaw_mm.visualization.report.calibration import (
    Calibration,
    calibrate,
)
from abaw_mm.visualization.report.clip_bootstrap import (
    DRAWS,
    confusion_per_clip,
    interval,
    resample_f1,
)
from abaw_mm.visualization.report.surest_mistakes import (
    confidence_of,
    locate_crops,
    surest_mistakes,
    thumbnails,
)

TEMPLATE = 'report.html.j2'
OPEN_CLIPS = 12  # timelines that are shown before one asks for the others


@dataclass(frozen=True)
class Pictures:
    """Where the crops of the predicted frames lie, and how many mistakes to show.

    Args:
        roots (list[CropFolder]): Of the crops.
        number (int): Thumbnails of a run.
    """

    roots: list[CropFolder]
    number: int = 24


@dataclass(frozen=True)
class ScoredRun:
    """Figures of the labelled frames of a run, in % but for counts and calibration.

    Attributes:
        results (Predictions): The labelled frames.
        scores (dict): As :func:`score_labels` gives them: what ``MacroF1`` prints.
        confusion (ndarray): (C, C) frames by label and prediction.
        precision, recall, f1 (ndarray): (C, ); 0 where a class is never predicted, or labelled.
        draws (ndarray): (D, ) macro-F1 of the bootstrap.
        f1_intervals (ndarray): (C, 2), 95 %.
        calibration (Calibration): Of the confidence.
    """

    results: Predictions
    scores: dict
    confusion: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    draws: np.ndarray
    f1_intervals: np.ndarray
    calibration: Calibration

    @property
    def macro_f1(self) -> float:
        """In %."""
        return self.scores['macro_f1']

    @property
    def interval(self) -> tuple[float, float]:
        """Of macro-F1, 95 %."""
        return interval(self.draws)

    @property
    def predicted(self) -> np.ndarray:
        """(C, ) frames that were taken for each class."""
        return self.confusion.sum(axis=0)

    @property
    def right(self) -> np.ndarray:
        """(F, ) bool."""
        return self.results.pred_label == self.results.gt_label


def score_run(results: Predictions, absent: str = 'zero') -> ScoredRun:
    """Score frames that all have a label; ``absent`` as of ``MacroF1``."""
    classes = results.classes
    per_clip = confusion_per_clip(results, len(classes))
    f1, support = resample_f1(per_clip[per_clip.any(axis=(1, 2))])
    confusion = per_clip.sum(axis=0)
    hits = confusion.diagonal()
    scores = score_labels(results.pred_label, results.gt_label, classes, absent)
    return ScoredRun(
        results,
        scores,
        confusion,
        precision=100 * hits / np.maximum(confusion.sum(axis=0), 1),
        recall=100 * hits / np.maximum(confusion.sum(axis=1), 1),
        f1=np.array([scores[f'f1_{name}'] for name in classes]),
        draws=100 * mean_f1(f1, support, absent),
        f1_intervals=100 * np.array([interval(column) for column in f1.T]),
        calibration=calibrate(confidence_of(results), results.pred_label == results.gt_label),
    )


def check_runs(runs: Sequence[Predictions], names: Sequence[str], classes: Sequence[str]) -> None:
    """Refuse runs that a page cannot compare.

    Args:
        runs: At least one.
        names: Of their files, for messages.
        classes: Names that they must have, in this order.

    Raises:
        ValueError: For other classes, frames or labels than expected, or frames without labels.
    """
    for run, name in zip(runs, names, strict=True):
        run.expect_classes(classes, name)
        if not np.any(run.gt_label != UNLABELLED):
            raise ValueError(
                f'{name}: got {len(run)} frames and no label, as of the test split, expected '
                'labelled ones, for a report compares predictions with labels; give predictions '
                f'of the validation set: {MAKE_AGAIN}'
            )
    expect_same_labels(runs, names)


def check_complete(
    run: Predictions,
    name: str,
    labels: dict[str, np.ndarray],
    roots: Sequence[CropFolder],
    start_index: int = 1,
) -> None:
    """Refuse predictions that lack frames, have others, or have other labels than annotations.

    Args:
        run: Predictions.
        name: Of their file, for messages.
        labels: Clip to labels (L, ), of ``read_annotation_folder``.
        roots: Where the crops lie; a frame is expected if it has a label and a crop.
        start_index: Number of a clip's first frame.

    Raises:
        ValueError: With what differs.
    """
    lines = number_lines(start_index, label=labels)
    index = join_labels_and_crops(lines, list_crops(roots, lines.clips))
    clip = index.clip.tolist()
    expected = dict(
        zip(zip(clip, index.frame_no.tolist(), strict=True), index['label'].tolist(), strict=True)
    )
    kept = run.take(np.flatnonzero(run.gt_label != UNLABELLED))
    got = dict(
        zip(
            zip(kept.clip.tolist(), kept.frame_no.tolist(), strict=True),
            kept.gt_label.tolist(),
            strict=True,
        )
    )
    for frames, what in (
        (expected.keys() - got.keys(), 'lacks {} of the {} labelled frames with a crop'),
        (got.keys() - expected.keys(), 'has {} frames beyond the {} labelled ones with a crop'),
        (
            {frame for frame, label in got.items() if expected.get(frame, label) != label},
            'has other labels for {} of the {} labelled frames with a crop',
        ),
    ):
        if frames:
            examples = [f'{clip}/{number}' for clip, number in sorted(frames)]
            raise ValueError(
                f'{name}: {what.format(len(frames), len(expected))}, such as {shorten(examples)}, '
                f'expected the frames and labels of the annotations; {MAKE_AGAIN}, or give the '
                '--ann-file and --data-root that were tested'
            )


def make_report(
    runs: Sequence[Predictions],
    names: Sequence[str],
    smoothing: Postprocess | None = None,
    pictures: Pictures | None = None,
    absent: str = 'zero',
) -> str:
    """The page. :func:`check_runs` has passed the runs.

    Args:
        runs: At least one; the first is what the others are compared with.
        names: Of the runs, each another.
        smoothing: Compared with the predictions as they are; None leaves it out.
        pictures: For thumbnails; None leaves them out, and the page says so.
        absent: What a class without a labelled frame does, see ``MacroF1``.

    Returns:
        str: HTML, with all that it needs.

    Raises:
        FileNotFoundError: If a labelled frame has no crop among the pictures.
        UnreadableFrameError: If a crop that is shown is damaged.
    """
    known = np.flatnonzero(runs[0].gt_label != UNLABELLED)
    owner = pictures and locate_crops(runs[0].take(known), pictures.roots)
    scored = [score_run(run.take(known), absent) for run in runs]
    # All frames take part in the smoothing, labelled ones in the scores.
    smoothed = [score_run(smoothing(run).take(known), absent) for run in runs] if smoothing else []
    after = smoothed or [None] * len(runs)
    first = scored[0]
    return (
        _environment()
        .get_template(TEMPLATE)
        .render(
            version=__version__,
            classes=first.results.classes,
            absent=absent,
            draws=DRAWS,
            runs=[
                _run(name, run, smooth, _mistakes(run, pictures, owner) if pictures else [])
                for name, run, smooth in zip(names, scored, after, strict=True)
            ],
            first=first,
            differences=[interval(run.draws - first.draws) for run in scored],
            smoothing=smoothing,
            pictures=pictures,
            unlabelled=len(runs[0]) - len(known),
            num_clips=len(np.unique(first.results.clip_id)),
            f1_figure=figures.draw_f1(
                first.results.classes,
                [run.f1 for run in scored],
                [run.f1_intervals for run in scored],
                names,
            ),
            tracks=[
                f'{name}{kind}'
                for name in names
                for kind in (('', ', smoothed') if smoothing else ('',))
            ],
            clips=_clips(names, scored, after),
            open_clips=OPEN_CLIPS,
            run_colours=figures.RUNS,
        )
    )


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters['points'] = lambda x: f'{x:.2f}'
    environment.filters['signed'] = lambda x: (
        f'{x:+.2f}'.replace('-', '\u2212') if round(x, 2) else '0.00'
    )
    environment.filters['count'] = lambda x: f'{x:,}'
    return environment


def _run(name: str, run: ScoredRun, smooth: ScoredRun | None, mistakes: list[dict]) -> dict:
    """What the page tells of a run alone."""
    classes = run.results.classes
    parts = {'as predicted': run.calibration}
    if smooth:
        parts['smoothed'] = smooth.calibration
    return dict(
        name=name,
        scored=run,
        smooth=smooth,
        change=smooth and interval(smooth.draws - run.draws),
        confusion=figures.draw_confusion(run.confusion, classes, f'Confusion matrix of {name}'),
        calibration=figures.draw_calibration(parts, f'Calibration of {name}'),
        mistakes=mistakes,
    )


def _mistakes(run: ScoredRun, pictures: Pictures, owner: np.ndarray) -> list[dict]:
    """The surest mistakes of a run; ``owner`` is what :func:`locate_crops` gives."""
    results = run.results
    rows = surest_mistakes(results, pictures.number)
    confidence = confidence_of(results)
    return [
        dict(
            picture=picture,
            clip=results.clips[results.clip_id[row]],
            frame=int(results.frame_no[row]),
            confidence=100 * float(confidence[row]),
            predicted=results.classes[results.pred_label[row]],
            labelled=results.classes[results.gt_label[row]],
        )
        for row, picture in zip(rows, thumbnails(results, rows, pictures.roots, owner), strict=True)
    ]


def _clips(
    names: Sequence[str], scored: Sequence[ScoredRun], smoothed: Sequence[ScoredRun | None]
) -> list[dict]:
    """Each clip with its timeline, the one with the most wrong frames, in %, first."""
    results = scored[0].results
    clips = []
    for clip_id in np.unique(results.clip_id):
        rows = slice(*np.searchsorted(results.clip_id, [clip_id, clip_id + 1]))
        every = [run for pair in zip(scored, smoothed, strict=True) for run in pair if run]
        name = results.clips[clip_id]
        clips.append(
            dict(
                name=name,
                frames=rows.stop - rows.start,
                first=int(results.frame_no[rows][0]),
                last=int(results.frame_no[rows][-1]),
                accuracy=[
                    (
                        run_name,
                        100 * float(run.right[rows].mean()),
                        100 * float(smooth.right[rows].mean()) if smooth else None,
                    )
                    for run_name, run, smooth in zip(names, scored, smoothed, strict=True)
                ],
                mistake=_commonest_mistake(scored[0], rows),
                columns=(
                    results.frame_no[rows],
                    results.gt_label[rows],
                    [run.results.pred_label[rows] for run in every],
                    [confidence_of(run.results)[rows] for run in scored],
                ),
            )
        )
    clips.sort(key=lambda clip: (np.mean([of_run[1] for of_run in clip['accuracy']]), clip['name']))
    for clip in clips:
        clip['figure'] = figures.draw_clip(
            *clip.pop('columns'), results.classes, f'Timeline of {clip["name"]}'
        )
    return clips


def _commonest_mistake(run: ScoredRun, rows: slice) -> dict | None:
    """What was most often taken for what in a clip."""
    label, pred = run.results.gt_label[rows], run.results.pred_label[rows]
    pairs, counts = np.unique(np.stack([label, pred])[:, label != pred], axis=1, return_counts=True)
    if not len(counts):
        return None
    at = counts.argmax()
    classes = run.results.classes
    return dict(
        labelled=classes[pairs[0, at]], predicted=classes[pairs[1, at]], frames=int(counts[at])
    )
