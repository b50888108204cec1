"""Choose postprocessing by cross-validation over clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.postprocessing.ensemble import average, average_scores, gate, gate_scores
from abaw_mm.evaluation.postprocessing.fold_scores import (
    Columns,
    Counts,
    FoldScorer,
    drop_each_fold,
)
from abaw_mm.evaluation.postprocessing.postprocess import smooth_clips, smooth_column
from abaw_mm.evaluation.postprocessing.seconds import Width
from abaw_mm.evaluation.postprocessing.smoothing import METHODS
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.steps import add_step
from abaw_mm.structures.tasks import ACTION_UNITS, get_targets

WIDTHS: tuple[Width, ...] = (5, 15, 25, 50, 100)
BIASES = tuple(round(0.1 * i, 1) for i in range(-10, 11))
THRESHOLDS = tuple(round(0.05 * i, 2) for i in range(1, 20))
STEPS = dict(  # of each track, in their order
    expr=('weights', 'gate', 'smooth', 'bias'),
    va=('weights', 'smooth'),
    au=('weights', 'smooth', 'threshold'),
    mtl=('weights', 'smooth', 'bias', 'threshold'),
)
Apply = Callable[[Columns, Any], Columns]  # new predictions of all frames for a value of a step
SWEEPS = 2  # over the classes, each of which gets the best bias given those of the others


@dataclass(frozen=True)
class Choice:
    """Settings of the steps that were searched; the defaults leave them out."""

    weights: tuple[float, ...] | None = None
    gate: float = 0.0
    smooth: tuple[str, Width] = ('box', 0)
    bias: tuple[float, ...] | None = None
    threshold: tuple[float, ...] | None = None

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
        flags += [f'--threshold {_format(self.threshold)}'] if self.threshold else []
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
        threshold (Sequence[float]): Thresholds that an action unit may get, besides 0.5.
    """

    weights: Sequence[tuple[float, ...]] = ()
    gate: Sequence[float] = ()
    smooth: Sequence[tuple[str, Width]] = tuple((m, w) for m in METHODS for w in WIDTHS)
    bias: Sequence[float] = BIASES
    threshold: Sequence[float] = ()


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
    """What the search of one step has found; scores are of this step and those before it.

    Attributes:
        step (str): A field of :class:`Candidates`.
        claimed (float): Score of the settings chosen on all clips, on the same clips.
        held_out (float): Score when each fold uses the settings chosen on the other folds.
        choice (Choice): The settings chosen on all clips.
        by_fold (list[Choice]): For each fold, the settings chosen on the other folds.
        scores (list): Each value, and its score on all clips after what was chosen there for the
            steps before. Empty for biases and thresholds, which are chosen for one class or unit
            at a time.
    """

    step: str
    claimed: float
    held_out: float
    choice: Choice
    by_fold: list[Choice]
    scores: list[tuple[Any, float]] = field(default_factory=list)


