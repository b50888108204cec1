"""Draw the labels and predictions of a clip in a limited number of columns.

Every frame remains visible, also in long clips.
"""

from collections.abc import Sequence

import numpy as np
from PIL import ImageColor

MAX_COLUMNS = 700  # about one per pixel of the page
FAINTEST = 0.35  # opacity of a single frame in a column of many frames
WHITE, BACKGROUND, TRUTH = (255, 255, 255), (242, 244, 247), (185, 192, 203)
RIGHT, WRONG = (
    (29, 94, 160),
    (214, 69, 65),
)  # distinct for colour-blind readers
MARGIN, TRACK_GAP = 2, 1  # pixels above and below the tracks of a row, and between tracks
TRACK = {1: 6, 2: 5}  # pixels of a track, by number of tracks; 4 for more tracks


def assign_columns(frame_no: np.ndarray, max_columns: int = MAX_COLUMNS) -> tuple[np.ndarray, int]:
    """Assign frames to columns, each of which covers the same number of frame numbers.

    A column is at least as wide as the usual distance of two frames, so that the frames of a set
    that has only every tenth one are neighbours.

    Args:
        frame_no (ndarray): (F,) frame numbers, not decreasing; at least one.
        max_columns (int): Maximum number of columns. Defaults to 700.

    Returns:
        tuple: Column (F,) int of each frame, and the number of frame numbers per column.

    >>> assign_columns(np.array([1, 2, 3, 5, 9]), 5)
    (array([0, 0, 1, 2, 4]), 2)
    """
    offset = frame_no - frame_no[0]
    step = -(-(int(offset[-1]) + 1) // max_columns)
    distance = np.diff(np.unique(offset))
    if len(distance):
        step = max(step, int(np.median(distance)))
    return offset // step, step


def compute_shares(column: np.ndarray, value: np.ndarray, num_values: int) -> np.ndarray:
    """Compute the share of each value in each column, (V, columns), NaN in empty columns.

    >>> compute_shares(np.array([0, 0, 2]), np.array([0, 1, 1]), 2)
    array([[0.5, nan, 0. ],
           [0.5, nan, 1. ]])
    """
    columns = int(column[-1]) + 1
    counts = np.bincount(value * columns + column, minlength=num_values * columns)
    counts = counts.reshape(num_values, columns)
    with np.errstate(invalid='ignore'):
        return counts / counts.sum(axis=0)


def compute_range(column: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Compute minimum, mean and maximum in each column, NaN in empty columns.

    Args:
        column (ndarray): (F,) column of each frame, not decreasing.
        value (ndarray): (F,) or (F, R) values.

    Returns:
        ndarray: (3, columns) or (3, R, columns) float64.
    """
    columns = int(column[-1]) + 1
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    filled, count = column[starts], np.bincount(column)[column[starts]]
    out = np.full((3, *value.shape[1:], columns), np.nan)
    out[0][..., filled] = np.minimum.reduceat(value, starts).T
    out[1][..., filled] = np.add.reduceat(value, starts, dtype=np.float64).T / count
    out[2][..., filled] = np.maximum.reduceat(value, starts).T
    return out


def draw_timeline(
    frame_no: np.ndarray,
    truth: np.ndarray,
    tracks: Sequence[np.ndarray],
    num_classes: int,
    max_columns: int = MAX_COLUMNS,
) -> tuple[np.ndarray, list[int]]:
    """Draw labels and predictions of a clip, with one row per class.

    The label is a grey band in the row of its class. Each prediction is a thinner bar in the row of
    its class: blue and inside the band if correct, red and outside if wrong. In a column of several
    frames, opacity shows their share; a single frame remains visible. Empty columns are white.

    Args:
        frame_no (ndarray): (F,) frame numbers, increasing; at least one.
        truth (ndarray): (F,) labels.
        tracks (Sequence[ndarray]): (F,) predictions of each run, from the top of a row down.
        num_classes (int): Number of classes.
        max_columns (int): Maximum number of columns. Defaults to 700.

    Returns:
        tuple: Image (H, columns, 3) uint8, and the classes of its rows from the top down: those
        that are labelled or predicted.
    """
    column, _ = assign_columns(frame_no, max_columns)
    rows = np.unique(np.concatenate([truth, *tracks])).tolist()
    labelled = compute_shares(column, truth, num_classes)[rows]
    shares = []
    for track in tracks:
        share = compute_shares(column, track + num_classes * (track != truth), 2 * num_classes)
        shares.append((share[:num_classes][rows], share[num_classes:][rows]))
    return draw_rows(labelled, shares), rows


def draw_unit_timeline(
    frame_no: np.ndarray,
    truth: np.ndarray,
    tracks: Sequence[np.ndarray],
    max_columns: int = MAX_COLUMNS,
) -> tuple[np.ndarray, list[int]]:
    """Draw which action units of a clip are present, with one row per unit.

    As :func:`draw_timeline`: a grey band where a unit is annotated, blue bars inside where it is
    predicted, red bars where it is predicted and not annotated.

    Args:
        frame_no (ndarray): (F,) frame numbers, not decreasing; at least one.
        truth (ndarray): (F, U) bool, annotated units.
        tracks (Sequence[ndarray]): (F, U) bool, predicted units of each run.
        max_columns (int): Maximum number of columns. Defaults to 700.

    Returns:
        tuple: Image (H, columns, 3) uint8, and the units of its rows from the top down: those that
        are annotated or predicted, or the first if there is none.
    """
    column, _ = assign_columns(frame_no, max_columns)
    occurs = np.any([truth, *tracks], axis=(0, 1))
    rows = np.flatnonzero(occurs).tolist() or [0]
    shares = [
        (
            compute_range(column, track & truth)[1][rows],
            compute_range(column, track & ~truth)[1][rows],
        )
        for track in tracks
    ]
    return draw_rows(compute_range(column, truth)[1][rows], shares), rows


def draw_rows(labelled: np.ndarray, tracks: Sequence[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Draw rows of labels and predictions from their shares of the columns.

    Args:
        labelled (ndarray): (R, K) share of the frames of each column with the label of the row, NaN
            in empty columns.
        tracks (Sequence[tuple]): For each run the shares (R, K) of correct and of wrong
            predictions.

    Returns:
        ndarray: Image (H, K, 3) uint8.
    """
    height, track_height = compute_row_height(len(tracks)), TRACK.get(len(tracks), 4)
    image = np.full((len(labelled) * height, labelled.shape[1], 3), WHITE, np.float64)
    image[:, ~np.isnan(labelled[0])] = BACKGROUND
    layers = [(TRUTH, labelled, slice(1, height - 1))]
    for at, (right, wrong) in enumerate(tracks):
        top = MARGIN + at * (track_height + TRACK_GAP)
        place = slice(top, top + track_height)
        layers += [(RIGHT, right, place), (WRONG, wrong, place)]
    for colour, share, place in layers:
        opacity = np.where(share > 0, FAINTEST + (1 - FAINTEST) * share, 0)[..., None]
        for row in range(len(labelled)):
            part = image[row * height : (row + 1) * height][place]
            part += (np.array(colour) - part) * opacity[row]
    image[height::height] = WHITE  # a line between rows
    return image.round().astype(np.uint8)


def draw_classes(
    rows: Sequence[int], duration: np.ndarray, seen: np.ndarray, colours: Sequence[str]
) -> np.ndarray:
    """Draw the classes of a face over time, with one row per class in the colour of the class.

    In a column with several classes, opacity shows their share of the time; a single frame remains
    visible. Columns in which the face is not seen are white.

    Args:
        rows (Sequence[int]): Classes of the rows, from the top down.
        duration (ndarray): (C, K) seconds of each class in each column.
        seen (ndarray): (K,) seconds of all classes in each column.
        colours (Sequence[str]): Colours of the C classes, such as ``'#d64541'``.

    Returns:
        ndarray: Image (H, K, 3) uint8.
    """
    height = compute_row_height(1)
    image = np.full((len(rows) * height, len(seen), 3), WHITE, np.float64)
    image[:, seen > 0] = BACKGROUND
    share = duration / np.maximum(seen, 1e-12)
    opacity = np.where(duration > 0, FAINTEST + (1 - FAINTEST) * share, 0)[..., None]
    for at, row in enumerate(rows):
        part = image[at * height + MARGIN : (at + 1) * height - MARGIN]
        part += (np.array(ImageColor.getrgb(colours[row])) - part) * opacity[row]
    image[height::height] = WHITE  # a line between rows
    return image.round().astype(np.uint8)


def compute_row_height(tracks: int) -> int:
    """Compute the height of a class's row in pixels from its number of tracks."""
    return 2 * MARGIN + tracks * (TRACK.get(tracks, 4) + TRACK_GAP) - TRACK_GAP
