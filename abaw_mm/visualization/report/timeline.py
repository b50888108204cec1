"""A clip of any length in some hundred columns, of which none hides a frame."""

from collections.abc import Sequence

import numpy as np

MAX_COLUMNS = 700  # about one a pixel of the page
FAINTEST = 0.35  # opacity of a single frame in a column of many
WHITE, BACKGROUND, TRUTH = (255, 255, 255), (242, 244, 247), (185, 192, 203)
RIGHT, WRONG = (29, 94, 160), (214, 69, 65)  # apart for the colour-blind; wrong ones lie off TRUTH
MARGIN, TRACK_GAP = 2, 1  # pixels of a row above and below its tracks, and between them
TRACK = {1: 6, 2: 5}  # pixels of a track, by their number; 4 of more


def columns_of(frame_no: np.ndarray, max_columns: int = MAX_COLUMNS) -> tuple[np.ndarray, int]:
    """The column of each frame; every column is of as many frame numbers, there or not.

    Args:
        frame_no (ndarray): (F, ) rising, at least one.
        max_columns (int): Most columns.

    Returns:
        tuple: (F, ) int columns, and the number of frame numbers in each.

    >>> columns_of(np.array([1, 2, 5, 9]), 5)
    (array([0, 0, 2, 4]), 2)
    """
    offset = frame_no - frame_no[0]
    step = -(-(int(offset[-1]) + 1) // max_columns)
    return offset // step, step


def shares(column: np.ndarray, value: np.ndarray, num_values: int) -> np.ndarray:
    """Share of each value among the frames of a column, (V, columns), NaN where there is none.

    >>> shares(np.array([0, 0, 2]), np.array([0, 1, 1]), 2)
    array([[0.5, nan, 0. ],
           [0.5, nan, 1. ]])
    """
    columns = int(column[-1]) + 1
    counts = np.bincount(value * columns + column, minlength=num_values * columns)
    counts = counts.reshape(num_values, columns)
    with np.errstate(invalid='ignore'):
        return counts / counts.sum(axis=0)


def range_of(column: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Least, mean and greatest value in each column, (3, columns), NaN where there is no frame."""
    columns = int(column[-1]) + 1
    starts = np.flatnonzero(np.diff(column, prepend=-1))
    out = np.full((3, columns), np.nan)
    there = column[starts]
    out[0, there] = np.minimum.reduceat(value, starts)
    out[1, there] = np.add.reduceat(value, starts, dtype=np.float64) / np.bincount(column)[there]
    out[2, there] = np.maximum.reduceat(value, starts)
    return out


def draw_timeline(
    frame_no: np.ndarray,
    truth: np.ndarray,
    tracks: Sequence[np.ndarray],
    num_classes: int,
    max_columns: int = MAX_COLUMNS,
) -> tuple[np.ndarray, list[int]]:
    """Draw truth and predictions of a clip: a row a class, a column some frames.

    The truth is a grey band in its class's row. Each prediction is a thinner bar in the row of its
    class: within the grey band and blue where right, off it and red where wrong. Where a column
    holds several frames, opacity is their share, but never so little that one is not seen. Columns
    without a frame stay white.

    Args:
        frame_no (ndarray): (F, ) rising, at least one.
        truth (ndarray): (F, ) labels.
        tracks: Predictions (F, ), from top to bottom of a row.
        num_classes (int): Number of classes.
        max_columns (int): Most columns.

    Returns:
        tuple: (H, columns, 3) uint8, and the classes of the rows, from top to bottom: those that
        are labelled or predicted.
    """
    column, _ = columns_of(frame_no, max_columns)
    rows = np.unique(np.concatenate([truth, *tracks])).tolist()
    height, track_height = row_height(len(tracks)), TRACK.get(len(tracks), 4)
    there = shares(column, truth, num_classes)
    image = np.full((len(rows) * height, there.shape[1], 3), WHITE, np.float64)
    image[:, ~np.isnan(there[0])] = BACKGROUND
    layers = [(TRUTH, there, slice(1, height - 1))]
    for at, track in enumerate(tracks):
        top = MARGIN + at * (track_height + TRACK_GAP)
        by_right = shares(column, track + num_classes * (track != truth), 2 * num_classes)
        place = slice(top, top + track_height)
        layers += [(RIGHT, by_right[:num_classes], place), (WRONG, by_right[num_classes:], place)]
    for colour, share, place in layers:
        opacity = np.where(share > 0, FAINTEST + (1 - FAINTEST) * share, 0)[..., None]
        for at, row in enumerate(rows):
            part = image[at * height : (at + 1) * height][place]
            part += (np.array(colour) - part) * opacity[row]
    image[height::height] = WHITE  # a line between rows
    return image.round().astype(np.uint8), rows


def row_height(tracks: int) -> int:
    """Pixels of a class's row with some tracks."""
    return 2 * MARGIN + tracks * (TRACK.get(tracks, 4) + TRACK_GAP) - TRACK_GAP
