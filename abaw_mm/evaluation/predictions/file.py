"""Read and write the files of predictions: ``.npz``, ``.csv`` and ``.pkl``."""

import csv
import os
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from abaw_mm.errors import InvalidValueError, MissingFileError, shorten
from abaw_mm.evaluation.predictions.checks import check_lengths
from abaw_mm.evaluation.predictions.class_balance import ClassBalance
from abaw_mm.files import read_npz
from abaw_mm.structures.frame_table import FrameTable, to_int32
from abaw_mm.structures.tasks import TASKS, Target, find_task, get_targets

SCORES = 'probability'  # kind of the values in pred_score
REQUIRED = ('clip', 'frame_no')  # arrays of a .npz, besides the predictions
COLUMNS = ('gt_label', 'pred_label', 'pred_score', 'gt_va', 'pred_va', 'gt_au', 'pred_au')
HOW_TO_WRITE = 'write the file with tools/test.py CONFIG CHECKPOINT --out predictions.npz'

# A writer gets the draft's path, the table and its source, see `Predictions.write`.
Writer = Callable[[Path, FrameTable, dict], None]


def write_npz(path: Path, table: FrameTable, source: dict) -> None:
    """Write plain arrays; nothing is pickled."""
    arrays = {}
    if 'pred_score' in table.columns:
        arrays = dict(classes=np.array(source['classes']), scores=np.array(SCORES))
    arrays |= dict(
        sha256=np.array(source['sha256']),
        config=np.array(source['config']),
        steps=np.array(source['steps'], dtype=str),
        balance=np.array(source['balance']),
        clip=table.clip,
        frame_no=table.frame_no,
    )
    names = (*COLUMNS, 'sample_idx', 'time')
    arrays |= {name: table[name] for name in names if name in table.columns}
    with open(path, 'wb') as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def write_csv(path: Path, table: FrameTable, source: dict) -> None:
    """Write one row per frame: clip, frame_no, then annotation and prediction of each target.

    Of expressions these are the labels and one score per class, of other targets ``gt_<name>`` and
    ``<name>`` of each name. The column ``time`` follows ``frame_no`` where the frames have times.
    """
    times = [f'{x:.6f}' for x in table.columns.get('time', ())]
    targets = get_targets(find_task(list(table.columns)))
    header = ['clip', 'frame_no', *(['time'] if times else [])]
    for target in targets:
        header += _name_cells(target, source['classes'])
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(header)
        clip = table.clip
        for row in range(len(table)):
            writer.writerow(
                [
                    clip[row],
                    table.frame_no[row],
                    *times[row : row + 1],
                    *(cell for target in targets for cell in _format_cells(table, target, row)),
                ]
            )


def _name_cells(target: Target, classes: Sequence[str]) -> list[str]:
    if target.is_class:
        return ['gt_label', 'pred_label', *classes]
    return [*(f'gt_{name}' for name in target.names), *target.names]


def _format_cells(table: FrameTable, target: Target, row: int) -> list:
    truth, prediction = table[target.ground_truth][row], table[target.prediction][row]
    scores = [f'{x:.6f}' for x in prediction]
    if target.is_class:
        return [truth, table['pred_label'][row], *scores]
    return [*(f'{x:.9g}' for x in truth.tolist()), *scores]


def write_pkl(path: Path, table: FrameTable, source: dict) -> None:
    """Write one dict per frame, for mmpretrain's ``tools/analysis_tools``.

    ``analyze_results.py`` needs ``sample_idx``, which predictions of ``tools/test.py`` have.
    """
    has_rows = 'sample_idx' in table.columns
    rows = [
        dict(
            clip=table.clips[table.clip_id[row]],
            frame_no=int(table.frame_no[row]),
            **{name: _to_tensor(table[name][row]) for name in COLUMNS if name in table.columns},
            **({'sample_idx': int(table['sample_idx'][row])} if has_rows else {}),
            **source,  # the same objects in every row, so that the pickle holds them once
        )
        for row in range(len(table))
    ]
    path.write_bytes(pickle.dumps(rows))


def _to_tensor(value: np.ndarray) -> torch.Tensor:
    """Turn the value of a frame into a tensor in mmpretrain's form: labels (1,) int64."""
    return torch.tensor([int(value)]) if value.ndim == 0 else torch.from_numpy(value.copy())


WRITERS: dict[str, Writer] = {
    '.npz': write_npz,
    '.csv': write_csv,
    '.pkl': write_pkl,
    '.pickle': write_pkl,
}


