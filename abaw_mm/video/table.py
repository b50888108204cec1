"""The table of a video: one row per face and frame."""

import csv
import os
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten
from abaw_mm.evaluation import Predictions
from abaw_mm.files import open_atomic
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import ACTION_UNITS, AFFECTS, find_task, get_targets
from abaw_mm.video.track.face_tracks import FaceTracks

# Names of py-feat's tables.
VALUES = dict(pred_va=AFFECTS, pred_au=tuple(f'AU{int(name[2:]):02d}' for name in ACTION_UNITS))
FACE = ('FaceRectX', 'FaceRectY', 'FaceRectWidth', 'FaceRectHeight', 'FaceScore')


def build_predictions(
    tracks: FaceTracks,
    score: np.ndarray | Mapping[str, np.ndarray],
    classes: Sequence[str],
    sha256: str = '',
    config: str = '',
) -> Predictions:
    """Combine the faces of a video and what a model predicts into predictions without labels.

    Args:
        tracks (FaceTracks): Faces of the video, F rows.
        score (ndarray | Mapping): (F, C) probabilities of the faces, in the order of the rows; or
            the columns of a track, such as ``pred_va`` (F, 2).
        classes (Sequence[str]): Names of the C classes.
        sha256 (str): Checksum of the checkpoint file.
        config (str): Name of the config.

    Returns:
        Predictions: The same frames, sorted by clip name and frame number, with the column
        ``time``.
    """
    columns = label_scores(score if isinstance(score, Mapping) else dict(pred_score=score))
    hidden = {
        target.ground_truth: np.full(
            (len(tracks), *target.shape),
            target.hidden,
            np.float32 if target.dtype is np.float32 else np.int32,
        )
        for target in get_targets(find_task(list(columns)))
    }
    table = FrameTable.from_rows(
        tracks.clip, tracks.frame_no, **hidden, **columns, time=tracks.face_time
    ).sort()
    return Predictions(
        table.clips,
        table.clip_id,
        table.frame_no,
        table.columns,
        classes=classes,
        sha256=sha256,
        config=config,
    )


