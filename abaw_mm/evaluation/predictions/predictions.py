"""Predictions of frames as a file: what a test leaves, and what all that follows it reads."""

import csv
import os
import pickle
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from abaw_mm.datasets.annotations import (
    EXPRESSIONS,
    UNLABELLED,
)
from abaw_mm.errors import shorten
from abaw_mm.evaluation.metrics.frame_metric import FrameResults
from abaw_mm.files import atomic_write

SCORES = 'probability'  # what pred_score holds
REQUIRED = ('clip', 'frame_no', 'pred_score', 'classes')  # arrays of a file
# Scores of a frame sum to 1; float32 misses it by 1e-6, a network that ran in bfloat16 by 1e-2.
SUM_TOLERANCE = 0.02
MAKE_AGAIN = 'make the file again with tools/test.py CONFIG CHECKPOINT --out predictions.npz'


@dataclass
class Predictions(FrameResults):
    """Predictions of a set: :class:`FrameResults`, and where they come from.

    The scores are probabilities: each in 0-1, of a frame together 1. ``pred_label`` is the class
    that was chosen, usually the likeliest.

    Attributes:
        classes (tuple[str]): Names of the C classes, in the order of the scores.
        sha256 (str): Checksum of the checkpoint's file, '' where it is not known.
        config (str): Name of the config, '' where it is not known.

    Raises:
        ValueError: For columns that do not fit each other, scores that are no probabilities, a
            frame that comes twice, or frames that are not sorted by clip and number.
    """

    classes: tuple[str, ...]
    sha256: str = ''
    config: str = ''

    def __post_init__(self) -> None:
        self.classes = tuple(self.classes)
        _check_columns(self)
        _check_scores(self)
        key = self.clip_id.astype(np.int64) << 32 | self.frame_no
        if np.any(key[1:] <= key[:-1]) or list(self.clips) != sorted(set(self.clips)):
            raise ValueError(
                'predictions: got frames in another order, expected them sorted by clip and number'
            )

    # ------------------------------------------------------------------------------- the file

    @classmethod
    def read(cls, path: str | os.PathLike) -> 'Predictions':
        """Read a ``.npz`` that :meth:`write` made, or another with the same arrays.

        ``clip``, ``frame_no``, ``pred_score`` and ``classes`` have to be there, the others need
        not; rows may have any order. Nothing is unpickled, so the file cannot run code.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: Naming the file and what is wrong with it.
        """
        arrays = _load(Path(path))
        try:
            return cls._of_arrays(arrays)
        except (ValueError, TypeError) as error:
            raise ValueError(f'{path}: {error}; {MAKE_AGAIN}') from error

    @classmethod
    def _of_arrays(cls, arrays: dict[str, np.ndarray]) -> 'Predictions':
        missing = [name for name in REQUIRED if name not in arrays]
        if missing:
            raise ValueError(
                f'got the arrays {shorten(sorted(arrays))}, expected {shorten(missing)} as well'
            )
        kind = str(arrays.get('scores', SCORES))
        if kind != SCORES:
            raise ValueError(f'got scores of the kind {kind!r}, expected {SCORES!r}')
        score, clip = arrays['pred_score'], arrays['clip']
        if score.ndim != 2 or score.dtype.kind not in 'fiu':
            raise ValueError(
                f'got pred_score of shape {score.shape} and type {score.dtype}, expected numbers '
                '(F, C), a row a frame'
            )
        if clip.ndim != 1 or clip.dtype.kind != 'U':
            raise ValueError(
                f'got clip of shape {clip.shape} and type {clip.dtype}, expected names (F, )'
            )
        score = score.astype(np.float32)
        starts = np.append(True, clip[1:] != clip[:-1])[: len(clip)]  # names come in runs
        clips, run_id = np.unique(clip[starts], return_inverse=True)
        columns = dict(
            clip_id=run_id.astype(np.int32)[np.cumsum(starts) - 1],
            frame_no=_whole_numbers(arrays['frame_no'], 'frame_no'),
            gt_label=_whole_numbers(
                arrays.get('gt_label', np.full(len(clip), UNLABELLED)), 'gt_label'
            ),
            pred_label=_whole_numbers(
                arrays.get('pred_label', score.argmax(1) if score.size else np.empty(0, int)),
                'pred_label',
            ),
            pred_score=score,
        )
        _same_length(columns)
        order = np.lexsort((columns['frame_no'], columns['clip_id']))
        return cls(
            clips.tolist(),
            **{name: column[order] for name, column in columns.items()},
            classes=tuple(arrays['classes'].tolist()),
            sha256=str(arrays.get('sha256', '')),
            config=str(arrays.get('config', '')),
        )

    def write(self, path: str | os.PathLike) -> None:
        """Write a file, whole or not at all; :meth:`read` takes the ``.npz``.

        ``.npz`` has arrays: ``np.load(path)['pred_score']`` is (F, C), nothing in it is pickled.
        ``.pkl`` has a dict a frame, as mmpretrain's ``tools/analysis_tools`` read it, and ``.csv``
        a row a frame.

        Raises:
            ValueError: For another kind of file.
        """
        writer = writer_of(path)
        with atomic_write(path) as draft:
            writer(draft, self)

    # ----------------------------------------------------------------------------- fitting others

    def expect_classes(self, classes: Sequence[str] = EXPRESSIONS, name: str = '') -> None:
        """Refuse predictions of other classes, or of the same in another order.

        Args:
            classes: The names that are expected.
            name (str): Of the predictions, for the message.

        Raises:
            ValueError: With the first difference.
        """
        if self.classes == tuple(classes):
            return
        pairs = zip(self.classes, classes, strict=False)
        first = next(
            (i for i, (got, want) in enumerate(pairs) if got != want),
            min(len(self.classes), len(classes)),
        )
        got, want = (
            (names[first : first + 1] or ['nothing'])[0]
            for names in (list(self.classes), list(classes))
        )
        raise ValueError(
            f'{name or "predictions"}: got {len(self.classes)} classes {", ".join(self.classes)}, '
            f'expected {len(classes)}, {", ".join(classes)}; the first difference is class '
            f'{first}, {got} instead of {want}. Give predictions of a model of these classes'
        )


