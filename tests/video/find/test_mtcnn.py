"""Test MTCNN against facenet-pytorch's own, on real frames."""

import importlib.util

import numpy as np
import pytest
import torch

from abaw_mm.errors import InvalidValueError, MissingPackageError
from abaw_mm.video.find import mtcnn
from abaw_mm.video.find.area_sums import AreaSums
from abaw_mm.video.find.mtcnn import MTCNNFinder, suppress, suppress_contained

if importlib.util.find_spec('facenet_pytorch') is None:
    pytest.skip('facenet-pytorch is not installed', allow_module_level=True)

FRAMES = [  # video, frame numbers, faces in each
    ('WolfgangLanger_Pexels.mp4', [0, 57, 130], 1),
    ('face_noface.mov', [30], 1),
    ('no_face.mp4', [40], 0),
]


@pytest.fixture(scope='module')
def finder() -> MTCNNFinder:
    return MTCNNFinder()


def keep_best(boxes, scores, image, threshold) -> list[int]:
    """Suppress boxes that overlap with a better one, by definition."""
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        for j in kept:
            w = min(boxes[i][2], boxes[j][2]) - max(boxes[i][0], boxes[j][0])
            h = min(boxes[i][3], boxes[j][3]) - max(boxes[i][1], boxes[j][1])
            common = max(w, 0) * max(h, 0)
            areas = [(boxes[k][2] - boxes[k][0]) * (boxes[k][3] - boxes[k][1]) for k in (i, j)]
            if image[i] == image[j] and common > threshold * (sum(areas) - common):
                break
        else:
            kept.append(i)
    return kept


@pytest.fixture
def theirs(monkeypatch):
    """Return facenet-pytorch's detector, with an NMS that needs no compiled operator."""
    detect_face = pytest.importorskip('facenet_pytorch.models.utils.detect_face')
    monkeypatch.setattr(
        detect_face,
        'batched_nms',
        lambda b, s, i, t: torch.tensor(keep_best(b.tolist(), s.tolist(), i.tolist(), t)).long(),
    )
    from facenet_pytorch import MTCNN

    return MTCNN(min_face_size=40, keep_all=True, select_largest=False)


@pytest.mark.parametrize(('video', 'numbers', 'count'), FRAMES)
def test_finds_the_faces_of_facenet_pytorch(real_frames, finder, theirs, video, numbers, count):
    images = real_frames(video, numbers)
    for image, faces in zip(images, finder.find(images), strict=True):
        boxes, scores, points = theirs.detect(image, landmarks=True)
        assert len(faces) == (0 if boxes is None else len(boxes)) == count
        if count:
            np.testing.assert_allclose(faces.box, boxes.astype(float), atol=0.01)
            np.testing.assert_allclose(faces.points, points.astype(float), atol=0.01)
            np.testing.assert_allclose(faces.score, scores.astype(float), atol=1e-5)


def test_follow_finds_the_face_of_the_frame_before(real_frames, finder):
    before, image = real_frames('WolfgangLanger_Pexels.mp4', [100, 101])
    known = finder.find([before])[0]
    expected = finder.find([image])[0]
    followed = finder.follow(image, known.box)
    size = expected.box[0, 2] - expected.box[0, 0]
    assert followed.score[0] > 0.9
    assert np.abs(followed.points - expected.points).max() < 0.05 * size
    assert np.abs(followed.box - expected.box).max() < 0.1 * size


def test_follow_scores_places_without_a_face_low(real_frames, finder):
    image = real_frames('WolfgangLanger_Pexels.mp4', [0])[0]
    boxes = np.array([[0, 0, 80, 90], [-500, -500, -400, -380]], np.float32)
    assert finder.follow(image, boxes).score.max() < 0.1
    assert len(finder.follow(image, boxes[:0])) == 0


def test_picture_smaller_than_a_face_has_none(finder):
    assert len(finder.find([np.zeros((30, 50, 3), np.uint8)])[0]) == 0
    assert finder.find([]) == []


@pytest.mark.parametrize('size', [24, 48])
def test_area_sums_equal_area_interpolation(size):
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (2, 70, 90, 3), dtype=np.uint8))
    sums = AreaSums(images, 'cpu')
    boxes = torch.tensor([[0, 0, 90, 70], [5, 3, 17, 60], [88, 69, 90, 70]])
    crops = sums.crop(torch.tensor([0, 1, 1]), boxes, size)
    whole = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).double()
    for image, (left, top, right, bottom), crop in zip((0, 1, 1), boxes, crops, strict=True):
        region = whole[image, :, top:bottom, left:right][None]
        expected = torch.nn.functional.interpolate(region, (size, size), mode='area')
        torch.testing.assert_close(crop, expected[0].float())
    expected = torch.nn.functional.interpolate(whole, (31, 43), mode='area')
    torch.testing.assert_close(sums.resize(31, 43), expected.float())


def test_suppress_keeps_the_best_of_each_picture():
    rng = np.random.default_rng(0)
    corner = rng.uniform(0, 60, (200, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(10, 30, (200, 2))], axis=1)
    scores, image = rng.uniform(0.5, 1, 200), rng.integers(0, 3, 200)
    expected = keep_best(boxes, scores, image, 0.3)
    assert suppress(boxes, scores, image, 0.3).tolist() == expected


def test_suppress_contained_drops_a_face_within_a_face():
    boxes = np.array([[0, 0, 100, 100], [20, 20, 50, 50], [90, 0, 190, 100]], np.float32)
    scores = np.array([0.8, 0.9, 0.7], np.float32)
    assert suppress_contained(boxes, scores, np.zeros(3), 0.7).tolist() == [1, 2]
    assert suppress_contained(boxes, scores, np.arange(3), 0.7).tolist() == [1, 0, 2]


def test_missing_package_names_the_extra(monkeypatch):
    monkeypatch.setattr(mtcnn.importlib.util, 'find_spec', lambda name: None)
    with pytest.raises(MissingPackageError, match=r'pip install abaw_mm\[video\]'):
        MTCNNFinder()


def test_other_weights_are_refused(tmp_path, monkeypatch):
    (tmp_path / 'pnet.pt').write_bytes(b'other')
    monkeypatch.setattr(mtcnn, 'find_weights', lambda: tmp_path)
    with pytest.raises(InvalidValueError, match='pnet.pt: got the SHA-256'):
        MTCNNFinder()


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(min_face=5), 'got min_face=5, expected at least 12; set min_face$'),
        (dict(thresholds=(0.6, 0.7, 2.0)), 'expected each 0 to 1; set thresholds$'),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(InvalidValueError, match=message):
        MTCNNFinder(**options)
