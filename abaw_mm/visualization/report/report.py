"""Write the HTML report of one or more runs."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.tasks import UNLABELLED
from abaw_mm.visualization.report import figures
from abaw_mm.visualization.report.clip_bootstrap import DRAWS, interval
from abaw_mm.visualization.report.page import render_page
from abaw_mm.visualization.report.tracks.mistakes import (
    find_mistakes,
    locate_crops,
    make_thumbnails,
)
from abaw_mm.visualization.report.tracks.scored_run import ScoredRun, score_run

TEMPLATE = 'report.html.j2'
OPEN_CLIPS = 12  # number of timelines that are visible without a click


@dataclass(frozen=True)
class Pictures:
    """Settings of the pictures of mistakes.

    Args:
        roots (list[CropFolder]): Folders of the crops.
        number (int): Maximum number of thumbnails per run. Defaults to 24.
    """

    roots: list[CropFolder]
    number: int = 24


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
        absent (str): Treatment of classes without a labelled frame, see ``MacroF1``.

    Returns:
        str: An HTML page that loads nothing else.

    Raises:
        FileNotFoundError: If a labelled frame has no crop among the pictures.
        UnreadableFrameError: If the crop of a picture is damaged.
    """
    known = np.flatnonzero(runs[0]['gt_label'] != UNLABELLED)
    scored = [score_run(run.take(known), absent) for run in runs]
    # Smoothing uses all frames, scores use the labelled ones.
    smoothed = [score_run(smoothing(run).take(known), absent) for run in runs] if smoothing else []
    after: list[ScoredRun | None] = [*smoothed] or [None] * len(runs)
    mistakes = _show_mistakes(scored, pictures) if pictures else [[] for _ in runs]
    first = scored[0]
    return render_page(
        TEMPLATE,
        classes=first.frames.classes,
        absent=absent,
        draws=DRAWS,
        runs=[_show_run(*parts) for parts in zip(names, scored, after, mistakes, strict=True)],
        first=first,
        differences=[interval(run.draws - first.draws) for run in scored],
        smoothing=smoothing,
        pictures=pictures,
        unlabelled=len(runs[0]) - len(known),
        num_clips=len(np.unique(first.frames.clip_id)),
        f1_figure=figures.draw_f1(
            first.frames.classes,
            [run.f1 for run in scored],
            [run.f1_intervals for run in scored],
            names,
        ),
        tracks=[
            f'{name}{kind}'
            for name in names
            for kind in (('', ', smoothed') if smoothing else ('',))
        ],
        clips=_show_clips(names, scored, after),
        open_clips=OPEN_CLIPS,
        run_colours=figures.RUNS,
    )


def _show_run(name: str, run: ScoredRun, smooth: ScoredRun | None, mistakes: list[dict]) -> dict:
    """Collect what the page shows of a single run."""
    classes = run.frames.classes
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


def _show_mistakes(scored: Sequence[ScoredRun], pictures: Pictures) -> list[list[dict]]:
    """Collect the most confident mistakes of each run with their pictures."""
    source = locate_crops(scored[0].frames, pictures.roots)
    shown = []
    for run in scored:
        frames, confidence = run.frames, run.frames.confidence
        rows = find_mistakes(frames, pictures.number)
        thumbnails = make_thumbnails(frames, rows, pictures.roots, source)
        shown.append(
            [
                dict(
                    picture=picture,
                    clip=frames.clips[frames.clip_id[row]],
                    frame=int(frames.frame_no[row]),
                    confidence=100 * float(confidence[row]),
                    predicted=frames.classes[frames['pred_label'][row]],
                    labelled=frames.classes[frames['gt_label'][row]],
                )
                for row, picture in zip(rows, thumbnails, strict=True)
            ]
        )
    return shown


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
