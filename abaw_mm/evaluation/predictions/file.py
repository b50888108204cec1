"""Read and write the files of predictions: ``.npz``, ``.csv`` and ``.pkl``."""

import csv
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from abaw_mm.errors import InvalidValueError, MissingFileError, shorten
from abaw_mm.evaluation.predictions.checks import check_lengths
from abaw_mm.evaluation.predictions.class_balance import ClassBalance
from abaw_mm.files import read_npz
from abaw_mm.structures.frame_table import FrameTable, to_int32
from abaw_mm.structures.tasks import UNLABELLED

SCORES = 'probability'  # kind of the values in pred_score
REQUIRED = ('clip', 'frame_no', 'pred_score', 'classes')  # arrays of a .npz
HOW_TO_WRITE = 'write the file with tools/test.py CONFIG CHECKPOINT --out predictions.npz'

# A writer gets the draft's path, the table and its source, see `Predictions.write`.
Writer = Callable[[Path, FrameTable, dict], None]


def write_npz(path: Path, table: FrameTable, source: dict) -> None:
    """Write plain arrays; nothing is pickled."""
    arrays = dict(
        classes=np.array(source['classes']),
        scores=np.array(SCORES),
        sha256=np.array(source['sha256']),
        config=np.array(source['config']),
        steps=np.array(source['steps'], dtype=str),
        balance=np.array(source['balance']),
        clip=table.clip,
        frame_no=table.frame_no,
    )
    names = ('gt_label', 'pred_label', 'pred_score', 'sample_idx', 'time')
    arrays |= {name: table[name] for name in names if name in table.columns}
    with open(path, 'wb') as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def write_csv(path: Path, table: FrameTable, source: dict) -> None:
    """Write one row per frame: clip, frame_no, labels, one score per class.

    The column ``time`` follows ``frame_no`` where the frames have times.
    """
    times = [f'{x:.6f}' for x in table.columns.get('time', ())]
    header = ['clip', 'frame_no', *(['time'] if times else []), 'gt_label', 'pred_label']
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow([*header, *source['classes']])
        clip = table.clip
        for row in range(len(table)):
            writer.writerow(
                [
                    clip[row],
                    table.frame_no[row],
                    *times[row : row + 1],
                    table['gt_label'][row],
                    table['pred_label'][row],
                    *(f'{x:.6f}' for x in table['pred_score'][row]),
                ]
            )


def write_pkl(path: Path, table: FrameTable, source: dict) -> None:
    """Write one dict per frame, for mmpretrain's ``tools/analysis_tools``.

    ``analyze_results.py`` needs ``sample_idx``, which predictions of ``tools/test.py`` have.
    """
    has_rows = 'sample_idx' in table.columns
    rows = [
        dict(
            clip=table.clips[table.clip_id[row]],
            frame_no=int(table.frame_no[row]),
            gt_label=torch.tensor([int(table['gt_label'][row])]),
            pred_label=torch.tensor([int(table['pred_label'][row])]),
            pred_score=torch.from_numpy(table['pred_score'][row].copy()),
            **({'sample_idx': int(table['sample_idx'][row])} if has_rows else {}),
            **source,  # the same objects in every row, so that the pickle holds them once
        )
        for row in range(len(table))
    ]
    path.write_bytes(pickle.dumps(rows))


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
        arrays (dict): Arrays by name. ``gt_label`` defaults to -1, ``pred_label`` to the most
            likely class; ``sample_idx`` and ``time`` may be absent.

    Returns:
        tuple: The table and its source, a dict with ``classes``, ``sha256``, ``config``, ``steps``
        and ``balance``.

    Raises:
        ValueError: If an array is missing or has a wrong shape or type.
    """
    _check_arrays(arrays)
    score, clip = arrays['pred_score'].astype(np.float32), arrays['clip']
    frame_no = _to_integers(arrays['frame_no'], 'frame_no')
    columns = dict(
        gt_label=arrays.get('gt_label', np.full(len(clip), UNLABELLED)),
        pred_label=arrays.get('pred_label', score.argmax(1) if score.size else np.empty(0, int)),
    )
    if 'sample_idx' in arrays:
        columns['sample_idx'] = arrays['sample_idx']
    columns = {name: _to_integers(column, name) for name, column in columns.items()}
    columns['pred_score'] = score
    if 'time' in arrays:
        columns['time'] = arrays['time']
    check_lengths(dict(clip=clip, frame_no=frame_no, **columns))
    table = FrameTable.from_rows(clip, frame_no, **columns)
    source = dict(
        classes=tuple(arrays['classes'].tolist()),
        sha256=str(arrays.get('sha256', '')),
        config=str(arrays.get('config', '')),
        steps=tuple(map(str, np.atleast_1d(arrays.get('steps', ())).tolist())),
        balance=ClassBalance.parse(str(arrays.get('balance', ''))),
    )
    return table.sort(), source


def _check_arrays(arrays: dict[str, np.ndarray]) -> None:
    missing = [name for name in REQUIRED if name not in arrays]
    if missing:
        raise InvalidValueError(
            f'got the arrays {shorten(sorted(arrays))}, expected {shorten(missing)} as well'
        )
    kind = str(arrays.get('scores', SCORES))
    if kind != SCORES:
        raise InvalidValueError(f'got scores of the kind {kind!r}, expected {SCORES!r}')
    score, clip = arrays['pred_score'], arrays['clip']
    if score.ndim != 2 or score.dtype.kind not in 'fiu':
        raise InvalidValueError(
            f'got pred_score of shape {score.shape} and type {score.dtype}, expected numbers '
            '(F, C), one row per frame'
        )
    if clip.ndim != 1 or clip.dtype.kind != 'U':
        raise InvalidValueError(
            f'got clip of shape {clip.shape} and type {clip.dtype}, expected names (F,)'
        )


def _to_integers(column: np.ndarray, name: str) -> np.ndarray:
    if column.ndim != 1 or column.dtype.kind not in 'iu':
        raise InvalidValueError(
            f'got {name} of shape {column.shape} and type {column.dtype}, expected integers (F,)'
        )
    return to_int32(column, name)
