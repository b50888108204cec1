"""Write the HTML report of a video: predictions over time, without labels."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations import PALETTE
from abaw_mm.evaluation.metrics.action_unit_f1 import apply_thresholds
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.steps import find_thresholds
from abaw_mm.structures.tasks import (
    ACTION_UNIT,
    ACTION_UNITS,
    AFFECTS,
    EXPRESSION,
    VALENCE_AROUSAL,
    get_targets,
)
from abaw_mm.visualization.report.durations import find_ends, find_stretches
from abaw_mm.visualization.report.figures import draw_face, draw_face_units
from abaw_mm.visualization.report.page import format_change, make_thumbnail, render_page
from abaw_mm.visualization.report.tracks.affect_figures import draw_face_affect

TEMPLATE = 'video_report.html.j2'
OPEN_FACES = 8  # number of faces that are visible without a click
STRETCHES = 12  # without a face; more are only counted
TITLES = {
    'expr': 'Expressions',
    'va': 'Valence and arousal',
    'au': 'Action units',
    'mtl': 'Expressions, valence, arousal and action units',
}


def find_surest(predictions: Predictions) -> np.ndarray:
    """Find the frame of each clip and predicted class with the highest confidence.

    Args:
        predictions (Predictions): Predictions.

    Returns:
        ndarray: Row numbers, by clip and class; of equal frames the first.
    """
    kind = predictions.clip_id.astype(np.int64) * len(predictions.classes)
    kind += predictions['pred_label']
    order = np.lexsort((-predictions.confidence, kind))
    return order[np.unique(kind[order], return_index=True)[1]]


def find_extremes(predictions: Predictions) -> np.ndarray:
    """Find the frames of each clip with the highest and the lowest valence and arousal.

    Args:
        predictions (Predictions): Predictions with ``pred_va``.

    Returns:
        ndarray: (K, 2, 2) row numbers, of each clip, dimension, and highest or lowest; of equal
        frames the first. -1 for clips without a frame.
    """
    found = np.full((len(predictions.clips), len(AFFECTS), 2), -1)
    for clip_id, rows in enumerate(predictions.rows_by_clip()):
        at = np.arange(len(predictions))[rows]
        if len(at):
            values = predictions['pred_va'][at]
            found[clip_id] = at[np.stack([values.argmax(axis=0), values.argmin(axis=0)], axis=1)]
    return found


def find_strongest(predictions: Predictions) -> list[tuple[int, int]]:
    """Find the frame of each clip and active action unit with the highest probability.

    Args:
        predictions (Predictions): Predictions with ``pred_au``.

    Returns:
        list[tuple[int, int]]: Row number and unit, by clip and unit; of equal frames the first.
    """
    active = _find_active(predictions)
    found = []
    for rows in predictions.rows_by_clip():
        at = np.arange(len(predictions))[rows]
        for unit in np.flatnonzero(active[at].any(axis=0)).tolist():
            score = np.where(active[at, unit], predictions['pred_au'][at, unit], -1)
            found.append((int(at[score.argmax()]), unit))
    return found


def find_moments(predictions: Predictions) -> np.ndarray:
    """Find the frames whose pictures the page shows.

    Args:
        predictions (Predictions): Predictions of any track.

    Returns:
        ndarray: Row numbers of :func:`find_surest`, :func:`find_extremes` and
        :func:`find_strongest`, as far as the track has them, each once.
    """
    rows = [np.empty(0, np.int64)]
    targets = get_targets(predictions.task)
    if EXPRESSION in targets:
        rows.append(find_surest(predictions))
    if VALENCE_AROUSAL in targets:
        rows.append(find_extremes(predictions).ravel())
    if ACTION_UNIT in targets:
        rows.append(np.array([row for row, _ in find_strongest(predictions)], np.int64))
    every = np.unique(np.concatenate(rows))
    return every[every >= 0]


def _find_active(predictions: Predictions) -> np.ndarray:
    """Return which action units are active, (F, U) bool."""
    return apply_thresholds(predictions['pred_au'], find_thresholds(predictions.steps))


def make_video_report(
    predictions: Predictions,
    name: str,
    time: np.ndarray,
    face_ids: Mapping[str, int],
    *,
    first_frame: int = 1,
    pictures: Mapping[tuple[str, int], np.ndarray] | None = None,
    chain: Mapping[str, str] | None = None,
) -> str:
    """Render the report of a video.

    Args:
        predictions (Predictions): Faces of the video, one clip per person. ``frame_no`` counts the
            frames of the video from 1.
        name (str): Name of the video.
        time (ndarray): (T,) time of every frame that was read, in seconds, not decreasing. Their
            numbers are consecutive.
        face_ids (Mapping): Clip to the id of its face.
        first_frame (int): Number of the first of these frames. Defaults to 1.
        pictures (Mapping, optional): Clip and frame number to the picture of the face, (H, W, 3)
            uint8 RGB: those of :func:`find_moments`. The page leaves out missing ones.
        chain (Mapping, optional): Name of a step to its settings, such as ``{'faces': 'MTCNN'}``,
            in the order of the steps. Model and smoothing are added.

    Returns:
        str: An HTML page that loads nothing else.
    """
    colours = [PALETTE[i % len(PALETTE)] for i in range(len(predictions.classes))]
    end = find_ends(time)
    limits = (float(time[0]), float(end[-1])) if len(time) else (0.0, 0.0)
    targets = get_targets(predictions.task)
    shown = []
    for clip in sorted(predictions.clips, key=face_ids.__getitem__):
        rows = predictions.rows_of(predictions.clips.index(clip))
        at = predictions.frame_no[rows] - first_frame
        if not len(at):
            continue
        span = time[at], end[at]
        face = dict(
            clip=clip,
            id=face_ids[clip],
            name=_name_face(face_ids[clip], clip, name),
            frames=len(at),
            first=float(time[at[0]]),
            last=float(end[at[-1]]),
            seconds=float(np.sum(span[1] - span[0])),
            figures=[],
            moments=[],
        )
        own, album = predictions.select_clips([clip]), pictures or {}
        if EXPRESSION in targets:
            _add_expressions(face, own, span, limits, colours, album)
        if VALENCE_AROUSAL in targets:
            _add_affect(face, own, span, limits, album)
        if ACTION_UNIT in targets:
            _add_units(face, own, span, limits, album)
        shown.append(face)
    is_empty = np.ones(len(time), bool)
    is_empty[predictions.frame_no - first_frame] = False
    empty = [(time[a], end[b], b - a + 1) for a, b in find_stretches(is_empty)]
    return render_page(
        TEMPLATE,
        name=name,
        title=TITLES[predictions.task],
        classes=predictions.classes,
        dimensions=AFFECTS if VALENCE_AROUSAL in targets else (),
        units=_list_units(shown) if ACTION_UNIT in targets else None,
        colours=colours,
        faces=shown,
        open_faces=OPEN_FACES,
        frames=len(time),
        limits=limits,
        empty_frames=int(is_empty.sum()),
        empty_seconds=sum(b - a for a, b, _ in empty),
        empty=sorted(sorted(empty, key=lambda x: x[0] - x[1])[:STRETCHES]),
        num_empty=len(empty),
        chain=_describe_chain(predictions, chain or {}),
        has_pictures=bool(pictures),
    )


Span = tuple[np.ndarray, np.ndarray]  # first and last second of each frame with a face
Album = Mapping[tuple[str, int], np.ndarray]


def _add_expressions(
    face: dict,
    own: Predictions,
    span: Span,
    limits: tuple[float, float],
    colours: Sequence[str],
    album: Album,
) -> None:
    """Add the classes of a face: durations, timeline, surest moments by the class's frames."""
    pred, confidence = own['pred_label'], own.confidence
    seconds = np.bincount(pred, span[1] - span[0], len(own.classes))
    share = seconds / max(face['seconds'], 1e-12)
    label = f'Expressions of {face["clip"]} over time'
    face['figures'].append(draw_face(*span, pred, confidence, own.classes, colours, limits, label))
    face.update(by_class=seconds.tolist(), share=share.tolist(), mean=float(confidence.mean()))
    rows, count = find_surest(own), np.bincount(pred, minlength=len(own.classes))
    for row in rows[np.argsort(-count[pred[rows]], kind='stable')].tolist():
        k = int(pred[row])
        title = f'{own.classes[k]} {100 * confidence[row]:.1f} %'
        detail = f'{100 * share[k]:.1f} %, {seconds[k]:.2f} s'
        face['moments'].append(_show_moment(own, row, title, detail, 'surest', album, colours[k]))


