"""The part of the report about the score of the multi-task track."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup

from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.score_tracks import score_track
from abaw_mm.structures.tasks import ACTION_UNIT, EXPRESSION, TASKS, VALENCE_AROUSAL
from abaw_mm.visualization.report.clip_bootstrap import DRAWS, interval
from abaw_mm.visualization.report.figures import RUNS
from abaw_mm.visualization.report.page import format_number, render_page
from abaw_mm.visualization.report.tracks.part import (
    Scored,
    describe_run,
    make_interval_row,
    make_row,
)

TEMPLATE = 'overview.html.j2'
# Column of a target: name of its score, its key in MultiTaskScore, and what turns it into a term.
TERMS = {
    VALENCE_AROUSAL.column: ('mean CCC', 'ccc', 1.0),
    EXPRESSION.column: ('macro-F1', 'macro_f1', 0.01),
    ACTION_UNIT.column: ('mean F1 of units', 'mean_f1', 0.01),
}


def make_overview(
    runs: Sequence[Predictions],
    names: Sequence[str],
    scored: Mapping[str, Sequence[Scored]],
    absent: str,
) -> tuple[str, Markup]:
    """Render the score P of the multi-task track and its terms.

    Args:
        runs (Sequence[Predictions]): Runs of the same frames.
        names (Sequence[str]): Names of the runs.
        scored (Mapping): Column of each annotated target to the scores of the runs.
        absent (str): Treatment of classes and units that do not occur.

    Returns:
        tuple: The scores in words, and the section.
    """
    scores = [score_track(run, absent=absent).with_crop for run in runs]
    clips = np.zeros(len(runs[0].clips), bool)
    for parts in scored.values():
        clips[parts[0].frames.clip_id] = True
    draws = [
        sum(
            (
                scale * np.nan_to_num(scored[column][at].draw_scores(clips))
                for column, (_, _, scale) in TERMS.items()
                if column in scored
            ),
            np.zeros(DRAWS),
        )
        for at in range(len(runs))
    ]
    terms = [
        (name, [scale * score[key] for score in scores]) for name, key, scale in TERMS.values()
    ]
    totals = [score['p_score'] for score in scores]
    rows = [make_row(name, values) for name, values in terms]
    rows.append(make_row('P', totals, total=True))
    several = int(clips.sum()) > 1
    rows += [make_interval_row(draws)] if several else []
    annotated = {
        title: len(scored[target.column][0].frames) if target.column in scored else 0
        for target, title in zip(
            TASKS['mtl'], ('valence and arousal', 'expression', 'action units'), strict=True
        )
    }
    section = render_page(
        TEMPLATE,
        names=names,
        run_colours=RUNS,
        runs=[
            dict(
                describe_run(name, run),
                score=totals[at],
                facts=[
                    *([('95 % interval', _format_ends(draws[at]))] if several else []),
                    *((term, format_number(values[at], 3)) for term, values in terms),
                ],
            )
            for at, (name, run) in enumerate(zip(names, runs, strict=True))
        ],
        rows=rows,
        annotated=annotated,
        num_clips=int(clips.sum()),
        draws=DRAWS,
    )
    return 'P ' + ', '.join(format_number(x, 3) for x in totals), section


def _format_ends(draws: np.ndarray) -> str:
    low, high = (format_number(x, 3) for x in interval(draws))
    return f'{low} to {high}'