def label_scores(columns: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the columns of a track in float32, with ``pred_label`` (F,) if it has classes."""
    floats = {name: values.astype(np.float32) for name, values in columns.items()}
    if 'pred_score' in floats:
        floats['pred_label'] = floats['pred_score'].argmax(axis=1).astype(np.int32)
    return floats


def write_table(
    path: str | os.PathLike, name: str, tracks: FaceTracks, predictions: Predictions
) -> None:
    """Write the table of a video as ``.csv``, atomically.

    A frame has a row for each face, in the order of their ids, or a single row with
    ``success`` 0 and empty cells if it shows no face. The columns are, in this order:

    - ``input``: ``name``.
    - ``frame``: number of the frame in the video, from 0.
    - ``timestamp``: presentation time in seconds, to the microsecond.
    - ``face_id``: id of the person, from 0 in order of appearance.
    - ``success``: 1 for a face, else 0.
    - ``FaceRectX``, ``FaceRectY``, ``FaceRectWidth``, ``FaceRectHeight``: box in pixels.
    - ``FaceScore``: confidence of the detector, in 0-1.
    - a column per class, its name in lower case: probability.
    - ``valence``, ``arousal``: in -1 to 1.
    - ``AU01``, ``AU02``, ``AU04``, ... ``AU26``: probability of each action unit.
    - ``label``: predicted class, in lower case.
    - ``confidence``: its probability.

    Of the last four, a table has what the model's track predicts. The names are those of py-feat.

    Args:
        path (str): File to write.
        name (str): Name of the video.
        tracks (FaceTracks): Faces of the video.
        predictions (Predictions): Predictions of the same faces, see :func:`build_predictions`.

    Raises:
        InvalidValueError: If predictions and faces differ, or classes cannot be columns.
        FileAccessError: If the file cannot be written.
    """
    rows = _match_faces(tracks, predictions)
    order = np.lexsort((tracks.clip_id, tracks.frame_no))
    every = np.arange(len(tracks.time)) + tracks.first_frame
    empty = np.setdiff1d(every, tracks.frame_no)
    face = np.append(order, np.full(len(empty), -1))
    frame = np.append(tracks.frame_no[order], empty) - 1
    order = np.argsort(frame, kind='stable')
    face, frame = face[order], frame[order]
    write_faces(
        path,
        dict(
            input=[name] * len(frame),
            frame=frame.tolist(),
            timestamp=[f'{time:.6f}' for time in tracks.time[frame + 1 - tracks.first_frame]],
            face_id=['' if row < 0 else tracks.clip_id[row] for row in face],
        ),
        face,
        dict(
            box=tracks['box'],
            score=tracks['score'],
            **{
                name: predictions[name][rows]
                for name in ('pred_label', 'pred_score', *VALUES)
                if name in predictions.columns
            },
        ),
        predictions.classes,
    )


def write_faces(
    path: str | os.PathLike,
    places: Mapping[str, Sequence],
    face: np.ndarray,
    faces: Mapping[str, np.ndarray],
    classes: Sequence[str],
) -> None:
    """Write a table of faces as ``.csv``, atomically; :func:`write_table` describes the columns.

    Args:
        path (str): File to write.
        places (Mapping): First columns by name: R values each.
        face (ndarray): (R,) int, the face of each row, -1 for none.
        faces (Mapping): Columns of the F faces: ``box`` (F, 4), ``score`` (F,), which is NaN
            without a detector, and those of a track: ``pred_label`` (F,) and ``pred_score`` (F, C),
            ``pred_va`` (F, 2), ``pred_au`` (F, 12).
        classes (Sequence[str]): Names of the C classes.

    Raises:
        InvalidValueError: If classes cannot be columns, because their names are not unique in lower
            case or are those of other columns.
        FileAccessError: If the file cannot be written.
    """
    names = [name.lower() for name in classes]
    values = {name: columns for name, columns in VALUES.items() if name in faces}
    header = [
        *places,
        'success',
        *FACE,
        *names,
        *(x for columns in values.values() for x in columns),
    ]
    header += ['label', 'confidence'] if 'pred_label' in faces else []
    _check_header(header)
    nothing = ['0', *[''] * (len(header) - len(places) - 1)]
    with open_atomic(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(header)
        for row, *place in zip(face.tolist(), *places.values(), strict=True):
            writer.writerow([*place, *(nothing if row < 0 else _format_face(faces, row, names))])


def _format_face(faces: Mapping[str, np.ndarray], row: int, names: Sequence[str]) -> list[str]:
    left, top, right, bottom = faces['box'][row].tolist()
    found = faces['score'][row]
    values = [x for name in ('pred_score', *VALUES) if name in faces for x in faces[name][row]]
    cells = [
        '1',
        *(f'{x:.2f}' for x in (left, top, right - left, bottom - top)),
        '' if np.isnan(found) else f'{found:.6f}',
        *(f'{x:.6f}' for x in values),
    ]
    if 'pred_label' in faces:
        label = faces['pred_label'][row]
        cells += [names[label], f'{faces["pred_score"][row, label]:.6f}']
    return cells


def _check_header(header: Sequence[str]) -> None:
    twice = [name for name, number in Counter(header).items() if number > 1]
    if twice:
        raise InvalidValueError(
            f'got the columns {shorten(twice)} twice, expected different names: classes in lower '
            'case are columns of the table; rename them in the metainfo of the dataset'
        )


def _match_faces(tracks: FaceTracks, predictions: Predictions) -> np.ndarray:
    """Return the row of the predictions of each face, (F,)."""
    rows = predictions.find(tracks)
    if len(predictions) != len(tracks) or np.any(rows < 0):
        without = tracks.name_frames(np.flatnonzero(rows < 0))
        raise InvalidValueError(
            f'got {len(predictions)} predictions for {len(tracks)} faces'
            f'{f", none for {shorten(without)}" if without else ""}, expected one for each face; '
            'use the tracks and the predictions of the same run'
        )
    return rows
