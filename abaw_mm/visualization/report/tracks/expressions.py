"""The part of the report about expressions."""

from collections.abc import Sequence

import numpy as np

from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.tasks import EXPRESSION
from abaw_mm.visualization.report import figures
from abaw_mm.visualization.report.clip_bootstrap import DRAWS
from abaw_mm.visualization.report.page import format_number, render_page
from abaw_mm.visualization.report.tracks.mistakes import Pictures, find_mistakes, show_mistakes
from abaw_mm.visualization.report.tracks.part import (
    OPEN_CLIPS,
    Part,
    count_frames,
    describe_run,
    make_interval_row,
    make_row,
    select_annotated,
)
from abaw_mm.visualization.report.tracks.scored_run import ScoredRun, score_run

TEMPLATE = 'expressions.html.j2'


def make_expression_part(
    runs: Sequence[Predictions],
    names: Sequence[str],
    smoothed: Sequence[Predictions],
    smoothing: Postprocess | None,
    pictures: Pictures | None,
    absent: str,
) -> tuple[Part, list[ScoredRun]]:
    """Render what the page shows of expressions; the arguments are those of ``make_report``.

    Args:
        runs (Sequence[Predictions]): Runs of the same frames, some of which have a label.
        names (Sequence[str]): Names of the runs.
        smoothed (Sequence[Predictions]): The runs after ``smoothing``, or none.
        smoothing (Postprocess, optional): Postprocessing to compare with.
        pictures (Pictures, optional): Settings of the pictures of mistakes.
        absent (str): Treatment of classes without a labelled frame.

    Returns:
        tuple: The part, and the scores of each run.
    """
    scored = [score_run(select_annotated(run, EXPRESSION), absent) for run in runs]
    # Smoothing uses all frames, scores use the labelled ones.
    after: list[ScoredRun | None] = [
        score_run(select_annotated(run, EXPRESSION), absent) for run in smoothed
    ] or [None] * len(runs)
    first = scored[0]
    frames, classes = first.frames, first.frames.classes
    num_clips = len(np.unique(frames.clip_id))
    mistakes = [_show_mistakes(run, pictures) if pictures else [] for run in scored]
    kinds = ('', ', smoothed') if smoothing else ('',)
    body = render_page(
        TEMPLATE,
        classes=classes,
        absent=absent,
        draws=DRAWS,
        names=names,
        runs=[_show_run(*x, num_clips) for x in zip(names, scored, after, mistakes, strict=True)],
        rows=_compare(scored, num_clips),
        smoothing=smoothing,
        pictures=pictures,
        num_clips=num_clips,
        f1_figure=figures.draw_f1(
            classes, [run.f1 for run in scored], [run.f1_intervals for run in scored], names
        ),
        tracks=[f'{name}{kind}' for name in names for kind in kinds],
        clips=_show_clips(names, scored, after),
        open_clips=OPEN_CLIPS,
        run_colours=figures.RUNS,
    )
    sections = [
        ('scores', 'Scores'),
        ('classes', 'Classes'),
        ('confusion', 'Confusion'),
        *([('smoothing', 'Smoothing')] if smoothing else []),
        ('calibration', 'Calibration'),
        ('mistakes', 'Confident mistakes'),
        ('clips', 'Clips'),
        ('method', 'Method'),
    ]
    score = 'macro-F1 ' + ', '.join(format_number(run.macro_f1) for run in scored)
    facts = count_frames(frames, len(runs[0]), f'{len(classes)} classes')
    return Part('Expressions', score, facts, sections, body), scored


def _compare(scored: Sequence[ScoredRun], num_clips: int) -> list[dict]:
    """Make the rows of a table of the scores of runs, in %."""
    rows = [
        make_row(name, [run.f1[at] for run in scored])
        for at, name in enumerate(scored[0].frames.classes)
    ]
    rows.append(make_row('macro-F1', [run.macro_f1 for run in scored], total=True))
    rows += [make_interval_row([run.draws for run in scored])] if num_clips > 1 else []
    return [*rows, make_row('accuracy', [run.scores['accuracy'] for run in scored])]


def _show_run(
    name: str, run: ScoredRun, smooth: ScoredRun | None, mistakes: list[dict], num_clips: int
) -> dict:
    """Collect what the page shows of a single run."""
    classes = run.frames.classes
    parts = {'as predicted': run.calibration}
    if smooth:
        parts['smoothed'] = smooth.calibration
    low, high = map(format_number, run.interval)
    return dict(
        describe_run(name, run.frames),
        scored=run,
        facts=[
            *([('95 % interval', f'{low} to {high}')] if num_clips > 1 else []),
            ('accuracy', f'{format_number(run.scores["accuracy"])} %'),
            ('calibration error', f'{format_number(100 * run.calibration.error)} %'),
        ],
        change=_compare([run, smooth], num_clips) if smooth else [],
        confusion=figures.draw_confusion(run.confusion, classes, f'Confusion matrix of {name}'),
        calibration=figures.draw_calibration(parts, f'Calibration of {name}'),
        mistakes=mistakes,
    )


def _show_mistakes(run: ScoredRun, pictures: Pictures) -> list[dict]:
    """Collect the most confident mistakes of a run with their pictures."""
    frames, confidence = run.frames, run.frames.confidence
    rows = find_mistakes(frames, pictures.number)
    predicted, labelled = frames['pred_label'], frames['gt_label']
    return show_mistakes(
        frames,
        rows,
        [f'{frames.classes[predicted[row]]} {100 * confidence[row]:.1f} %' for row in rows],
        [f'labelled {frames.classes[labelled[row]]}' for row in rows],
        pictures,
    )


def _show_clips(
    names: Sequence[str], scored: Sequence[ScoredRun], smoothed: Sequence[ScoredRun | None]
) -> list[dict]:
    """Collect each clip with its accuracies, in %, and its timeline, the least accurate first."""
    frames = scored[0].frames
    shown = []
    for clip, rows in zip(frames.clips, frames.rows_by_clip(), strict=True):
        frame_no = frames.frame_no[rows]
        if not len(frame_no):
            continue
        accuracy = [
            (
                name,
                100 * float(run.is_correct[rows].mean()),
                100 * float(smooth.is_correct[rows].mean()) if smooth else None,
            )
            for name, run, smooth in zip(names, scored, smoothed, strict=True)
        ]
        every = [run for pair in zip(scored, smoothed, strict=True) for run in pair if run]
        figure = figures.draw_clip(
            frame_no,
            frames['gt_label'][rows],
            [run.frames['pred_label'][rows] for run in every],
            [run.frames.confidence[rows] for run in scored],
            frames.classes,
            f'Timeline of {clip}',
        )
        shown.append(
            dict(
                name=clip,
                frames=len(frame_no),
                first=int(frame_no[0]),
                last=int(frame_no[-1]),
                accuracy=accuracy,
                mistake=_find_common_mistake(scored[0], rows),
                figure=figure,
            )
        )
    return sorted(shown, key=lambda clip: (np.mean([x[1] for x in clip['accuracy']]), clip['name']))


def _find_common_mistake(run: ScoredRun, rows: slice | np.ndarray) -> dict | None:
    """Find the most frequent confusion of two classes in a clip."""
    label, pred = run.frames['gt_label'][rows], run.frames['pred_label'][rows]
    pairs, counts = np.unique(np.stack([label, pred])[:, label != pred], axis=1, return_counts=True)
    if not len(counts):
        return None
    at = counts.argmax()
    classes = run.frames.classes
    return dict(
        labelled=classes[pairs[0, at]], predicted=classes[pairs[1, at]], frames=int(counts[at])
    )
