"""What is known of one person while a video is read."""

import numpy as np

from abaw_mm.video.align import align
from abaw_mm.video.face_template import ARCFACE, FaceTemplate

SIDE = 8  # pixels of a look
RATE = 0.2  # weight of a new look
LOOK_TEMPLATE = FaceTemplate(ARCFACE.points * SIDE / ARCFACE.size, SIDE)


def compute_look(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Compute what a face looks like: an aligned crop of 8x8 pixels without light and contrast.

    The root mean square difference of two looks is near 0 for one person in neighbouring frames,
    and mostly above 1 for two persons.

    Returns:
        ndarray: (192,) float32 of mean 0 and deviation 1.
    """
    crop = align(image, points, LOOK_TEMPLATE).astype(np.float32).ravel()
    return (crop - crop.mean()) / (crop.std() + 1)


class KnownFace:
    """One person: where and when the face was last seen, how it moves and what it looks like.

    Attributes:
        number (int): Number of the person, in order of appearance.
        box (ndarray): (4,) float32, last box.
        look (ndarray): Mean of the looks, see :func:`compute_look`.
        time (float): When it was last seen, in seconds.
        shot (int): Shot in which it was last seen.
        missed (int): Searches of the whole picture in a row that did not find it.
    """

    def __init__(
        self, number: int, box: np.ndarray, look: np.ndarray, time: float, shot: int
    ) -> None:
        self.number, self.box, self.look, self.time, self.shot = number, box, look, time, shot
        self.missed = 0
        self._speed = np.zeros(2)  # pixels per second

    def predict(self, time: float) -> np.ndarray:
        """Return the box at another time, at constant speed."""
        return self.box + np.tile(self._speed * (time - self.time), 2).astype(np.float32)

    def see(self, box: np.ndarray, look: np.ndarray, time: float, shot: int) -> None:
        """Update by the face in a new frame."""
        if shot == self.shot and time > self.time:
            moved = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2
            self._speed = (self._speed + moved / (time - self.time)) / 2
        else:
            self._speed = np.zeros(2)
        self.look = (1 - RATE) * self.look + RATE * look
        self.box, self.time, self.shot = box, time, shot

    def compare(self, look: np.ndarray) -> float:
        """Return the difference to a look."""
        return float(np.sqrt(np.mean((self.look - look) ** 2)))