# ------------------------------------------------------------------------------------- writing


def _write_npz(path: Path, predictions: Predictions) -> None:
    with open(path, 'wb') as file:
        np.savez_compressed(
            file,
            classes=np.array(predictions.classes),
            scores=np.array(SCORES),
            sha256=np.array(predictions.sha256),
            config=np.array(predictions.config),
            clip=predictions.clip,
            frame_no=predictions.frame_no,
            gt_label=predictions.gt_label,
            pred_label=predictions.pred_label,
            pred_score=predictions.pred_score,
        )


def _write_csv(path: Path, predictions: Predictions) -> None:
    """A row a frame: clip, frame_no, gt_label, pred_label, then a score for each class."""
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['clip', 'frame_no', 'gt_label', 'pred_label', *predictions.classes])
        clip = predictions.clip
        for row in range(len(predictions)):
            writer.writerow(
                [
                    clip[row],
                    predictions.frame_no[row],
                    predictions.gt_label[row],
                    predictions.pred_label[row],
                    *(f'{x:.6f}' for x in predictions.pred_score[row]),
                ]
            )


def _write_pkl(path: Path, predictions: Predictions) -> None:
    """A dict a frame, as mmpretrain's tools/analysis_tools read it."""
    # the same three objects in every row: the pickle holds them once
    source = dict(classes=predictions.classes, sha256=predictions.sha256, config=predictions.config)
    rows = [
        dict(
            clip=predictions.clips[predictions.clip_id[row]],
            frame_no=int(predictions.frame_no[row]),
            gt_label=torch.tensor([int(predictions.gt_label[row])]),
            pred_label=torch.tensor([int(predictions.pred_label[row])]),
            pred_score=torch.from_numpy(predictions.pred_score[row].copy()),
            **source,
        )
        for row in range(len(predictions))
    ]
    path.write_bytes(pickle.dumps(rows))


WRITERS: dict[str, Callable[[Path, Predictions], None]] = {
    '.npz': _write_npz,
    '.csv': _write_csv,
    '.pkl': _write_pkl,
    '.pickle': _write_pkl,
}


