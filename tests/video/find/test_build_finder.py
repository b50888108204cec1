"""Test the choice of a detector, and YuNet with a stub of OpenCV's class."""

import cv2
import numpy as np
import pytest

from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.video.find import yunet
from abaw_mm.video.find.build_finder import build_finder
from abaw_mm.video.find.mtcnn import MTCNNFinder
from abaw_mm.video.find.yunet import YuNetFinder

# OpenCV's rows: left, top, width, height; five points from the left of the picture; score.
LARGE = [10.0, 20, 60, 80, 25, 50, 55, 50, 40, 65, 30, 80, 50, 80, 0.8]
SURE = [200.0, 40, 50, 60, 210, 60, 240, 60, 225, 75, 212, 85, 238, 85, 0.95]
SMALL = [150.0, 10, 20, 25, 155, 18, 165, 18, 160, 22, 156, 28, 164, 28, 0.9]


class StubDetector:
    """Return the given rows, and check what OpenCV would check."""

    rows = np.array([LARGE, SMALL, SURE], np.float32)

    @classmethod
    def create(cls, model, config, size, threshold):
        cls.threshold, cls.size = threshold, size
        return cls()

    def setInputSize(self, size):
        self.size = size

    def detect(self, image):
        assert self.size == image.shape[1::-1] and image.dtype == np.uint8
        if image.sum():  # the first channel is blue
            assert image[0, 0].tolist() == [3, 2, 1]
        return 1, self.rows if len(self.rows) else None


@pytest.fixture
def model(tmp_path, monkeypatch):
    path = tmp_path / 'yunet.onnx'
    path.write_bytes(b'model')
    monkeypatch.setattr(yunet.cv2, 'FaceDetectorYN', StubDetector)
    return path


def make_image() -> np.ndarray:
    return np.full((120, 300, 3), [1, 2, 3], np.uint8)


def test_yunet_finds_large_faces_the_surest_first(model):
    faces = build_finder(f'yunet:{model}', min_face=40).find([make_image()])[0]
    assert StubDetector.threshold == 0.7
    np.testing.assert_allclose(faces.box, [[200, 40, 250, 100], [10, 20, 70, 100]])
    np.testing.assert_allclose(faces.score, [0.95, 0.8])
    expected = [[210, 60], [240, 60], [225, 75], [212, 85], [238, 85]]
    np.testing.assert_allclose(faces.points[0], expected)


def test_yunet_follows_the_face_that_overlaps(model):
    finder = YuNetFinder(model)
    boxes = np.array([[15, 22, 72, 98], [100, 20, 160, 80], [195, 42, 248, 99]], np.float32)
    faces = finder.follow(make_image(), boxes)
    np.testing.assert_allclose(faces.score, [0.8, 0, 0.95])
    np.testing.assert_allclose(faces.box, [[10, 20, 70, 100], boxes[1], [200, 40, 250, 100]])
    assert len(finder.follow(make_image(), boxes[:0])) == 0


def test_yunet_without_faces(model, monkeypatch):
    monkeypatch.setattr(StubDetector, 'rows', StubDetector.rows[:0])
    finder = YuNetFinder(model)
    assert len(finder.find([make_image()])[0]) == 0
    assert finder.follow(make_image(), np.array([[0, 0, 9, 9]])).score.tolist() == [0]


def test_missing_model_is_one_line(tmp_path):
    with pytest.raises(MissingFileError, match='no such file, expected a YuNet model') as error:
        build_finder(f'yunet:{tmp_path}/none.onnx')
    assert '\n' not in str(error.value)


@pytest.mark.skipif(not hasattr(cv2, 'FaceDetectorYN'), reason='OpenCV without YuNet')
def test_wrong_model_is_one_line(tmp_path):
    path = tmp_path / 'wrong.onnx'
    path.write_bytes(b'no model')
    with pytest.raises(InvalidValueError, match='cannot run it') as error:
        build_finder(f'yunet:{path}')
    assert '\n' not in str(error.value)


@pytest.mark.parametrize('detector', ['', 'mtcnn:x', 'yunet', 'yunet:', 'retinaface'])
def test_unknown_detector(detector):
    with pytest.raises(InvalidValueError, match='expected mtcnn or yunet:FILE'):
        build_finder(detector)


def test_mtcnn_is_the_default():
    pytest.importorskip('facenet_pytorch')
    finder = build_finder(min_face=60)
    assert isinstance(finder, MTCNNFinder) and finder.min_face == 60
