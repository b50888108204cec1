"""Measure where a detector finds the points of faces in aligned crops."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from abaw_mm.video.face_template import FaceTemplate
from abaw_mm.video.faces import POINTS
from abaw_mm.video.find.face_finder import FaceFinder

MARGIN = 0.5  # of the crop, on each side: a detector needs more than the face
GAUSSIAN = 1.4826  # standard deviation of a normal distribution by its median absolute deviation


@dataclass(frozen=True, eq=False)
class MeasuredPoints:
    """Points of the faces in N crops of one size.

    Attributes:
        points (ndarray): (F, 5, 2) points of the F faces that were found, see :class:`Faces`.
        missed (int): Number of crops in which no face was found.
        size (int): Height and width of the crops in pixels.
    """

    points: np.ndarray
    missed: int
    size: int

    @property
    def template(self) -> FaceTemplate:
        """The median points. Crops that are turned or badly aligned do not move them."""
        return FaceTemplate(np.median(self.points, axis=0).astype(np.float64), self.size)

    @property
    def spread(self) -> np.ndarray:
        """(5, 2) spread of x and y around the template, on the scale of a standard deviation."""
        return GAUSSIAN * np.median(np.abs(self.points - self.template.points), axis=0)


def measure_points(finder: FaceFinder, crops: Iterable[np.ndarray], size: int) -> MeasuredPoints:
    """Find the face of each crop.

    Args:
        finder (FaceFinder): The detector.
        crops (Iterable[ndarray]): (S, S, 3) uint8 RGB each.
        size (int): S, height and width of the crops in pixels.

    Returns:
        MeasuredPoints: Points of the largest face of each crop.
    """
    every = [find_points(finder, crop) for crop in crops]
    points = [found for found in every if found is not None]
    missed = len(every) - len(points)
    return MeasuredPoints(np.array(points).reshape(-1, len(POINTS), 2), missed, size)


def find_points(finder: FaceFinder, crop: np.ndarray) -> np.ndarray | None:
    """Find the largest face of a crop, with black around the crop.

    Args:
        finder (FaceFinder): The detector.
        crop (ndarray): (H, W, 3) uint8 RGB.

    Returns:
        ndarray | None: (5, 2) points in pixels of the crop, see :class:`Faces`; None without a
        face.
    """
    margin = round(MARGIN * max(crop.shape[:2]))
    faces = finder.find([np.pad(crop, ((margin,) * 2, (margin,) * 2, (0, 0)))])[0]
    if not len(faces):
        return None
    area = (faces.box[:, 2:] - faces.box[:, :2]).prod(axis=1)
    return faces.points[area.argmax()] - margin
