"""The faces of a video as a table of frames."""

from dataclasses import dataclass, field

import numpy as np

from abaw_mm.structures import FrameTable


@dataclass(eq=False)
class FaceTracks(FrameTable):
    """Tracks of the persons in a video, one row per face and frame.

    ``clips`` has one name per person, in order of appearance; ``clip_id`` is the id of the face.
    ``frame_no`` is the number of the frame from 1, as in the names of crops:
    ``VideoFrame.index + 1``.

    Columns, in pixels as in :class:`Faces`:

    - ``box`` (F, 4) float32: left, top, right, bottom.
    - ``points`` (F, 5, 2) float32: eyes, nose and corners of the mouth.
    - ``score`` (F,) float32: confidence of the detector, in 0-1.

    Attributes:
        time (ndarray): (T,) float64, presentation time in seconds of every frame that was read,
            with or without a face. Their numbers are consecutive.
        first_frame (int): Number of the first of these frames, as in ``frame_no``.
        size (tuple[int, int]): Width and height of the pictures.
    """

    time: np.ndarray = field(default_factory=lambda: np.empty(0))
    first_frame: int = 1
    size: tuple[int, int] = (0, 0)

    @property
    def face_time(self) -> np.ndarray:
        """(F,) float64, presentation time of each face in seconds."""
        return self.time[self.frame_no - self.first_frame]