def find_writer(path: str | os.PathLike) -> Writer:
    """Return the writer for the suffix of a path.

    Raises:
        ValueError: If there is no writer for the suffix.
    """
    suffix = Path(path).suffix
    if suffix not in WRITERS:
        raise InvalidValueError(
            f'got {os.fspath(path)!r}, expected a predictions file that ends in one of '
            f'{", ".join(WRITERS)}; change --out'
        )
    return WRITERS[suffix]


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays of a ``.npz`` without unpickling, so that the file cannot run code.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged or is not a ``.npz`` of plain arrays.
    """
    if not path.is_file():
        raise MissingFileError(
            f'{path}: no such file, expected the .npz of predictions; {HOW_TO_WRITE}'
        )
    if path.suffix in ('.pkl', '.pickle', '.csv'):
        raise InvalidValueError(
            f'{path}: got a {path.suffix} file, expected the .npz of predictions (a pickle can run '
            f'code, a .csv is incomplete); {HOW_TO_WRITE}'
        )
    return read_npz(path, 'the plain arrays of predictions', HOW_TO_WRITE)


def parse_arrays(arrays: dict[str, np.ndarray]) -> tuple[FrameTable, dict]:
    """Turn the arrays of a ``.npz`` into a table, sorted by clip and frame number.

    Args:
        arrays (dict): Arrays by name. Annotations default to hidden ones, ``pred_label`` to the
            most likely class; ``sample_idx`` and ``time`` may be absent.

    Returns:
        tuple: The table and its source, a dict with ``classes``, ``sha256``, ``config``, ``steps``
        and ``balance``.

    Raises:
        ValueError: If an array is missing or has a wrong shape or type.
    """
    _check_arrays(arrays)
    clip = arrays['clip']
    columns: dict[str, np.ndarray] = {}
    frame_no = _to_integers(arrays['frame_no'], 'frame_no')
    for target in get_targets(find_task(list(arrays))):
        columns |= _parse_target(arrays, target)
    if 'sample_idx' in arrays:
        columns['sample_idx'] = _to_integers(arrays['sample_idx'], 'sample_idx')
    if 'time' in arrays:
        columns['time'] = arrays['time']
    check_lengths(dict(clip=clip, frame_no=frame_no, **columns))
    table = FrameTable.from_rows(clip, frame_no, **columns)
    source = dict(
        classes=tuple(arrays['classes'].tolist()) if 'pred_score' in columns else (),
        sha256=str(arrays.get('sha256', '')),
        config=str(arrays.get('config', '')),
        steps=tuple(map(str, np.atleast_1d(arrays.get('steps', ())).tolist())),
        balance=ClassBalance.parse(str(arrays.get('balance', ''))),
    )
    if 'sample_idx' in columns and not table.is_sorted():
        return table.take(np.lexsort((table['sample_idx'], table.key))), source
    return table.sort(), source


def _parse_target(arrays: dict[str, np.ndarray], target: Target) -> dict[str, np.ndarray]:
    """Return the columns of a target, the hidden value for annotations that are absent."""
    prediction = arrays[target.prediction].astype(np.float32)
    hidden = np.full((len(prediction), *target.shape), target.hidden)
    truth = arrays.get(target.ground_truth, hidden)
    if target.is_class:
        best = prediction.argmax(1) if prediction.size else np.empty(0, int)
        label = arrays.get('pred_label', best)
        return dict(
            gt_label=_to_integers(truth, 'gt_label'),
            pred_label=_to_integers(label, 'pred_label'),
            pred_score=prediction,
        )
    if np.dtype(target.dtype).kind == 'f':
        _check_numbers(target.ground_truth, truth)
        truth = truth.astype(np.float32)
    else:
        truth = _to_integers(truth, target.ground_truth, dims=2)
    return {target.ground_truth: truth, target.prediction: prediction}


def _check_arrays(arrays: dict[str, np.ndarray]) -> None:
    required = [*REQUIRED]
    predicted = {target.prediction for target in TASKS['mtl']} & set(arrays)
    required += sorted(predicted) or ['pred_score']
    required += ['classes'] if 'pred_score' in required else []
    for target in get_targets(find_task([*arrays])) if predicted else ():
        required.append(target.prediction)
    missing = [name for name in dict.fromkeys(required) if name not in arrays]
    if missing:
        raise InvalidValueError(
            f'got the arrays {shorten(sorted(arrays))}, expected {shorten(missing)} as well'
        )
    kind = str(arrays.get('scores', SCORES))
    if kind != SCORES:
        raise InvalidValueError(f'got scores of the kind {kind!r}, expected {SCORES!r}')
    for name in sorted(predicted):
        _check_numbers(name, arrays[name])
    clip = arrays['clip']
    if clip.ndim != 1 or clip.dtype.kind != 'U':
        raise InvalidValueError(
            f'got clip of shape {clip.shape} and type {clip.dtype}, expected names (F,)'
        )


def _check_numbers(name: str, values: np.ndarray) -> None:
    if values.ndim != 2 or values.dtype.kind not in 'fiu':
        raise InvalidValueError(
            f'got {name} of shape {values.shape} and type {values.dtype}, expected numbers '
            '(F, C), one row per frame'
        )


def _to_integers(column: np.ndarray, name: str, dims: int = 1) -> np.ndarray:
    if column.ndim != dims or column.dtype.kind not in 'iu':
        raise InvalidValueError(
            f'got {name} of shape {column.shape} and type {column.dtype}, expected integers '
            f'{"(F,)" if dims == 1 else "(F, K)"}'
        )
    return to_int32(column, name)
