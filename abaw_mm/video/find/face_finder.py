"""The interface of face detectors."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from abaw_mm.video.faces import Faces


class FaceFinder(Protocol):
    """Find faces in pictures. A detector is one class with these two methods."""

    def find(self, images: Sequence[np.ndarray]) -> list[Faces]:
        """Find the faces of whole pictures.

        Args:
            images (Sequence[ndarray]): (H, W, 3) uint8 RGB each, all of one size.

        Returns:
            list[Faces]: The faces of each picture, the most certain first.
        """

    def follow(self, image: np.ndarray, boxes: np.ndarray) -> Faces:
        """Find known faces again, near where they were in the picture before.

        Args:
            image (ndarray): (H, W, 3) uint8 RGB.
            boxes (ndarray): (K, 4) boxes to search around, see :class:`Faces`.

        Returns:
            Faces: K faces in the order of the boxes. A face that is no longer there has a low
            score.
        """
