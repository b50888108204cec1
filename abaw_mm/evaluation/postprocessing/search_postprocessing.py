"""Choose postprocessing by cross-validation over clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from abaw_mm.datasets.folds import split_folds
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.metrics.macro_f1 import f1_of_counts, mean_f1
from abaw_mm.evaluation.postprocessing.ensemble import average, average_scores, gate, gate_scores
from abaw_mm.evaluation.postprocessing.postprocess import smooth_clips
from abaw_mm.evaluation.postprocessing.seconds import Width
from abaw_mm.evaluation.postprocessing.smoothing import METHODS
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.steps import add_step
from abaw_mm.structures.tasks import UNLABELLED

WIDTHS: tuple[Width, ...] = (5, 15, 25, 50, 100)
BIASES = tuple(round(0.1 * i, 1) for i in range(-10, 11))
Apply = Callable[[np.ndarray, Any], np.ndarray]  # new probabilities (F, C) for a value of a step
SWEEPS = 2  # over the classes, each of which gets the best bias given those of the others


@dataclass(frozen=True)
class Choice:
    """Settings of the steps that were searched; the defaults leave them out."""

    weights: tuple[float, ...] | None = None
    gate: float = 0.0
    smooth: tuple[str, Width] = ('box', 0)
    bias: tuple[float, ...] | None = None

    @property
    def flags(self) -> str:
        """The settings as flags of ``postprocess_predictions.py``, ``''`` without any.

        >>> Choice(weights=(0.75, 0.25), smooth=('median', 25)).flags
        '--weights 0.75 0.25 --method median --width 25'
        """
        flags = [f'--weights {_format(self.weights)}'] if self.weights else []
        flags += [f'--gate {self.gate:g}'] if self.gate else []
        method, width = self.smooth
        flags += [f'--method {method} --width {width}'] if width else []
        flags += [f'--bias {_format(self.bias)}'] if self.bias else []
        return ' '.join(flags)


def _format(numbers: Sequence[float]) -> str:
    return ' '.join(f'{x:g}' for x in numbers)


@dataclass(frozen=True)
class Candidates:
    """Values that each step may take, besides leaving the step out; none: it is not searched.

    Args:
        weights (Sequence): Weights of the models, see :func:`list_weights`.
        gate (Sequence[float]): Thresholds of the second model.
        smooth (Sequence): Methods and widths.
        bias (Sequence[float]): Biases that a class may get.
    """

    weights: Sequence[tuple[float, ...]] = ()
    gate: Sequence[float] = ()
    smooth: Sequence[tuple[str, Width]] = tuple((m, w) for m in METHODS for w in WIDTHS)
    bias: Sequence[float] = BIASES


def list_weights(models: int, parts: int = 4) -> list[tuple[float, ...]]:
    """List the weights of models that are multiples of 1 / ``parts``, together 1.

    >>> list_weights(2)
    [(0.0, 1.0), (0.25, 0.75), (0.5, 0.5), (0.75, 0.25), (1.0, 0.0)]
    """
    bars = combinations(range(parts + models - 1), models - 1)
    ends = ((-1, *bar, parts + models - 1) for bar in bars)
    return [tuple(((np.diff(end) - 1) / parts).tolist()) for end in ends]


@dataclass(frozen=True)
class Stage:
    """What the search of one step has found; macro-F1 in %, of this step and those before it.

    Attributes:
        step (str): A field of :class:`Candidates`.
        claimed (float): Score of the settings chosen on all clips, on the same clips.
        held_out (float): Score when each fold uses the settings chosen on the other folds.
        choice (Choice): The settings chosen on all clips.
        by_fold (list[Choice]): For each fold, the settings chosen on the other folds.
        scores (list): Each value, and its score on all clips after what was chosen there for the
            steps before. Empty for biases, which are chosen one class at a time.
    """

    step: str
    claimed: float
    held_out: float
    choice: Choice
    by_fold: list[Choice]
    scores: list[tuple[Any, float]] = field(default_factory=list)


@dataclass(frozen=True)
class SearchResult:
    """Result of a search: macro-F1 in %, over all labelled frames together.

    Attributes:
        before (float): Score without postprocessing; of several models, that of their mean.
        stages (list[Stage]): One for each step that was searched, in the order of the steps. The
            last one has the complete settings.
    """

    before: float
    stages: list[Stage]

    @property
    def choice(self) -> Choice:
        """The settings chosen on all clips."""
        return self.stages[-1].choice

    @property
    def claimed(self) -> float:
        """Score of :attr:`choice` on the clips that chose it, which is partly luck."""
        return self.stages[-1].claimed

    @property
    def held_out(self) -> float:
        """Score on clips that had no say, which is what to expect on other videos."""
        return self.stages[-1].held_out


def search_postprocessing(
    parts: Sequence[Predictions],
    names: Sequence[str],
    candidates: Candidates,
    second: Predictions | None = None,
    num_folds: int = 5,
    seed: int = 0,
) -> SearchResult:
    """Choose weights, gate, smoothing and biases, and estimate the gain by cross-validation.

    The steps are chosen one after the other, each given those before it. The biases are chosen one
    class at a time, in two sweeps over the classes. All this is done once on all clips, and once
    for each fold on the other folds; the folds are those of :func:`split_folds`, which keeps the
    clips of a raw video together. No choice is scored on the clips that it was made on. All frames
    are smoothed, labelled frames are scored.

    Args:
        parts (Sequence[Predictions]): Predictions of one or more models, with labels.
        names (Sequence[str]): Names of their files, for messages.
        candidates (Candidates): What to choose from.
        second (Predictions, optional): Predictions of the model that the gate trusts.
        num_folds (int): Number of folds. Defaults to 5.
        seed (int): Seed of the folds. Defaults to 0.

    Raises:
        ValueError: If no step is searched, no frame has a label, frames or labels of the files
            differ, a file has been through one of the steps, or there are fewer raw videos than
            folds.
    """
    steps = _list_steps(parts, names, candidates, second)
    frames = average(parts, names)
    scorer = _Scorer(frames, num_folds, seed)
    apply: dict[str, Apply] = dict(
        weights=lambda _, w: average_scores([p['pred_score'] for p in parts], w),
        gate=lambda x, t: gate_scores(x, second['pred_score'], t) if second and t else x,
        smooth=lambda x, how: smooth_clips(frames, x, *how) if how[1] else x,
    )
    # The last choice is that on all clips, the others are those of the folds.
    choices = [Choice()] * (num_folds + 1)
    scores = {Choice(): frames['pred_score']}
    before = scorer.macro_f1(scorer.count(frames['pred_score']).sum(axis=0))
    stages = []
    for step in steps:
        values = getattr(candidates, step)
        table: list[tuple[Any, float]] = []
        if step == 'bias':
            choices, counts = _choose_biases(scorer, choices, scores, values)
        else:
            values = [getattr(Choice(), step), *values]
            choices, counts, table, scores = _choose_values(
                scorer, choices, scores, step, values, apply[step]
            )
        *by_fold, choice = choices
        held_out = np.stack([counts[fold_choice][i] for i, fold_choice in enumerate(by_fold)])
        stages.append(
            Stage(
                step,
                claimed=float(scorer.macro_f1(counts[choice].sum(axis=0))),
                held_out=float(scorer.macro_f1(held_out.sum(axis=0))),
                choice=choice,
                by_fold=by_fold,
                scores=table,
            )
        )
    return SearchResult(float(before), stages)


def _list_steps(
    parts: Sequence[Predictions],
    names: Sequence[str],
    candidates: Candidates,
    second: Predictions | None,
) -> list[str]:
    """Return the steps to search; raise ValueError if the files have been through one of them."""
    steps = [step for step in ('weights', 'gate', 'smooth', 'bias') if getattr(candidates, step)]
    if not steps:
        raise InvalidValueError('got no step to search, expected at least one')
    frames = average(parts, names)
    if candidates.weights:
        add_step(parts[0].steps, 'mean')
    if candidates.gate:
        if second is None:
            raise InvalidValueError('gate: got no second model, expected one; give --gate-with')
        frames = gate(frames, second, candidates.gate[0], '--gate-with')
    for step in ('smooth', 'bias'):
        if getattr(candidates, step):
            add_step(frames.steps, step)
    return steps


class _Scorer:
    """Score the labelled frames of folds, from counts (K, 3, C) of each fold.

    The counts are frames that are correct, predicted, and labelled as each class.
    """

    def __init__(self, frames: Predictions, num_folds: int, seed: int) -> None:
        target = frames['gt_label']
        if not (target != UNLABELLED).any():
            raise InvalidValueError(
                'got predictions without labels, expected those of an annotated set; search on '
                'the validation set'
            )
        fold_of = _assign_folds(frames, num_folds, seed)
        self.known = np.flatnonzero(target != UNLABELLED)
        self.num_folds, self.size = num_folds, len(frames.classes)
        self.target, self.fold = target[self.known].astype(np.int64), fold_of[self.known]
        self.support = self._count(self.target)

    def _count(self, label: np.ndarray, rows: np.ndarray | slice = slice(None)) -> np.ndarray:
        at = self.fold[rows] * self.size + label
        shape = self.num_folds, self.size
        return np.bincount(at, minlength=self.num_folds * self.size).reshape(shape)

    def count(self, score: np.ndarray) -> np.ndarray:
        """Count the most likely classes of all frames (F, C), (K, 3, C)."""
        label = score[self.known].argmax(axis=1)
        hits = label == self.target
        return np.stack([self._count(label[hits], hits), self._count(label), self.support], axis=1)

    def count_biases(self, log_score: np.ndarray, cls: int, biases: np.ndarray) -> np.ndarray:
        """Count the most likely classes for each bias of one class, (B, K, 3, C).

        Args:
            log_score (ndarray): (N, C) of the labelled frames, without a bias of the class.
            cls (int): The class.
            biases (ndarray): (B,) increasing.
        """
        rest = log_score.copy()
        rest[:, cls] = -np.inf
        other = rest.argmax(axis=1)
        lead = rest[np.arange(len(rest)), other] - log_score[:, cls]
        first = np.searchsorted(biases, lead, side='right')  # the class wins from this bias on
        size, folds, steps = self.size, self.num_folds, len(biases)
        at = ((first * folds + self.fold) * size + self.target) * size + other
        table = np.bincount(at, minlength=(steps + 1) * folds * size * size)
        table = table.reshape(steps + 1, folds, size, size)
        wins = table.cumsum(axis=0)[:steps]
        rest_counts = table.sum(axis=0) - wins  # frames that keep the other class
        hits = np.diagonal(rest_counts, axis1=2, axis2=3).copy()
        hits[..., cls] = wins[:, :, cls].sum(axis=2)
        predicted = rest_counts.sum(axis=2)
        predicted[..., cls] = wins.sum(axis=(2, 3))
        support = np.broadcast_to(self.support, hits.shape)
        return np.stack([hits, predicted, support], axis=2)

    def macro_f1(self, counts: np.ndarray) -> Any:
        """Return the macro-F1 of counts (..., 3, C)."""
        hits, predicted, support = np.moveaxis(counts, -2, 0)
        return 100 * mean_f1(f1_of_counts(hits, predicted, support), support)

    def score_subsets(self, counts: np.ndarray) -> np.ndarray:
        """Score (..., K, 3, C) without each fold, then on all folds: (..., K + 1)."""
        total = counts.sum(axis=-3, keepdims=True)
        return self.macro_f1(np.concatenate([total - counts, total], axis=-3))


def _choose_values(
    scorer: _Scorer,
    choices: Sequence[Choice],
    scores: dict[Choice, np.ndarray],
    step: str,
    values: Sequence[Any],
    apply: Apply,
) -> tuple[list[Choice], dict[Choice, np.ndarray], list[tuple[Any, float]], dict]:
    """Choose a value of a step for each fold, and for all clips.

    Returns:
        tuple: The choices; for each of them its counts; each value with its score on all clips; for
        each choice its probabilities.
    """
    found, counts, table = list(choices), {}, []
    for choice in dict.fromkeys(choices):
        per_fold = np.stack([scorer.count(apply(scores[choice], value)) for value in values])
        f1 = scorer.score_subsets(per_fold)
        best = f1.argmax(axis=0)
        for at in (i for i, other in enumerate(choices) if other == choice):
            found[at] = replace(choice, **{step: values[best[at]]})
            counts[found[at]] = per_fold[best[at]]
        if choice == choices[-1]:
            table = list(zip(values, f1[:, -1].tolist(), strict=True))
    origin = dict(zip(found, choices, strict=True))
    new_scores = {new: apply(scores[old], getattr(new, step)) for new, old in origin.items()}
    return found, counts, table, new_scores


def _choose_biases(
    scorer: _Scorer,
    choices: Sequence[Choice],
    scores: dict[Choice, np.ndarray],
    values: Sequence[float],
) -> tuple[list[Choice], dict[Choice, np.ndarray]]:
    """Choose the bias of one class at a time; return the choices and their counts."""
    biases = np.array(sorted({0.0, *values}))
    order = np.argsort(abs(biases), kind='stable')  # of equal scores, the smallest bias
    with np.errstate(divide='ignore'):
        logs = {choice: np.log(score[scorer.known]) for choice, score in scores.items()}
    zero = (0.0,) * scorer.size
    bias = [zero] * len(choices)
    for cls in list(range(scorer.size)) * SWEEPS:
        now = list(zip(choices, bias, strict=True))
        for choice, old in dict.fromkeys(now):
            rest = (*old[:cls], 0.0, *old[cls + 1 :])
            counts = scorer.count_biases(logs[choice] + rest, cls, biases)[order]
            best = scorer.score_subsets(counts).argmax(axis=0)
            for at in (i for i, pair in enumerate(now) if pair == (choice, old)):
                value = float(biases[order[best[at]]])
                bias[at] = (*old[:cls], value, *old[cls + 1 :])
    found, counts_of = [], {}
    for choice, vector in zip(choices, bias, strict=True):
        found.append(replace(choice, bias=vector if any(vector) else None))
        if found[-1] not in counts_of:
            rest = (0.0, *vector[1:])
            counts_of[found[-1]] = scorer.count_biases(
                logs[choice] + rest, 0, np.array(vector[:1])
            )[0]
    return found, counts_of


def _assign_folds(predictions: Predictions, num_folds: int, seed: int) -> np.ndarray:
    """Return the fold of each frame, (F,), -1 for clips without labels."""
    rows = dict(zip(predictions.clips, predictions.rows_by_clip(), strict=True))
    labels = {clip: predictions['gt_label'][at] for clip, at in rows.items()}
    fold_of = np.full(len(predictions), -1)
    for fold, clips in enumerate(split_folds(labels, num_folds, seed)):
        for clip in clips:
            fold_of[rows[clip]] = fold
    return fold_of
