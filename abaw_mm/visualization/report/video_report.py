"""Write the HTML report of a video: expressions over time, without labels."""

from collections.abc import Mapping, Sequence

import numpy as np

from abaw_mm.datasets.annotations import PALETTE
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.visualization.report.durations import find_ends, find_stretches
from abaw_mm.visualization.report.figures import draw_face
from abaw_mm.visualization.report.page import make_thumbnail, render_page

TEMPLATE = 'video_report.html.j2'
OPEN_FACES = 8  # number of faces that are visible without a click
STRETCHES = 12  # without a face; more are only counted


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


def make_video_report(
    predictions: Predictions,
    name: str,
    time: np.ndarray,
    face_ids: Mapping[str, int],
    *,
    first_frame: int = 1,
    pictures: Mapping[tuple[str, int], np.ndarray] | None = None,
    chain: Mapping[str, str] | None = None,
    colours: Sequence[str] = PALETTE,
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
            uint8 RGB: those of :func:`find_surest`. The page leaves out missing ones.
        chain (Mapping, optional): Name of a step to its settings, such as ``{'faces': 'MTCNN'}``,
            in the order of the steps. Model and smoothing are added.
        colours (Sequence[str]): Colours of the classes; further classes start again.

    Returns:
        str: An HTML page that loads nothing else.
    """
    colours = [colours[i % len(colours)] for i in range(len(predictions.classes))]
    end = find_ends(time)
    limits = (float(time[0]), float(end[-1])) if len(time) else (0.0, 0.0)
    surest = find_surest(predictions)
    shown = [
        dict(
            _show_face(predictions, clip, first_frame, time, end, limits, colours),
            id=face_ids[clip],
            moments=_show_moments(predictions, clip, surest, pictures or {}),
        )
        for clip in sorted(predictions.clips, key=face_ids.__getitem__)
        if (predictions.clip_id == predictions.clips.index(clip)).any()
    ]
    is_empty = np.ones(len(time), bool)
    is_empty[predictions.frame_no - first_frame] = False
    empty = [(time[a], end[b], b - a + 1) for a, b in find_stretches(is_empty)]
    return render_page(
        TEMPLATE,
        name=name,
        classes=predictions.classes,
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


def _show_face(
    predictions: Predictions,
    clip: str,
    first_frame: int,
    time: np.ndarray,
    end: np.ndarray,
    limits: tuple[float, float],
    colours: Sequence[str],
) -> dict:
    """Collect durations and timeline of one face."""
    rows = predictions.rows_of(predictions.clips.index(clip))
    at = predictions.frame_no[rows] - first_frame
    pred, confidence = predictions['pred_label'][rows], predictions.confidence[rows]
    seconds = np.bincount(pred, end[at] - time[at], len(predictions.classes))
    total = float(seconds.sum())
    return dict(
        clip=clip,
        frames=len(at),
        first=float(time[at[0]]),
        last=float(end[at[-1]]),
        seconds=total,
        by_class=seconds.tolist(),
        share=(seconds / max(total, 1e-12)).tolist(),
        mean=float(confidence.mean()),
        figure=draw_face(
            time[at],
            end[at],
            pred,
            confidence,
            predictions.classes,
            colours,
            limits,
            f'Expressions of {clip} over time',
        ),
    )


def _show_moments(
    predictions: Predictions,
    clip: str,
    rows: np.ndarray,
    pictures: Mapping[tuple[str, int], np.ndarray],
) -> list[dict]:
    """Collect what the page shows of the surest frames of a clip, by the class's frames."""
    clip_id = predictions.clips.index(clip)
    label, confidence = predictions['pred_label'], predictions.confidence
    count = np.bincount(label[predictions.rows_of(clip_id)], minlength=len(predictions.classes))
    rows = rows[predictions.clip_id[rows] == clip_id]
    shown = []
    for row in rows[np.argsort(-count[label[rows]], kind='stable')].tolist():
        picture = pictures.get((clip, int(predictions.frame_no[row])))
        shown.append(
            dict(
                label=int(label[row]),
                confidence=100 * float(confidence[row]),
                time=float(predictions['time'][row]),
                frame=int(predictions.frame_no[row]) - 1,
                picture=None if picture is None else make_thumbnail(picture),
            )
        )
    return shown


def _describe_chain(predictions: Predictions, chain: Mapping[str, str]) -> list[tuple[str, str]]:
    """List the steps from the video to the classes, with their settings."""
    checkpoint = f', checkpoint SHA-256 {predictions.sha256[:12]}…' if predictions.sha256 else ''
    steps = ', '.join(predictions.steps) or 'none; classes are those of single frames'
    return [
        *chain.items(),
        ('classifier', f'{predictions.config or "unknown config"}{checkpoint}'),
        ('postprocessing', steps),
    ]