@dataclass(frozen=True)
class SearchResult:
    """Result of a search: scores of the track over all annotated frames together.

    See :class:`FoldScorer` for the scores.

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
        """Score of :attr:`choice` on the clips that it was chosen on, which is partly luck."""
        return self.stages[-1].claimed

    @property
    def held_out(self) -> float:
        """Score on held-out clips, an estimate for other videos."""
        return self.stages[-1].held_out


def search_postprocessing(
    parts: Sequence[Predictions],
    names: Sequence[str],
    candidates: Candidates,
    second: Predictions | None = None,
    num_folds: int = 5,
    seed: int = 0,
) -> SearchResult:
    """Choose weights, gate, smoothing, biases and thresholds, and estimate the gain.

    The steps are chosen one after the other, each given those before it. The biases are chosen one
    class at a time, in two sweeps over the classes. The thresholds of action units are independent,
    because the mean F1 is highest where each F1 is; of equal ones, that nearest to 0.5 is chosen.
    All this is done once on all clips, and once for each fold on the other folds; the folds are
    those of :func:`split_folds`, which keeps the clips of a raw video together. No choice is scored
    on the clips that it was made on. All frames are smoothed, annotated frames are scored.

    Args:
        parts (Sequence[Predictions]): Predictions of one or more models, with annotations.
        names (Sequence[str]): Names of their files, for messages.
        candidates (Candidates): What to choose from.
        second (Predictions, optional): Predictions of the model that the gate trusts.
        num_folds (int): Number of folds. Defaults to 5.
        seed (int): Seed of the folds. Defaults to 0.

    Raises:
        ValueError: If no step is searched, one has no meaning for the track, no frame is annotated,
            frames or annotations of the files differ, a file has been through one of the steps, or
            there are fewer raw videos than folds.
    """
    steps = _list_steps(parts, names, candidates, second)
    frames = average(parts, names)
    scorer = FoldScorer(frames, num_folds, seed)
    apply: dict[str, Apply] = dict(
        weights=lambda _, weights: _mix(parts, weights),
        gate=lambda x, limit: _gate(x, second, limit),
        smooth=lambda x, how: _smooth(frames, x, how),
    )
    # The last choice is that on all clips, the others are those of the folds.
    choices = [Choice()] * (num_folds + 1)
    predicted: dict[Choice, Columns] = {Choice(): {n: frames[n] for n in scorer.outputs}}
    counts = {Choice(): scorer.count(predicted[Choice()])}
    before = scorer.score(counts[Choice()])
    stages = []
    for step in steps:
        values = getattr(candidates, step)
        table: list[tuple[Any, float]] = []
        former = choices
        if step == 'bias':
            choices, counts = _choose_biases(scorer, choices, counts, predicted, values)
        elif step == 'threshold':
            choices, counts = _choose_thresholds(scorer, choices, counts, predicted, values)
        else:
            values = [getattr(Choice(), step), *values]
            choices, counts, table = _choose_values(
                scorer, choices, predicted, step, values, apply[step]
            )
        origin = dict(zip(choices, former, strict=True))
        if step in apply:
            predicted = {
                new: apply[step](predicted[old], getattr(new, step)) for new, old in origin.items()
            }
        else:  # the steps after it do not need what it changes
            predicted = {new: predicted[old] for new, old in origin.items()}
        *by_fold, choice = choices
        held_out = {
            name: np.stack([counts[own][name][fold] for fold, own in enumerate(by_fold)])
            for name in scorer.parts
        }
        stages.append(
            Stage(
                step,
                claimed=float(scorer.score(counts[choice])),
                held_out=float(scorer.score(held_out)),
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
    frames = average(parts, names)
    wanted = [step for step in Choice.__annotations__ if getattr(candidates, step)]
    if not wanted:
        raise InvalidValueError(
            'got no step to search, expected at least one; give --steps, or --widths above 0'
        )
    own = STEPS[frames.task]
    for step in wanted:
        if step not in own:
            raise InvalidValueError(
                f'{names[0]}: --steps {step}: got predictions of the track {frames.task!r}, '
                f'expected a step of this track: {", ".join(own)}'
            )
    if candidates.weights:
        add_step(parts[0].steps, 'mean')
    if candidates.gate:
        if second is None:
            raise InvalidValueError('gate: got no second model, expected one; give --gate-with')
        frames = gate(frames, second, candidates.gate[0], '--gate-with')
    for step in ('smooth', 'bias', 'threshold'):
        if getattr(candidates, step):
            add_step(frames.steps, step)
    return wanted


def _mix(parts: Sequence[Predictions], weights: Sequence[float] | None) -> Columns:
    return _add_labels(
        {
            target.prediction: average_scores([part[target.prediction] for part in parts], weights)
            for target in get_targets(parts[0].task)
        }
    )


def _gate(columns: Columns, second: Predictions | None, threshold: float) -> Columns:
    if not second or not threshold:
        return columns
    score = gate_scores(columns['pred_score'], second['pred_score'], threshold)
    return _add_labels(dict(columns, pred_score=score))


def _smooth(frames: Predictions, columns: Columns, how: tuple[str, Width]) -> Columns:
    if not how[1]:
        return columns
    smooth = {
        target.prediction: smooth_clips(frames, columns[target.prediction], *how)
        if target.is_class
        else smooth_column(frames, columns[target.prediction], target, *how)
        for target in get_targets(frames.task)
    }
    return _add_labels(smooth)


def _add_labels(columns: dict[str, np.ndarray]) -> Columns:
    if 'pred_score' in columns:
        columns['pred_label'] = columns['pred_score'].argmax(axis=1)
    return columns


def _choose_values(
    scorer: FoldScorer,
    choices: Sequence[Choice],
    predicted: dict[Choice, Columns],
    step: str,
    values: Sequence[Any],
    apply: Apply,
) -> tuple[list[Choice], dict[Choice, Counts], list[tuple[Any, float]]]:
    """Choose a value of a step for each fold, and for all clips.

    Returns:
        tuple: The choices; for each of them its counts; each value with its score on all clips.
    """
    found, counts, table = list(choices), {}, []
    for choice in dict.fromkeys(choices):
        per_value = [scorer.count(apply(predicted[choice], value)) for value in values]
        scores = np.stack([scorer.score_subsets(one) for one in per_value])
        best = scores.argmax(axis=0)
        for at in (i for i, other in enumerate(choices) if other == choice):
            found[at] = replace(choice, **{step: values[best[at]]})
            counts[found[at]] = per_value[best[at]]
        if choice == choices[-1]:
            table = list(zip(values, scores[:, -1].tolist(), strict=True))
    return found, counts, table


def _choose_biases(
    scorer: FoldScorer,
    choices: Sequence[Choice],
    counts: dict[Choice, Counts],
    predicted: dict[Choice, Columns],
    values: Sequence[float],
) -> tuple[list[Choice], dict[Choice, Counts]]:
    """Choose the bias of one class at a time; return the choices and their counts."""
    part = scorer.parts['label']
    biases = np.array(sorted({0.0, *values}))
    order = np.argsort(abs(biases), kind='stable')  # of equal scores, the smallest bias
    with np.errstate(divide='ignore'):
        logs = {x: np.log(columns['pred_score'][part.known]) for x, columns in predicted.items()}
    zero = (0.0,) * part.size
    bias = [zero] * len(choices)
    for cls in list(range(part.size)) * SWEEPS:
        now = list(zip(choices, bias, strict=True))
        for choice, old in dict.fromkeys(now):
            rest = (*old[:cls], 0.0, *old[cls + 1 :])
            per_bias = part.count_biases(logs[choice] + rest, cls, biases)[order]
            best = part.score(drop_each_fold(per_bias)).argmax(axis=0)
            for at in (i for i, pair in enumerate(now) if pair == (choice, old)):
                value = float(biases[order[best[at]]])
                bias[at] = (*old[:cls], value, *old[cls + 1 :])
    found, counts_of = [], {}
    for choice, vector in zip(choices, bias, strict=True):
        found.append(replace(choice, bias=vector if any(vector) else None))
        if found[-1] not in counts_of:
            rest = (0.0, *vector[1:])
            (label,) = part.count_biases(logs[choice] + rest, 0, np.array(vector[:1]))
            counts_of[found[-1]] = counts[choice] | dict(label=label)
    return found, counts_of


def _choose_thresholds(
    scorer: FoldScorer,
    choices: Sequence[Choice],
    counts: dict[Choice, Counts],
    predicted: dict[Choice, Columns],
    values: Sequence[float],
) -> tuple[list[Choice], dict[Choice, Counts]]:
    """Choose the threshold of each action unit; return the choices and their counts."""
    part = scorer.parts['au']
    limits = sorted({0.5, *values}, key=lambda x: (abs(x - 0.5), x))
    units = np.arange(len(ACTION_UNITS))
    found, counts_of = list(choices), {}
    for choice in dict.fromkeys(choices):
        table = part.count_thresholds(predicted[choice], np.array(limits))  # (T, K, 3, 12)
        best = part.score_units(drop_each_fold(table)).argmax(axis=0)  # (K + 1, 12)
        for at in (i for i, other in enumerate(choices) if other == choice):
            vector = tuple(limits[i] for i in best[at])
            found[at] = replace(choice, threshold=vector if set(vector) != {0.5} else None)
            own = np.moveaxis(table[best[at], :, :, units], 0, -1)
            counts_of[found[at]] = counts[choice] | dict(au=own)
    return found, counts_of