def _add_affect(
    face: dict, own: Predictions, span: Span, limits: tuple[float, float], album: Album
) -> None:
    """Add valence and arousal of a face: means over time, timeline, extreme moments."""
    values = own['pred_va'].astype(np.float64)
    length = (span[1] - span[0])[:, None]
    mean = (length * values).sum(axis=0) / length.sum()
    face['affect'] = np.stack(
        [
            mean,
            np.sqrt((length * (values - mean) ** 2).sum(axis=0) / length.sum()),
            values.min(axis=0),
            values.max(axis=0),
        ]
    ).tolist()
    label = f'Valence and arousal of {face["clip"]} over time'
    face['figures'].append(draw_face_affect(*span, values, limits, label))
    for column, rows in enumerate(find_extremes(own)[0].tolist()):
        for what, row in zip(('highest', 'lowest'), rows, strict=True):
            title = f'{what} {AFFECTS[column]} {format_change(values[row, column])}'
            detail = f'{AFFECTS[1 - column]} {format_change(values[row, 1 - column])}'
            face['moments'].append(_show_moment(own, row, title, detail, '', album))


def _add_units(
    face: dict, own: Predictions, span: Span, limits: tuple[float, float], album: Album
) -> None:
    """Add the action units of a face: durations, timeline, strongest moments."""
    active = _find_active(own)
    seconds = (span[1] - span[0]) @ active
    face['unit_seconds'] = seconds.tolist()
    face['unit_share'] = (seconds / max(face['seconds'], 1e-12)).tolist()
    label = f'Action units of {face["clip"]} over time'
    if active.any():
        face['figures'].append(draw_face_units(*span, active, ACTION_UNITS, limits, label))
    for row, unit in find_strongest(own):
        title = f'{ACTION_UNITS[unit]} {100 * own["pred_au"][row, unit]:.1f} %'
        detail = f'{100 * face["unit_share"][unit]:.1f} %, {seconds[unit]:.2f} s'
        face['moments'].append(_show_moment(own, row, title, detail, 'strongest', album))


