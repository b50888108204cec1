"""The faces of one picture."""

from dataclasses import dataclass

import numpy as np

POINTS = ('left_eye', 'right_eye', 'nose', 'mouth_left', 'mouth_right')  # left: of the picture


@dataclass(frozen=True, eq=False)
class Faces:
    """The K faces of one picture, in pixels of that picture.

    Pixel (x, y) covers the square from (x, y) to (x + 1, y + 1). Boxes and points may lie outside
    of the picture.

    Attributes:
        box (ndarray): (K, 4) float32, left, top, right and bottom.
        points (ndarray): (K, 5, 2) float32, x and y of :data:`POINTS`.
        score (ndarray): (K,) float32, confidence that it is a face, in 0-1.
    """

    box: np.ndarray
    points: np.ndarray
    score: np.ndarray

    @classmethod
    def none(cls) -> 'Faces':
        """Return the faces of a picture without any."""
        return cls(
            np.empty((0, 4), np.float32),
            np.empty((0, len(POINTS), 2), np.float32),
            np.empty(0, np.float32),
        )

    def __len__(self) -> int:
        return len(self.score)

    def take(self, rows: np.ndarray | slice) -> 'Faces':
        """Return the given faces: row numbers, a mask or a slice."""
        return Faces(self.box[rows], self.points[rows], self.score[rows])
