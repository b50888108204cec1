"""Annotate drawn faces with valence, arousal and action units, as the other tracks are."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations import FOLDERS, HEADERS, LIST_HEADERS
from abaw_mm.structures.tasks import ACTION_UNIT, ACTION_UNITS, EXPRESSION, VALENCE_AROUSAL
from face import ACTIONS

# Drawn action that shows each unit, and its strength from which the unit is present.
UNITS = dict(
    AU1=('inner_brow', 0.4),
    AU2=('outer_brow', 0.4),
    AU4=('brow_lower', 0.35),
    AU6=('cheek_raise', 0.35),
    AU7=('lid_open', -0.2),  # lids tight: below
    AU10=('upper_lip', 0.3),
    AU12=('lip_pull', 0.4),
    AU15=('lip_depress', 0.4),
    AU23=('lip_pucker', 0.3),
    AU24=('lip_press', 0.3),
    AU25=('jaw_drop', 0.12),
    AU26=('jaw_drop', 0.3),
)
VALENCE = dict(
    lip_pull=0.9, lip_depress=-0.6, brow_lower=-0.45, nose_wrinkle=-0.4, lip_stretch=-0.35
)
AROUSAL = dict(
    lid_open=0.5, jaw_drop=0.4, brow_lower=0.35, outer_brow=0.2, lip_pull=0.25, lip_stretch=0.25
)
STEPS = (2, 6)  # frames from one row of the multi-task track to the next, for a clip
REPEATED, HIDDEN = 0.01, 0.25  # shares of rows; at least one is repeated
MULTI_TASK_HEADER = 'image,valence,arousal,expression,' + ','.join(ACTION_UNITS)
MULTI_TASK_FILES = {
    'Train_Set': 'training_set_annotations.txt',
    'Validation_Set': 'validation_set_annotations.txt',
}


def annotate(action: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> dict:
    """Annotate the frames of a clip from what is drawn.

    Args:
        action (ndarray): (F, A) strengths of the actions.
        labels (ndarray): (F,) classes, -1 in transitions.
        rng (Generator): Source of random numbers.

    Returns:
        dict: ``va`` (F, 2) float, ``au`` (F, 12) int and ``label`` (F,) int. Lines that are not
        annotated have -5 and -1.
    """
    strength = dict(zip(ACTIONS, action.T, strict=True))
    va = np.stack(
        [
            np.tanh(sum(weight * strength[name] for name, weight in weights.items()))
            for weights in (VALENCE, AROUSAL)
        ],
        axis=1,
    ).round(3)
    au = np.stack(
        [
            strength[name] <= level if level < 0 else strength[name] >= level
            for name, level in (UNITS[unit] for unit in ACTION_UNITS)
        ],
        axis=1,
    ).astype(int)
    for values, hidden in ((va, VALENCE_AROUSAL.hidden), (au, ACTION_UNIT.hidden)):
        for start in np.flatnonzero(rng.random(len(values)) < 1 / 90):
            values[start : start + rng.integers(3, 10)] = hidden
    return dict(va=va, au=au, label=labels)


def write_clip_files(root: Path, split: str, clip: str, values: Mapping[str, np.ndarray]) -> None:
    """Write the annotation files of a clip for the VA and the AU track."""
    for task in ('va', 'au'):
        lines = [','.join(f'{value:g}' for value in row) for row in values[task]]
        path = root / 'annotations' / FOLDERS[task] / split / f'{clip}.txt'
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text('\n'.join([HEADERS[task][0], *lines]) + '\n')


def list_multi_task_rows(
    clip: str, values: Mapping[str, np.ndarray], missing: set[int], rng: np.random.Generator
) -> list[str]:
    """Return the lines of a clip in the file of the multi-task track.

    They take every n-th frame with a crop. A part of some lines is not annotated, and some lines
    are repeated.
    """
    frames = np.arange(rng.integers(STEPS[0]), len(values['label']), rng.integers(*STEPS))
    frames = frames[~np.isin(frames, sorted(missing))]
    repeated = rng.choice(frames, max(1, round(REPEATED * len(frames))), replace=False)
    rows = []
    for frame in np.sort(np.append(frames, repeated)):
        parts = []
        for target in (VALENCE_AROUSAL, EXPRESSION, ACTION_UNIT):
            part = np.atleast_1d(values[target.column][frame])
            parts += [target.hidden] * len(part) if rng.random() < HIDDEN else part.tolist()
        rows.append(f'{clip}/{frame + 1:05d}.jpg,' + ','.join(f'{value:g}' for value in parts))
    return rows


def write_multi_task_file(root: Path, split: str, rows: Sequence[str]) -> None:
    """Write the file of the multi-task track for a split."""
    path = root / 'annotations' / FOLDERS['mtl'] / MULTI_TASK_FILES[split]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join([MULTI_TASK_HEADER, *rows]) + '\n')


def write_lists(root: Path, rows: Sequence[str]) -> None:
    """Write the lists of the test frames of the other tracks.

    Args:
        root (Path): Folder of the demo set.
        rows (Sequence[str]): Rows of the list of the expression track.
    """
    for task in ('va', 'au'):
        text = '\n'.join([LIST_HEADERS[task], *rows]) + '\n'
        (root / f'test_set_format_{task}.txt').write_text(text)
    every_fourth = [row for row in rows if int(row.rpartition('/')[2][:5]) % 4 == 1]
    text = '\n'.join([LIST_HEADERS['mtl'], *every_fourth]) + '\n'
    (root / 'MTL_Challenge_test_set_release.txt').write_text(text)
