"""YuNet, the face detector of OpenCV, with a model file of the user."""

import os
from collections.abc import Sequence

import cv2
import numpy as np

from abaw_mm.checks import above, between, check_arguments
from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.files import summarize
from abaw_mm.video.faces import POINTS, Faces
from abaw_mm.video.find.overlap import compute_overlaps

SAME_FACE = 0.3  # intersection over union with the box in the frame before


class YuNetFinder:
    """Find faces by OpenCV's ``FaceDetectorYN``, on the CPU.

    The network is small enough to search the whole picture in every frame, so :meth:`follow` does.

    Args:
        path (str): Model in ONNX format, such as ``face_detection_yunet_2023mar.onnx`` of OpenCV's
            model zoo.
        min_face (int): Height of the smallest face in pixels. Defaults to 40.
        threshold (float): Score above which a candidate is a face. Defaults to 0.7.

    Raises:
        MissingFileError: If the model does not exist.
        InvalidValueError: If OpenCV cannot run the model, or an argument is out of range.
    """

    @check_arguments('', min_face=above(0), threshold=between(0, 1))
    def __init__(self, path: str | os.PathLike, min_face: int = 40, threshold: float = 0.7) -> None:
        if not os.path.isfile(path):
            raise MissingFileError(
                f'--detector yunet:{path}: no such file, expected a YuNet model (.onnx); download '
                "one from OpenCV's model zoo, or use --detector mtcnn"
            )
        self.min_face = min_face
        try:
            self._detector = cv2.FaceDetectorYN.create(os.fspath(path), '', (64, 64), threshold)
            self._detector.detect(np.zeros((64, 64, 3), np.uint8))
        except cv2.error as error:
            raise InvalidValueError(
                f'--detector yunet:{path}: OpenCV {cv2.__version__} cannot run it '
                f'({summarize(ValueError(error.err))}), expected a YuNet model (.onnx); download '
                'the one for this release of OpenCV, or use --detector mtcnn'
            ) from error

    def find(self, images: Sequence[np.ndarray]) -> list[Faces]:
        """Find the faces of whole pictures, see :class:`FaceFinder`."""
        return [self._find(image) for image in images]

    def follow(self, image: np.ndarray, boxes: np.ndarray) -> Faces:
        """Find known faces again, see :class:`FaceFinder`."""
        faces = self._find(image)
        middle = boxes.reshape(-1, 1, 2, 2).mean(axis=2)
        followed = Faces(
            boxes.astype(np.float32),
            np.repeat(middle, len(POINTS), axis=1).astype(np.float32),
            np.zeros(len(boxes), np.float32),
        )
        if len(faces) and len(boxes):
            overlaps = compute_overlaps(boxes, faces.box)
            best = overlaps.argmax(axis=1)
            found = overlaps.max(axis=1) > SAME_FACE
            followed.box[found] = faces.box[best[found]]
            followed.points[found] = faces.points[best[found]]
            followed.score[found] = faces.score[best[found]]
        return followed

    def _find(self, image: np.ndarray) -> Faces:
        self._detector.setInputSize((image.shape[1], image.shape[0]))
        _, rows = self._detector.detect(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if rows is None:
            return Faces.none()
        # Left, top, width, height; x and y of POINTS, from the left of the picture; score.
        rows = rows[rows[:, 3] >= self.min_face]
        rows = rows[np.argsort(-rows[:, 14], kind='stable')]
        box = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], axis=1)
        return Faces(box, rows[:, 4:14].reshape(-1, len(POINTS), 2), rows[:, 14])
