"""A part of the report: what the page shows of one target, such as the action units."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from markupsafe import Markup

from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.tasks import Target
from abaw_mm.visualization.report.clip_bootstrap import interval

OPEN_CLIPS = 12  # number of timelines that are visible without a click


@dataclass(frozen=True)
class Part:
    """A part of the page.

    Attributes:
        title (str): Such as ``'Action units'``.
        score (str): The score of each run in words, such as ``'mean F1 31.20, 29.75'``.
        facts (str): What was scored.
        sections (list[tuple[str, str]]): Anchor and title of each section.
        body (Markup): The sections.
    """

    title: str
    score: str
    facts: str
    sections: Sequence[tuple[str, str]]
    body: Markup


class Scored(Protocol):
    """Scores of a run on the annotated frames of a target."""

    @property
    def frames(self) -> Predictions:
        """The annotated frames."""

    @property
    def draws(self) -> np.ndarray:
        """(D,) score of the bootstrap draws."""

    def draw_scores(self, clips: np.ndarray) -> np.ndarray:
        """Return the score of bootstrap draws of some clips, (D,).

        Args:
            clips (ndarray): (K,) bool, the clips that are drawn.
        """


def select_annotated(run: Predictions, target: Target) -> Predictions:
    """Return the frames on which a target is annotated."""
    return run.take(np.flatnonzero(target.is_annotated(run[target.ground_truth])))


def count_frames(frames: Predictions, total: int, what: str) -> str:
    """Say how many frames were scored.

    Args:
        frames (Predictions): The annotated frames.
        total (int): Number of all frames.
        what (str): What is annotated, such as ``'8 classes'``.
    """
    clips = len(np.unique(frames.clip_id))
    text = (
        f'{len(frames):,} labelled frames of {clips:,} {"clips" if clips > 1 else "clip"}, {what}'
    )
    if total > len(frames):
        text += f'; {total - len(frames):,} frames without a label, which are not scored'
    return text


def describe_run(name: str, run: Predictions) -> dict:
    """Collect where a run comes from, for its card."""
    return dict(name=name, config=run.config, sha256=run.sha256, steps=run.steps)


def make_row(name: str, values: Sequence[float], total: bool = False) -> dict:
    """Make a row of a table that compares runs.

    Args:
        name (str): First cell.
        values (Sequence[float]): Value of each run.
        total (bool): Whether the row sums up those above. Defaults to False.
    """
    return dict(name=name, values=list(values), total=total)


def make_interval_row(draws: Sequence[np.ndarray]) -> dict:
    """Make the row with the 95 % intervals of runs and of their differences from the first.

    Args:
        draws (Sequence[ndarray]): (D,) scores of the bootstrap draws of each run.
    """
    return dict(
        name='95 % interval',
        total=False,
        ends=[interval(x) for x in draws],
        changes=[interval(x - draws[0]) for x in draws],
    )
