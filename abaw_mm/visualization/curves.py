"""Read the curves of trainings and draw them: loss, learning rate, scores."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from abaw_mm.errors import InvalidValueError, MissingFileError, shorten
from abaw_mm.files import atomic_write
from abaw_mm.visualization.report.figures import RUNS, STYLE

SCALARS = '*/vis_data/scalars.json'  # in a work dir, one per start of the run
DASHES: tuple[Any, ...] = ('-', '--', ':', '-.')

# Ends of the names of the main scores; those that are not in % have a panel of their own.
SCORES = ('macro_f1', '/mean_f1', '/ccc', '/p_score')
UNITS = ('/p_score', '/ccc', '/ccc_valence', '/ccc_arousal', '/ccc_per_clip')

Curves = dict[str, dict[int, float]]  # name of a scalar to step to value


def read_curves(work_dir: str | os.PathLike) -> Curves:
    """Read the scalars that a training logged, also over several starts.

    Steps that a resumed run repeats count as the resumed run logged them.

    Args:
        work_dir (str): Work dir of a training.

    Raises:
        MissingFileError: If the folder has no logged scalars.
        InvalidValueError: If a file is damaged.
    """
    paths = sorted(Path(work_dir).glob(SCALARS))
    if not paths:
        raise MissingFileError(
            f'{work_dir}: got no {SCALARS}, expected the work dir of a training, such as '
            'work_dirs/res18_srp_affwild2'
        )
    curves: Curves = {}
    for path in paths:  # the folders are named by their time
        rows = [row for row in _read_rows(path) if 'step' in row]
        first = min((row['step'] for row in rows), default=0)
        for values in curves.values():
            for step in [step for step in values if step >= first]:
                del values[step]
        for row in rows:
            for name, value in row.items():
                if isinstance(value, (int, float)):
                    curves.setdefault(name, {})[row['step']] = value
    return curves


def _read_rows(path: Path) -> list[dict]:
    lines = path.read_text(encoding='utf-8', errors='replace').splitlines()
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError) as error:
            if number == len(lines):  # a killed run may leave half a line
                break
            raise InvalidValueError(
                f'{path}: line {number}: got {line[:40]!r}, expected a JSON object ({error}); '
                'remove the line'
            ) from error
    return rows


def find_scores(runs: Sequence[Curves]) -> list[str]:
    """Return the names of the logged scores of the tracks, of the validation and of the probe.

    Of the multi-task track this is the score P and its terms.
    """
    return sorted({name for run in runs for name in run if name.endswith(SCORES)})


def draw_curves(runs: Mapping[str, Curves], scores: Sequence[str], path: str | os.PathLike) -> None:
    """Write a picture with panels for loss, learning rate and scores, atomically.

    Scores in % and the others have a panel each.

    Args:
        runs (Mapping): Name of each run to its curves.
        scores (Sequence[str]): Names of the scalars in the last panels, see :func:`find_scores`.
        path (str): PNG to write.

    Raises:
        InvalidValueError: If no run logged one of the scores.
    """
    known = {name for curves in runs.values() for name in curves}
    unknown = [name for name in scores if name not in known]
    if unknown:
        raise InvalidValueError(
            f'--scores: got {shorten(unknown)}, which no run logged, expected some of '
            f'{", ".join(sorted(known))}'
        )
    percent = [name for name in scores if not name.endswith(UNITS)]
    others = [name for name in scores if name.endswith(UNITS)]
    panels = [('loss', ['loss']), ('learning rate', ['lr']), ('score (%)', percent)]
    panels.append(('score', others))
    panels = [(title, names) for title, names in panels if known & set(names)]
    with matplotlib.rc_context(STYLE):
        figure = Figure((8, 2.6 * len(panels)), layout='constrained')
        FigureCanvasAgg(figure)
        all_axes = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
        for axes, (title, names) in zip(all_axes, panels, strict=True):
            _draw_panel(axes, title, names, runs)
        all_axes[-1].set_xlabel('step')
        lines = [Line2D([], [], color=RUNS[i % len(RUNS)]) for i in range(len(runs))]
        figure.legend(lines, list(runs), loc='outside upper right', ncols=4)
        with atomic_write(path) as draft:
            figure.savefig(draft, dpi=120, format='png')


def _draw_panel(
    axes: matplotlib.axes.Axes, title: str, names: Sequence[str], runs: Mapping[str, Curves]
) -> None:
    for i, curves in enumerate(runs.values()):
        for at, name in enumerate(names):
            values = curves.get(name, {})
            steps = sorted(values)
            axes.plot(
                steps,
                [values[step] for step in steps],
                color=RUNS[i % len(RUNS)],
                linestyle=DASHES[at % len(DASHES)],
                marker='o' if len(steps) < 20 else None,
                markersize=3,
                linewidth=1.2,
            )
    if len(names) > 1:
        dashes = [
            Line2D([], [], color='black', linestyle=DASHES[at % len(DASHES)])
            for at in range(len(names))
        ]
        axes.legend(dashes, list(names), fontsize=7)
    if title.startswith('score') and len(names) == 1:
        title = title.replace('score', names[0])
    axes.set_ylabel(title)
    axes.grid()
    axes.set_axisbelow(True)
