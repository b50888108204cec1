"""MTCNN: three small networks that find faces and five points of each."""

import importlib.util
import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from abaw_mm.checks import at_least, between, check_arguments
from abaw_mm.errors import InvalidValueError, MissingPackageError
from abaw_mm.files import explain_damage, sha256_of_stream
from abaw_mm.video.faces import POINTS, Faces
from abaw_mm.video.find.area_sums import AreaSums
from abaw_mm.video.find.cascade_net import (
    CascadeNet,
    build_output_net,
    build_proposal_net,
    build_refine_net,
)

FACTOR = 0.709  # between levels of the pyramid: half the area
WINDOW, STRIDE = 12, 2  # of P-Net, in pixels
BATCH = 512  # candidates of one forward pass; bounds the memory
REINSTALL = 'run: pip install --force-reinstall --no-deps facenet-pytorch==2.5.3'
SHA256 = {
    'pnet.pt': 'a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f',
    'rnet.pt': 'bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86',
    'onet.pt': '165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d',
}


def find_weights() -> Path:
    """Return the folder of the weights in the installed package facenet-pytorch.

    The package is not imported: it needs compiled operators of torchvision.

    Raises:
        MissingPackageError: If it is not installed.
    """
    spec = importlib.util.find_spec('facenet_pytorch')
    if spec is None or spec.origin is None:
        raise MissingPackageError(
            'finding faces: got no package facenet-pytorch, expected the weights of MTCNN in it; '
            'run: pip install abaw_mm[video]'
        )
    return Path(spec.origin).parent / 'data'


def load_weights(net: CascadeNet, path: Path) -> CascadeNet:
    """Load one network's weights after a comparison with their checksum.

    Raises:
        MissingFileError: If the file does not exist.
        InvalidValueError: If the file is not that of facenet-pytorch 2.5.3.
    """
    with explain_damage(path, 'weights of MTCNN', REINSTALL):
        data = path.read_bytes()
    found = sha256_of_stream(io.BytesIO(data))
    if found != SHA256[path.name]:
        raise InvalidValueError(
            f'{path}: got the SHA-256 {found[:12]}..., expected {SHA256[path.name][:12]}... of '
            f'facenet-pytorch 2.5.3; {REINSTALL}'
        )
    net.load_state_dict(torch.load(io.BytesIO(data), map_location='cpu', weights_only=True))
    return net.eval().requires_grad_(False)


def suppress(
    boxes: np.ndarray, scores: np.ndarray, image: np.ndarray, threshold: float
) -> np.ndarray:
    """Keep the best of boxes that overlap in one picture (non-maximum suppression).

    Args:
        boxes (ndarray): (N, 4) left, top, right, bottom.
        scores (ndarray): (N,) scores, above 0.
        image (ndarray): (N,) number of the picture of each box.
        threshold (float): Intersection over union above which the box of the lower score is
            dropped.

    Returns:
        ndarray: (K,) int64, rows of the boxes that remain, the best first.
    """
    if not len(boxes):
        return np.empty(0, np.int64)
    corner_and_size = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(
        corner_and_size.tolist(), scores.tolist(), image.tolist(), 0.0, threshold
    )
    rows = np.asarray(kept, np.int64).reshape(-1)
    return rows[np.argsort(-scores[rows], kind='stable')]


def suppress_contained(
    boxes: np.ndarray, scores: np.ndarray, image: np.ndarray, threshold: float
) -> np.ndarray:
    """Drop boxes of which more than a share is common with a better one, or the other way round.

    As :func:`suppress`, with the intersection over the smaller area, which also drops a box within
    another. Sizes count pixels from the first to the last.
    """
    size = boxes[:, 2:] - boxes[:, :2] + 1
    area = size.prod(axis=1)
    order = np.argsort(-scores, kind='stable')
    kept: list[int] = []
    for row in order:
        low = np.maximum(boxes[row, :2], boxes[kept, :2])
        high = np.minimum(boxes[row, 2:], boxes[kept, 2:])
        common = np.maximum(high - low + 1, 0).prod(axis=1)
        share = common / np.minimum(area[row], area[kept])
        if not np.any((share > threshold) & (image[kept] == image[row])):
            kept.append(int(row))
    return np.array(kept, np.int64)


