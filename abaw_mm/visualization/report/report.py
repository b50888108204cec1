"""Write the HTML report of one or more runs."""

from collections.abc import Sequence

from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.tasks import ACTION_UNIT, EXPRESSION, VALENCE_AROUSAL, get_targets
from abaw_mm.visualization.report.page import render_page
from abaw_mm.visualization.report.tracks.affect import make_affect_part
from abaw_mm.visualization.report.tracks.expressions import make_expression_part
from abaw_mm.visualization.report.tracks.mistakes import Pictures
from abaw_mm.visualization.report.tracks.overview import make_overview
from abaw_mm.visualization.report.tracks.part import Part, Scored
from abaw_mm.visualization.report.tracks.units import make_unit_part

TEMPLATE = 'report.html.j2'
TITLES = {'expr': 'Expression', 'va': 'Valence-arousal', 'au': 'Action unit', 'mtl': 'Multi-task'}


def make_report(
    runs: Sequence[Predictions],
    names: Sequence[str],
    smoothing: Postprocess | None = None,
    pictures: Pictures | None = None,
    absent: str = 'zero',
) -> str:
    """Render the report of runs that :func:`check_runs` accepted.

    Args:
        runs (Sequence[Predictions]): At least one. The others are compared with the first.
        names (Sequence[str]): Unique names of the runs.
        smoothing (Postprocess, optional): Postprocessing to compare with the raw predictions.
            Defaults to None, which omits the comparison.
        pictures (Pictures, optional): Settings of the pictures of mistakes. Defaults to None, which
            omits the pictures.
        absent (str): Treatment of classes and units without a labelled frame, see ``MacroF1``.

    Returns:
        str: An HTML page that loads nothing else. Of multi-task predictions it shows the score P,
        then the parts that are annotated.

    Raises:
        FileNotFoundError: If a labelled frame has no crop among the pictures.
        UnreadableFrameError: If the crop of a picture is damaged.
        ValueError: If the smoothing has an option that the track does not have.
    """
    first = runs[0]
    smoothed = [smoothing(run) for run in runs] if smoothing else []
    settings = (runs, names, smoothed, smoothing, pictures)
    parts: list[Part] = []
    scored: dict[str, Sequence[Scored]] = {}
    for target in get_targets(first.task):
        if not target.is_annotated(first[target.ground_truth]).any():
            continue
        if target == VALENCE_AROUSAL:
            part, scored[target.column] = make_affect_part(*settings)
        elif target == EXPRESSION:
            part, scored[target.column] = make_expression_part(*settings, absent)
        elif target == ACTION_UNIT:
            part, scored[target.column] = make_unit_part(*settings, absent)
        parts.append(part)
    score, facts, overview = parts[0].score, parts[0].facts, None
    if first.task == 'mtl':
        score, overview = make_overview(runs, names, scored, absent)
        clips = len(first.clips)
        facts = f'{len(first):,} rows of {clips:,} {"clips" if clips > 1 else "clip"}'
    return render_page(
        TEMPLATE,
        title=TITLES[first.task],
        names=names,
        score=score,
        facts=facts,
        overview=overview,
        parts=parts,
    )
