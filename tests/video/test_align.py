"""Test alignment against least squares and pixels computed by hand."""

import cv2
import numpy as np
import pytest
from scipy.optimize import least_squares

from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.video.align import align, fit_similarity
from abaw_mm.video.face_template import ARCFACE, FaceTemplate, read_template, write_template


def transform(points, angle, scale, shift) -> np.ndarray:
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ turn.T + shift


def test_fit_similarity_is_the_least_squares_solution():
    rng = np.random.default_rng(0)
    points, targets = rng.normal(size=(2, 5, 2))

    def residual(p):
        return (points @ np.array([[p[0], -p[1]], [p[1], p[0]]]).T + p[2:] - targets).ravel()

    a, b, x, y = least_squares(residual, [1, 0, 0, 0]).x
    expected = [[a, -b, x], [b, a, y]]
    np.testing.assert_allclose(fit_similarity(points, targets), expected, atol=1e-6)


@pytest.mark.parametrize('angle', [0.0, 0.3, -2.5])
def test_fit_similarity_inverts_a_similarity(angle):
    faces = transform(ARCFACE.points, angle, 2.5, [70, -30])
    matrix = fit_similarity(np.stack([faces, faces * 2]), ARCFACE.points)
    moved = faces @ matrix[0, :, :2].T + matrix[0, :, 2]
    np.testing.assert_allclose(moved, ARCFACE.points, atol=1e-9)
    np.testing.assert_allclose(matrix[1, :, :2], matrix[0, :, :2] / 2)


def make_picture(height: int, width: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (height // 20, width // 20, 3), dtype=np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def test_points_on_the_template_give_the_picture_itself():
    image = make_picture(112, 112)
    np.testing.assert_array_equal(align(image, ARCFACE.points), image)
    shifted = np.zeros((200, 200, 3), np.uint8)
    shifted[40:152, 30:142] = image
    crops = align(shifted, np.stack([ARCFACE.points + [30, 40]] * 2))
    np.testing.assert_array_equal(crops, np.stack([image] * 2))


@pytest.mark.parametrize('turns', [1, 2, 3])
def test_quarter_turns_are_exact(turns):
    image = make_picture(112, 112)
    middle = ARCFACE.points - 56
    for _ in range(turns):  # np.rot90 moves (x, y) to (y, -x)
        middle = np.stack([middle[:, 1], -middle[:, 0]], axis=1)
    np.testing.assert_array_equal(align(np.rot90(image, turns), middle + 56), image)


def test_crop_does_not_depend_on_the_resolution_of_the_picture():
    image = make_picture(480, 640)
    points = transform(ARCFACE.points, 0.2, 2.0, [150, 90])
    crop = align(image, points).astype(int)
    double = cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    assert np.abs(align(double, points * 2) - crop).mean() < 1.5


def test_large_face_does_not_alias():
    image = np.zeros((900, 900, 3), np.uint8)
    image[:, ::2] = 255  # stripes of one pixel, grey from afar
    points = transform(ARCFACE.points, 0.05, 7.0, [40, 40])
    crop = align(image, points)[5:-5, 5:-5]
    assert abs(crop.mean() - 127) < 2 and crop.std() < 15  # 127 in the picture


def test_pixels_outside_of_the_picture_are_black():
    image = np.full((100, 100, 3), 200, np.uint8)
    crop = align(image, ARCFACE.points - [50, 0])
    assert (crop[:100, 50:] == 200).all()
    assert not crop[:, :49].any() and not crop[101:].any()
    assert not align(image, ARCFACE.points + 1000).any()
    assert align(image, np.empty((0, 5, 2))).shape == (0, 112, 112, 3)


def test_template_file_round_trip(tmp_path):
    template = FaceTemplate(ARCFACE.points * 2 + 0.125, 256)
    write_template(tmp_path / 't.json', template)
    read = read_template(tmp_path / 't.json')
    assert read.size == 256
    np.testing.assert_allclose(read.points, template.points, atol=1e-4)


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ('"nose"', '"chin"', "got the keys 'chin'"),
        ('112', '0', 'size: got 0, expected 1 to 4096'),
        ('[56.0252', '[-1', r'nose: got \[-1, 71.7366\], expected x and y of 0 to 112'),
        ('[56.0252', '[1, 2', 'nose: got'),
        ('{', '', 'damaged or wrong file'),
    ],
)
def test_wrong_template_is_one_line(tmp_path, old, new, message):
    path = tmp_path / 't.json'
    write_template(path, ARCFACE)
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(InvalidValueError, match=message) as error:
        read_template(path)
    assert '\n' not in str(error.value)


def test_missing_template(tmp_path):
    with pytest.raises(MissingFileError, match='template of aligned faces'):
        read_template(tmp_path / 'none.json')
