"""Score the expressions of single pictures."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from mmengine.config import Config

from abaw_mm.apis.inference.crop_scorer import CropScorer
from abaw_mm.datasets.crops.load_face_crop import UnreadableFrameError
from abaw_mm.datasets.crops.read_picture import find_pictures, read_picture
from abaw_mm.errors import InvalidValueError
from abaw_mm.progress import show_progress
from abaw_mm.video.align import align
from abaw_mm.video.face_template import ARCFACE, FaceTemplate
from abaw_mm.video.find.build_finder import build_finder
from abaw_mm.video.find.face_finder import FaceFinder
from abaw_mm.video.prefetch import prefetch
from abaw_mm.video.table import label_scores, write_faces

AHEAD = 2  # pictures that are read ahead
WAITING = 1 << 28  # bytes of crops that wait for others of their size


@dataclass(frozen=True, eq=False)
class ScoredImages:
    """The faces of pictures and their predictions.

    Attributes:
        paths (list[str]): The pictures that were read.
        unreadable (dict[str, str]): Path of each other picture, and the reason.
        classes (tuple[str]): Names of the C classes; empty for the tracks without classes.
        image (ndarray): (F,) int, row of ``paths`` of each face, increasing.
        box (ndarray): (F, 4) float32, left, top, right and bottom of each face in pixels.
        score (ndarray): (F,) float32, confidence of the detector in 0-1, NaN for a crop. In a
            picture the most certain face is the first.
        predicted (dict[str, ndarray]): Columns of the model's track: ``pred_score`` (F, C),
            ``pred_va`` (F, 2), ``pred_au`` (F, 12), float32.
    """

    paths: list[str]
    unreadable: dict[str, str]
    classes: tuple[str, ...]
    image: np.ndarray
    box: np.ndarray
    score: np.ndarray
    predicted: dict[str, np.ndarray]

    @property
    def pred_score(self) -> np.ndarray:
        """(F, C) float32, probabilities of the classes."""
        return self.predicted['pred_score']

    def write(self, path: str | os.PathLike) -> None:
        """Write a table as ``.csv``, atomically, one row per face.

        The columns are ``input``, ``face_id`` and those of a video from ``success`` on, see
        :func:`abaw_mm.video.table.write_table`. A picture without a face has one row.

        Raises:
            InvalidValueError: If classes cannot be columns.
            FileAccessError: If the file cannot be written.
        """
        image = np.append(self.image, np.setdiff1d(np.arange(len(self.paths)), self.image))
        face = np.append(np.arange(len(self.image)), np.full(len(image) - len(self.image), -1))
        order = np.argsort(image, kind='stable')
        image, face = image[order], face[order]
        face_id = np.arange(len(image)) - np.searchsorted(image, image)
        write_faces(
            path,
            dict(
                input=[self.paths[row] for row in image],
                face_id=np.where(face < 0, '', face_id.astype(str)).tolist(),
            ),
            face,
            dict(box=self.box, score=self.score, **label_scores(self.predicted)),
            self.classes,
        )


def predict_images(
    config: str | os.PathLike | Config,
    checkpoint: str | None,
    sources: Sequence[str | os.PathLike],
    find_faces: bool = False,
    batch_size: int = 64,
    detector: str = 'mtcnn',
    min_face: int = 40,
    template: FaceTemplate = ARCFACE,
    device: str | None = None,
    cfg_options: dict | None = None,
    onnx: str | None = None,
) -> ScoredImages:
    """Score pictures as ``tools/test.py`` scores crops.

    Args:
        config (str | Config): Path of the config of a classifier of frames, or a loaded config.
        checkpoint (str, optional): Path or URL of its checkpoint. It is read as data.
        sources (Sequence[str]): Pictures of any format that Pillow decodes, and folders of
            pictures, see :func:`read_picture`.
        find_faces (bool): Whether to find and align the faces of each picture. Defaults to False:
            each picture is the crop of a face.
        batch_size (int): Number of faces that are scored together. Defaults to 64.
        detector (str): Face detector, see :func:`build_finder`. Defaults to ``'mtcnn'``.
        min_face (int): Height of the smallest face in pixels. Defaults to 40.
        template (FaceTemplate): Where the points of a face are in the crops. Defaults to that of
            ArcFace.
        device (str, optional): Device, such as ``'cuda:0'``. Defaults to CUDA if available.
        cfg_options (dict, optional): Overrides of the config.
        onnx (str, optional): Exported network instead of the checkpoint.

    Raises:
        MissingFileError: If the config, the checkpoint or a picture does not exist.
        MissingPackageError: If faces are to be found without the packages of ``abaw_mm[video]``.
        InvalidValueError: If the checkpoint does not fit, or an argument is out of range.

    Example:
        >>> result = predict_images(config, checkpoint, ['photos'], True)      # doctest: +SKIP
        >>> [result.classes[row.argmax()] for row in result.pred_score]        # doctest: +SKIP
        ['Happiness', 'Neutral']
    """
    if batch_size < 1:
        raise InvalidValueError(f'--batch-size: got {batch_size}, expected at least 1')
    paths = find_pictures(sources)
    scorer = CropScorer(config, checkpoint, device, cfg_options, onnx)
    finder = None
    if find_faces:
        finder = build_finder(detector, min_face, scorer.device)
    read: list[str] = []
    unreadable: dict[str, str] = {}
    image, box, score = [], [], []
    batches = _Batches(scorer, batch_size)
    with show_progress('pictures') as update:
        for done, (path, picture) in enumerate(prefetch(_read(paths), AHEAD), 1):
            if isinstance(picture, UnreadableFrameError):
                unreadable[path] = picture.reason
            else:
                boxes, scores, crops = _cut_faces(picture, finder, template)
                image += [len(read)] * len(crops)
                box.append(boxes)
                score.append(scores)
                read.append(path)
                for crop in crops:
                    batches.add(crop)
            update(done, len(paths))
        predicted = scorer.split(batches.finish())
    return ScoredImages(
        read,
        unreadable,
        scorer.classes,
        np.array(image, np.int64),
        np.concatenate([np.empty((0, 4), np.float32), *box]),
        np.concatenate([np.empty(0, np.float32), *score]),
        predicted,
    )


def _read(paths: Sequence[str]) -> Iterator[tuple[str, np.ndarray | UnreadableFrameError]]:
    for path in paths:
        try:
            yield path, read_picture(path)
        except UnreadableFrameError as error:
            yield path, error


def _cut_faces(
    picture: np.ndarray, finder: FaceFinder | None, template: FaceTemplate
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return boxes (K, 4), scores (K,) and crops (K, S, S, 3) of a picture's faces."""
    if finder is None:
        height, width = picture.shape[:2]
        box = np.array([[0, 0, width, height]], np.float32)
        return box, np.array([np.nan], np.float32), picture[None]
    (faces,) = finder.find([picture])
    return faces.box, faces.score, align(picture, faces.points, template)