class MTCNNFinder:
    """Find faces by MTCNN.

    The cascade runs on all pictures and candidates of a call at once. Boxes, points and scores are
    those of facenet-pytorch's ``MTCNN``, whose weights it uses.

    Source: Zhang et al., *Joint Face Detection and Alignment Using Multitask Cascaded Convolutional
    Networks*, 2016.

    Args:
        min_face (int): Height of the smallest face in pixels, at least 12. Smaller ones take more
            time: the first network covers a picture shrunk by 12 / min_face. Defaults to 40.
        device (str): Device of the networks. Defaults to ``'cpu'``.
        thresholds (Sequence[float]): Scores above which a candidate passes each of the three
            networks. Defaults to those of the authors.

    Raises:
        MissingPackageError: If facenet-pytorch is not installed.
        InvalidValueError: If an argument is out of range, or the weights are damaged.
    """

    @check_arguments('', min_face=at_least(WINDOW), thresholds=between(0, 1))
    def __init__(
        self,
        min_face: int = 40,
        device: str = 'cpu',
        thresholds: Sequence[float] = (0.6, 0.7, 0.7),
    ) -> None:
        folder = find_weights()
        self.min_face = min_face
        self.device = torch.device(device)
        self.thresholds = tuple(thresholds)
        self._proposal_net = load_weights(build_proposal_net(), folder / 'pnet.pt').to(self.device)
        self._refine_net = load_weights(build_refine_net(), folder / 'rnet.pt').to(self.device)
        self._output_net = load_weights(build_output_net(), folder / 'onet.pt').to(self.device)

    @torch.inference_mode()
    def find(self, images: Sequence[np.ndarray]) -> list[Faces]:
        """Find the faces of whole pictures, see :class:`FaceFinder`."""
        if not len(images):
            return []
        sums = AreaSums(images, self.device)
        boxes, image = self._propose(sums)
        boxes, image = self._refine(sums, boxes, image)
        faces, image = self._locate(sums, boxes, image)
        kept = np.flatnonzero(faces.score > self.thresholds[2])
        faces, image = faces.take(kept), image[kept]
        kept = suppress_contained(faces.box, faces.score, image, 0.7)
        faces, image = faces.take(kept), image[kept]
        return [faces.take(image == i) for i in range(len(images))]

    @torch.inference_mode()
    def follow(self, image: np.ndarray, boxes: np.ndarray) -> Faces:
        """Find known faces again by the last network alone, see :class:`FaceFinder`."""
        height, width = image.shape[:2]
        # Fed back to the network frame after frame, a square around the longer side would grow.
        size = boxes[:, 2:] - boxes[:, :2]
        side = np.sqrt(size.prod(axis=1, keepdims=True))
        corner = (boxes[:, :2] + boxes[:, 2:] - side) / 2
        squares = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
        regions, is_inside = clip_regions(squares, width, height)
        faces = Faces(
            squares.copy(),
            np.repeat(squares.reshape(-1, 2, 2).mean(axis=1, keepdims=True), len(POINTS), axis=1),
            np.zeros(len(squares), np.float32),
        )
        if np.any(is_inside):
            regions = regions[is_inside]
            left, top = regions[:, :2].min(axis=0)
            right, bottom = regions[:, 2:].max(axis=0)
            sums = AreaSums([image[top:bottom, left:right]], self.device)
            offset = np.array([left, top], np.float32)
            found, _ = self._locate(
                sums, squares[is_inside] - np.tile(offset, 2), np.zeros(len(regions), np.int64)
            )
            faces.box[is_inside] = found.box + np.tile(offset, 2)
            faces.points[is_inside] = found.points + offset
            faces.score[is_inside] = found.score
        return faces

    def _propose(self, sums: AreaSums) -> tuple[np.ndarray, np.ndarray]:
        """Run P-Net on a pyramid; return square boxes and the picture of each."""
        scale = WINDOW / self.min_face
        shorter = min(sums.height, sums.width) * scale
        found = [(np.empty((0, 9), np.float32), np.empty(0, np.int64))]
        while shorter >= WINDOW:
            found.append(self._propose_at(sums, scale))
            scale, shorter = scale * FACTOR, shorter * FACTOR
        rows = np.concatenate([rows for rows, _ in found])
        image = np.concatenate([image for _, image in found])
        kept = suppress(rows[:, :4], rows[:, 4], image, 0.7)
        rows, image = rows[kept], image[kept]
        size = rows[:, 2:4] - rows[:, :2]
        return make_square(rows[:, :4] + rows[:, 5:] * np.tile(size, 2)), image

    def _propose_at(self, sums: AreaSums, scale: float) -> tuple[np.ndarray, np.ndarray]:
        """Run P-Net at one scale; return (N, 9) boxes, scores and offsets, and the pictures."""
        small = sums.resize(int(sums.height * scale + 1), int(sums.width * scale + 1))
        scores, offsets = (out.cpu() for out in self._proposal_net(normalize(small)))
        image, y, x = (part.numpy() for part in torch.where(scores >= self.thresholds[0]))
        corner = np.stack([x, y], axis=1).astype(np.float32) * STRIDE
        rows = np.concatenate(
            [
                np.floor((corner + 1) / scale),
                np.floor((corner + WINDOW) / scale),
                scores.numpy()[image, y, x, None],
                offsets.numpy()[image, :, y, x],
            ],
            axis=1,
        )
        kept = suppress(rows[:, :4], rows[:, 4], image, 0.5)
        return rows[kept], image[kept]

    def _refine(
        self, sums: AreaSums, boxes: np.ndarray, image: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run R-Net on candidates; return the square boxes that pass and the picture of each."""
        boxes, image, (scores, offsets) = self._run(self._refine_net, 24, sums, boxes, image)
        passed = scores > self.thresholds[1]
        boxes, image, scores, offsets = (a[passed] for a in (boxes, image, scores, offsets))
        kept = suppress(boxes, scores, image, 0.7)
        return make_square(move(boxes[kept], offsets[kept])), image[kept]

    def _locate(
        self, sums: AreaSums, boxes: np.ndarray, image: np.ndarray
    ) -> tuple[Faces, np.ndarray]:
        """Run O-Net on candidates; return a face of each and its picture."""
        boxes, image, (scores, offsets, points) = self._run(
            self._output_net, 48, sums, boxes, image
        )
        size = boxes[:, None, 2:] - boxes[:, None, :2] + 1
        points = points.reshape(-1, 2, len(POINTS)).transpose(0, 2, 1)
        points = boxes[:, None, :2] - 1 + points * size
        return Faces(move(boxes, offsets), points, scores), image

    def _run(
        self, net: CascadeNet, size: int, sums: AreaSums, boxes: np.ndarray, image: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
        """Run a network on the candidates that are inside their picture."""
        regions, is_inside = clip_regions(boxes, sums.width, sums.height)
        boxes, image, regions = boxes[is_inside], image[is_inside], regions[is_inside]
        outputs = []
        for start in range(0, max(len(boxes), 1), BATCH):
            part = slice(start, start + BATCH)
            where = torch.from_numpy(image[part]).to(self.device)
            crops = sums.crop(where, torch.from_numpy(regions[part]).to(self.device), size)
            outputs.append([out.cpu().numpy() for out in net(normalize(crops))])
        return boxes, image, [np.concatenate(parts) for parts in zip(*outputs, strict=True)]


def normalize(images: torch.Tensor) -> torch.Tensor:
    """Scale 0-255 to -1 to 1, as in the training of the networks."""
    return (images - 127.5) * 0.0078125


def make_square(boxes: np.ndarray) -> np.ndarray:
    """Extend the shorter side of (N, 4) boxes around its middle."""
    size = boxes[:, 2:] - boxes[:, :2]
    side = size.max(axis=1, keepdims=True, initial=0)
    corner = boxes[:, :2] + size * 0.5 - side * 0.5
    return np.concatenate([corner, corner + side], axis=1).astype(np.float32)


def move(boxes: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Move the sides of (N, 4) boxes by offsets in units of the box's size."""
    return boxes + offsets * np.tile(boxes[:, 2:] - boxes[:, :2] + 1, 2)


def clip_regions(boxes: np.ndarray, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Convert boxes, whose left and top count from 1, to regions of whole pixels in a picture.

    Returns:
        tuple: (N, 4) int64 left, top, right and bottom, clipped to the picture; and (N,) bool,
        whether the region has a pixel.
    """
    regions = np.trunc(boxes).astype(np.int64)
    low = np.maximum(regions[:, :2], 1) - 1
    high = np.minimum(regions[:, 2:], [width, height])
    return np.concatenate([low, high], axis=1), np.all(high > low, axis=1)
