"""The part of the report about valence and arousal."""

from collections.abc import Sequence

import numpy as np

from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.tasks import AFFECTS, VALENCE_AROUSAL
from abaw_mm.visualization.report.clip_bootstrap import DRAWS, interval
from abaw_mm.visualization.report.figures import RUNS
from abaw_mm.visualization.report.page import format_number, render_page
from abaw_mm.visualization.report.tracks.affect_figures import draw_affect_clip, draw_planes
from abaw_mm.visualization.report.tracks.mistakes import Pictures, find_errors, show_mistakes
from abaw_mm.visualization.report.tracks.part import (
    OPEN_CLIPS,
    Part,
    count_frames,
    describe_run,
    make_interval_row,
    make_row,
    select_annotated,
)
from abaw_mm.visualization.report.tracks.scored_affect import ScoredAffect, score_affect_run

TEMPLATE = 'affect.html.j2'


def make_affect_part(
    runs: Sequence[Predictions],
    names: Sequence[str],
    smoothed: Sequence[Predictions],
    smoothing: Postprocess | None,
    pictures: Pictures | None,
) -> tuple[Part, list[ScoredAffect]]:
    """Render what the page shows of valence and arousal.

    Args:
        runs (Sequence[Predictions]): Runs of the same frames, some of which are annotated.
        names (Sequence[str]): Names of the runs.
        smoothed (Sequence[Predictions]): The runs after ``smoothing``, or none.
        smoothing (Postprocess, optional): Postprocessing to compare with.
        pictures (Pictures, optional): Settings of the pictures of errors.

    Returns:
        tuple: The part, and the scores of each run.
    """
    scored = [score_affect_run(select_annotated(run, VALENCE_AROUSAL)) for run in runs]
    after = [score_affect_run(select_annotated(run, VALENCE_AROUSAL)) for run in smoothed]
    frames = scored[0].frames
    num_clips = len(np.unique(frames.clip_id))
    body = render_page(
        TEMPLATE,
        dimensions=AFFECTS,
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
        clips=_show_clips(names, scored),
        open_clips=OPEN_CLIPS,
        run_colours=RUNS,
    )
    sections = [
        ('va-scores', 'Scores'),
        ('va-dimensions', 'Dimensions'),
        ('va-plane', 'Plane'),
        *([('va-smoothing', 'Smoothing')] if smoothing else []),
        ('va-errors', 'Largest errors'),
        ('va-clips', 'Clips'),
        ('va-method', 'Method'),
    ]
    score = 'CCC ' + ', '.join(format_number(run.scores['ccc'], 3) for run in scored)
    facts = count_frames(frames, len(runs[0]), 'valence and arousal in \u22121 to 1')
    return Part('Valence and arousal', score, facts, sections, body), scored


def _compare(scored: Sequence[ScoredAffect], num_clips: int) -> list[dict]:
    """Make the rows of a table of the CCC of runs."""
    rows = [make_row(name, [run.ccc[at] for run in scored]) for at, name in enumerate(AFFECTS)]
    rows.append(make_row('mean CCC', [run.scores['ccc'] for run in scored], total=True))
    per_clip = make_row('mean over clips', [run.scores['ccc_per_clip'] for run in scored])
    if num_clips == 1:
        return [*rows, per_clip]
    return [
        *rows,
        make_interval_row([run.draws[:, 2] for run in scored]),
        per_clip,
        make_interval_row([run.clip_draws for run in scored]),
    ]


def _show_run(name: str, run: ScoredAffect, pictures: Pictures | None, num_clips: int) -> dict:
    """Collect what the page shows of a single run."""
    low, high = (format_number(x, 3) for x in run.intervals[2])
    own = [format_number(x, 3) for x in interval(run.clip_draws)]
    return dict(
        describe_run(name, run.frames),
        scored=run,
        facts=[
            *([('95 % interval', f'{low} to {high}')] if num_clips > 1 else []),
            *((name, format_number(x, 3)) for name, x in zip(AFFECTS, run.ccc, strict=True)),
            (
                'mean over clips',
                format_number(run.scores['ccc_per_clip'], 3)
                + (f' ({own[0]} to {own[1]})' if num_clips > 1 else ''),
            ),
        ],
        planes=draw_planes(
            run.frames['gt_va'], run.frames['pred_va'], f'Valence and arousal of {name}'
        ),
        mistakes=_show_errors(run.frames, pictures) if pictures else [],
    )


def _show_errors(frames: Predictions, pictures: Pictures) -> list[dict]:
    """Collect the largest errors of a run with their pictures."""
    rows = find_errors(frames, pictures.number)
    predicted, annotated = (
        [', '.join(map(format_number, values)) for values in frames[column][rows].tolist()]
        for column in ('pred_va', 'gt_va')
    )
    return show_mistakes(frames, rows, predicted, [f'annotated {x}' for x in annotated], pictures)


def _show_clips(names: Sequence[str], scored: Sequence[ScoredAffect]) -> list[dict]:
    """Collect each clip with its scores and its figure, that with the largest error first."""
    frames = scored[0].frames
    shown = []
    for clip_id, (clip, rows) in enumerate(zip(frames.clips, frames.rows_by_clip(), strict=True)):
        frame_no = frames.frame_no[rows]
        if not len(frame_no):
            continue
        shown.append(
            dict(
                name=clip,
                frames=len(frame_no),
                first=int(frame_no[0]),
                last=int(frame_no[-1]),
                scores=[
                    dict(name=name, ccc=run.clip_ccc[clip_id], rmse=run.clip_rmse[clip_id])
                    for name, run in zip(names, scored, strict=True)
                ],
                error=float(np.mean([run.clip_rmse[clip_id].mean() for run in scored])),
                figure=draw_affect_clip(
                    frame_no,
                    frames['gt_va'][rows],
                    [run.frames['pred_va'][rows] for run in scored],
                    f'Valence and arousal of {clip} over its frames',
                ),
            )
        )
    return sorted(shown, key=lambda clip: (-clip['error'], clip['name']))