def writer_of(path: str | os.PathLike) -> Callable[[Path, Predictions], None]:
    """What writes the kind of file that a path ends in."""
    suffix = Path(path).suffix
    if suffix not in WRITERS:
        raise ValueError(
            f'got {os.fspath(path)!r}, expected a file for predictions that ends in one of '
            f'{", ".join(WRITERS)}; change --out'
        )
    return WRITERS[suffix]


# ------------------------------------------------------------------------------------- reading


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a .npz."""
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such file, expected the .npz of predictions; {MAKE_AGAIN}'
        )
    if path.suffix in ('.pkl', '.pickle', '.csv'):
        raise ValueError(
            f'{path}: got a {path.suffix} file, expected the .npz of predictions (a pickle can run '
            f'code, a .csv does not hold all); {MAKE_AGAIN}'
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (
        ValueError,
        AttributeError,
        TypeError,
        EOFError,
        OSError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise ValueError(
            f'{path}: got a file that is damaged or no .npz of plain arrays ({error}), expected '
            f'predictions; {MAKE_AGAIN}'
        ) from error


def _whole_numbers(column: np.ndarray, name: str) -> np.ndarray:
    if column.ndim != 1 or column.dtype.kind not in 'iu':
        raise ValueError(
            f'got {name} of shape {column.shape} and type {column.dtype}, expected whole numbers '
            '(F, )'
        )
    return column.astype(np.int32)


def _same_length(columns: dict[str, np.ndarray]) -> None:
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f'got columns of different lengths, {lengths}, expected one row a frame')


def _check_columns(p: Predictions) -> None:
    names = ('clip_id', 'frame_no', 'gt_label', 'pred_label', 'pred_score')
    _same_length({name: getattr(p, name) for name in names})
    if p.pred_score.ndim != 2 or p.pred_score.shape[1] != len(p.classes):
        raise ValueError(
            f'got scores of shape {p.pred_score.shape} for {len(p.classes)} classes '
            f'{shorten(list(p.classes))}, expected a column a class'
        )
    if len(set(p.classes)) < len(p.classes) or not all(isinstance(c, str) for c in p.classes):
        raise ValueError(f'got the classes {list(p.classes)}, expected names that differ')
    for name, column, lowest in (
        ('gt_label', p.gt_label, UNLABELLED),
        ('pred_label', p.pred_label, 0),
    ):
        bad = np.flatnonzero((column < lowest) | (column >= len(p.classes)))
        if len(bad):
            raise ValueError(
                f'got the {name} {column[bad[0]]} for {_frame(p, bad[0])} ({len(bad)} such '
                f'frames), expected {lowest}..{len(p.classes) - 1}'
            )
    if np.any(p.frame_no < 0):
        raise ValueError('got negative frame numbers, expected those of the file names')
    again = np.flatnonzero((np.diff(p.clip_id) == 0) & (np.diff(p.frame_no) == 0))
    if len(again):
        raise ValueError(
            f'got {_frame(p, again[0])} twice ({len(again)} such rows), expected each frame once'
        )


def _check_scores(p: Predictions) -> None:
    finite = np.isfinite(p.pred_score).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        raise ValueError(
            f'got the scores {p.pred_score[row].tolist()} for {_frame(p, row)} '
            f'({np.count_nonzero(~finite)} such frames), expected finite numbers; the training '
            'diverged or the file is damaged'
        )
    sums = p.pred_score.sum(axis=1)
    fits = (abs(sums - 1) <= SUM_TOLERANCE) & (p.pred_score >= 0).all(axis=1)
    if not fits.all():
        row = int(fits.argmin())
        raise ValueError(
            f'got the scores {np.round(p.pred_score[row], 4).tolist()} for {_frame(p, row)}, whose '
            f'sum is {sums[row]:.4g} ({np.count_nonzero(~fits)} such frames), expected '
            'probabilities: each in 0-1, of a frame together 1 (logits need a softmax)'
        )


def _frame(p: Predictions, row: int) -> str:
    return f'frame {p.frame_no[row]} of {p.clips[p.clip_id[row]]!r}'