def _show_moment(
    own: Predictions,
    row: int,
    title: str,
    detail: str,
    when: str,
    album: Album,
    colour: str | None = None,
) -> dict:
    """Collect what the page shows of a frame of a face."""
    picture = album.get((own.clips[0], int(own.frame_no[row])))
    return dict(
        title=title,
        detail=detail,
        when=f'{when} at'.lstrip(),
        colour=colour,
        time=float(own['time'][row]),
        frame=int(own.frame_no[row]) - 1,
        picture=None if picture is None else make_thumbnail(picture),
    )


def _name_face(face_id: int, clip: str, name: str) -> str:
    """Return the heading of a face, with the word that a drawn video shows beside its id.

    >>> _name_face(1, 'talk_left', 'talk.mp4'), _name_face(0, 'talk', 'talk.mp4')
    ('Face 1 (left)', 'Face 0')
    """
    place = clip.removeprefix(Path(name).stem).strip('_')
    return f'Face {face_id}' + f' ({place})' * bool(place)


def _list_units(faces: Sequence[dict]) -> list[tuple[int, str]]:
    """List number and name of the action units that are active on some face."""
    return [
        (unit, name)
        for unit, name in enumerate(ACTION_UNITS)
        if any(face['unit_seconds'][unit] for face in faces)
    ]


def _describe_chain(predictions: Predictions, chain: Mapping[str, str]) -> list[tuple[str, str]]:
    """List the steps from the video to the predictions, with their settings."""
    checkpoint = f', checkpoint SHA-256 {predictions.sha256[:12]}…' if predictions.sha256 else ''
    steps = ', '.join(predictions.steps) or 'none; predictions are those of single frames'
    return [
        *chain.items(),
        ('classifier', f'{predictions.config or "unknown config"}{checkpoint}'),
        ('postprocessing', steps),
    ]
