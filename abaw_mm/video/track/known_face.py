"""What is known of one person while a video is read."""

import cv2
import numpy as np

from abaw_mm.video.align import align
from abaw_mm.video.face_template import ARCFACE, FaceTemplate

SIDE = 8  # pixels of a look
MAX_MOTION = 1.0  # seconds for which a face that is not seen goes on
INERTIA = 0.25  # weight of a new speed
RATE = 0.1  # weight of a new look
LOOK_TEMPLATE = FaceTemplate(ARCFACE.points * SIDE / ARCFACE.size, SIDE)


def compute_look(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Compute what a face looks like: an aligned crop of 8x8 pixels without light and contrast.

    The root mean square difference of two looks is near 0 for one person in neighbouring frames,
    and mostly above 1 for two persons.

    Returns:
        ndarray: (192,) float32 of mean 0 and deviation 1.
    """
    crop = align(image, points, LOOK_TEMPLATE, cv2.BORDER_REPLICATE).astype(np.float32).ravel()
    return (crop - crop.mean()) / (crop.std() + 1)


class KnownFace:
    """One person: where and when the face was last seen, how it moves and what it looks like.

    Attributes:
        number (int): Number of the person, in order of appearance.
        box (ndarray): (4,) float32, last box.
        look (ndarray): Moving mean of the looks, see :func:`compute_look`.
        last_look (ndarray): The last of them.
        time (float): When it was last seen, in seconds.
        alive (float): When it was last seen, or known to be behind another person.
        shot (int): Shot in which it was last seen.
        missed (int): Searches of the whole picture in a row that did not find it.
    """

    def __init__(
        self, number: int, box: np.ndarray, look: np.ndarray, time: float, shot: int
    ) -> None:
        self.number, self.box, self.look, self.time, self.shot = number, box, look, time, shot
        self.last_look, self.alive = look, time
        self.missed = 0
        self._speed = np.zeros(2)  # pixels per second

    def predict(self, time: float) -> np.ndarray:
        """Return the box at a later time, at constant speed for up to a second."""
        seconds = min(time - self.time, MAX_MOTION)
        return self.box + np.tile(self._speed * seconds, 2).astype(np.float32)

    def see(self, box: np.ndarray, look: np.ndarray, time: float, shot: int) -> None:
        """Update by the face in a new frame."""
        if shot == self.shot and time > self.time:
            moved = (box[:2] + box[2:] - self.box[:2] - self.box[2:]) / 2
            self._speed += INERTIA * (moved / (time - self.time) - self._speed)
        else:
            self._speed = np.zeros(2)
        self.look = (1 - RATE) * self.look + RATE * look
        self.last_look, self.alive = look, time
        self.box, self.time, self.shot = box, time, shot

    def compare(self, look: np.ndarray) -> float:
        """Return the difference to a look: that to the mean, or to the last if it is smaller.

        A hand or another person who covers a face changes its look little by little.
        """
        return min(
            float(np.sqrt(np.mean((known - look) ** 2))) for known in (self.look, self.last_look)
        )

    def compute_distance(self, box: np.ndarray, time: float) -> float:
        """Compute how far a box is from where the face was or should be, in sizes of the face."""
        size = np.sqrt((self.box[2:] - self.box[:2]).prod())
        away = [box - self.box, box - self.predict(time)]
        return float(min(np.linalg.norm((d[:2] + d[2:]) / 2) for d in away) / size)