class _Batches:
    """Score crops in batches of one size, whatever their order."""

    def __init__(self, scorer: CropScorer, batch_size: int) -> None:
        self.scorer = scorer
        self.batch_size = batch_size
        self.scores: list[np.ndarray] = []
        self.waiting: dict[tuple[int, ...], list[tuple[int, np.ndarray]]] = {}
        self.bytes = 0

    def add(self, crop: np.ndarray) -> None:
        """Add a crop (H, W, 3)."""
        batch = self.waiting.setdefault(crop.shape, [])
        batch.append((len(self.scores), crop))
        self.scores.append(np.empty(0))
        self.bytes += crop.nbytes
        if len(batch) == self.batch_size:
            self._score(crop.shape)
        elif self.bytes > WAITING:
            self._score_all()

    def finish(self) -> np.ndarray:
        """Return the predictions of all crops in their order, (F, K)."""
        self._score_all()
        return np.stack(self.scores) if self.scores else self.scorer(np.empty((0, 1, 1, 3)))

    def _score_all(self) -> None:
        for shape in list(self.waiting):
            self._score(shape)

    def _score(self, shape: tuple[int, ...]) -> None:
        rows, crops = zip(*self.waiting.pop(shape), strict=True)
        batch = np.stack(crops)
        self.bytes -= batch.nbytes
        for row, score in zip(rows, self.scorer(batch), strict=True):
            self.scores[row] = score
