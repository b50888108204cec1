"""The part of the report about action units."""

from collections.abc import Sequence

import numpy as np

from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.tasks import ACTION_UNIT, ACTION_UNITS
from abaw_mm.visualization.report.clip_bootstrap import DRAWS, interval
from abaw_mm.visualization.report.figures import (
    RUNS,
    draw_cooccurrence,
    draw_f1,
    draw_unit_clip,
)
from abaw_mm.visualization.report.page import format_number, render_page
from abaw_mm.visualization.report.tracks.mistakes import (
    Pictures,
    find_unit_mistakes,
    show_mistakes,
)
from abaw_mm.visualization.report.tracks.part import (
    OPEN_CLIPS,
    Part,
    count_frames,
    describe_run,
    make_interval_row,
    make_row,
    select_annotated,
)
from abaw_mm.visualization.report.tracks.scored_units import ScoredUnits, score_units_run

TEMPLATE = 'units.html.j2'


def make_unit_part(
    runs: Sequence[Predictions],
    names: Sequence[str],
    smoothed: Sequence[Predictions],
    smoothing: Postprocess | None,
    pictures: Pictures | None,
    absent: str,
) -> tuple[Part, list[ScoredUnits]]:
    """Render what the page shows of action units.

    Args:
        runs (Sequence[Predictions]): Runs of the same frames, some of which are annotated.
        names (Sequence[str]): Names of the runs.
        smoothed (Sequence[Predictions]): The runs after ``smoothing``, or none.
        smoothing (Postprocess, optional): Postprocessing to compare with.
        pictures (Pictures, optional): Settings of the pictures of mistakes.
        absent (str): Treatment of units that are present in no frame, see ``ActionUnitF1``.

    Returns:
        tuple: The part, and the scores of each run.
    """
    scored = [score_units_run(select_annotated(run, ACTION_UNIT), absent) for run in runs]
    after = [score_units_run(select_annotated(run, ACTION_UNIT), absent) for run in smoothed]
    frames = scored[0].frames
    num_clips = len(np.unique(frames.clip_id))
    body = render_page(
        TEMPLATE,
        units=ACTION_UNITS,
        absent=absent,
        draws=DRAWS,
        names=names,
        runs=[
            _show_run(name, run, pictures, num_clips)
            for name, run in zip(names, scored, strict=True)
        ],
        rows=_compare(scored, num_clips),
        smoothing=smoothing,
        changes=[_compare(pair, num_clips) for pair in zip(scored, after, strict=True)]
        if smoothing
        else [],
        pictures=pictures,
        num_clips=num_clips,
        f1_figure=draw_f1(
            ACTION_UNITS, [run.f1 for run in scored], [run.f1_intervals for run in scored], names
        ),
        clips=_show_clips(names, scored),
        open_clips=OPEN_CLIPS,
        run_colours=RUNS,
    )
    sections = [
        ('au-scores', 'Scores'),
        ('au-units', 'Units'),
        ('au-together', 'Co-occurrence'),
        *([('au-smoothing', 'Smoothing')] if smoothing else []),
        ('au-mistakes', 'Confident mistakes'),
        ('au-clips', 'Clips'),
        ('au-method', 'Method'),
    ]
    score = 'mean F1 ' + ', '.join(format_number(run.mean_f1) for run in scored)
    facts = count_frames(frames, len(runs[0]), f'{len(ACTION_UNITS)} action units')
    return Part('Action units', score, facts, sections, body), scored


def _compare(scored: Sequence[ScoredUnits], num_clips: int) -> list[dict]:
    """Make the rows of a table of the F1 of runs, in %."""
    rows = [make_row(name, [run.f1[at] for run in scored]) for at, name in enumerate(ACTION_UNITS)]
    rows.append(make_row('mean F1', [run.mean_f1 for run in scored], total=True))
    rows += [make_interval_row([run.draws for run in scored])] if num_clips > 1 else []
    balanced = [run.scores['balanced_accuracy'] for run in scored]
    return [*rows, make_row('balanced accuracy', balanced)]


def _show_run(name: str, run: ScoredUnits, pictures: Pictures | None, num_clips: int) -> dict:
    """Collect what the page shows of a single run."""
    low, high = map(format_number, interval(run.draws))
    own = sorted(set(run.thresholds))
    return dict(
        describe_run(name, run.frames),
        scored=run,
        prevalence=100 * run.present.mean(axis=0),
        predicted=100 * run.predicted.mean(axis=0),
        facts=[
            *([('95 % interval', f'{low} to {high}')] if num_clips > 1 else []),
            ('balanced accuracy', f'{format_number(run.scores["balanced_accuracy"])} %'),
            ('threshold', f'{own[0]:g}' if len(own) == 1 else 'one for each unit'),
        ],
        together=draw_cooccurrence(
            dict(annotated=run.present, predicted=run.predicted),
            ACTION_UNITS,
            f'Co-occurrence of action units in {name}',
        ),
        mistakes=_show_mistakes(run, pictures) if pictures else [],
    )


def _show_mistakes(run: ScoredUnits, pictures: Pictures) -> list[dict]:
    """Collect the most confident mistakes of a run with their pictures."""
    rows, units = find_unit_mistakes(run.frames, run.thresholds, pictures.number)
    score = run.frames['pred_au'][rows, units]
    return show_mistakes(
        run.frames,
        rows,
        [f'{ACTION_UNITS[u]} {100 * p:.1f} %' for u, p in zip(units, score, strict=True)],
        ['present' if run.present[at] else 'not present' for at in zip(rows, units, strict=True)],
        pictures,
    )


def _show_clips(names: Sequence[str], scored: Sequence[ScoredUnits]) -> list[dict]:
    """Collect each clip with its share of right units, in %, and its timeline, the least first."""
    frames = scored[0].frames
    shown = []
    for clip, rows in zip(frames.clips, frames.rows_by_clip(), strict=True):
        frame_no = frames.frame_no[rows]
        if not len(frame_no):
            continue
        wrong = scored[0].is_wrong[rows].sum(axis=0)
        worst = int(wrong.argmax())
        missed = int(
            np.count_nonzero(scored[0].present[rows, worst] & scored[0].is_wrong[rows, worst])
        )
        shown.append(
            dict(
                name=clip,
                frames=len(frame_no),
                first=int(frame_no[0]),
                last=int(frame_no[-1]),
                right=[
                    (name, 100 * float(1 - run.is_wrong[rows].mean()))
                    for name, run in zip(names, scored, strict=True)
                ],
                worst=dict(
                    unit=ACTION_UNITS[worst], missed=missed, added=int(wrong[worst]) - missed
                ),
                figure=draw_unit_clip(
                    frame_no,
                    scored[0].present[rows],
                    [run.predicted[rows] for run in scored],
                    ACTION_UNITS,
                    f'Action units of {clip} over its frames',
                ),
            )
        )
    return sorted(shown, key=lambda clip: (np.mean([x[1] for x in clip['right']]), clip['name']))
