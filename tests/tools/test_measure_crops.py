"""Test the template that is measured on crops whose alignment is known."""

import numpy as np
import pytest
from PIL import Image

from abaw_mm.video.align import align
from abaw_mm.video.face_template import ARCFACE, FaceTemplate, read_template
from abaw_mm.video.faces import Faces
from abaw_mm.video.find.measure_points import measure_points
from abaw_mm.video.find.mtcnn import MTCNNFinder

TOOL = 'misc/measure_crops.py'


class ScriptedFinder:
    """Find the given points in one picture after the other; None for a picture without a face."""

    def __init__(self, points: list) -> None:
        self.points = iter(points)
        self.shapes: set = set()

    def find(self, images):
        self.shapes.add(images[0].shape)
        points = next(self.points)
        if points is None:
            return [Faces.none()]
        small = points * 0.1  # a second, smaller face
        boxes = [[*p.min(axis=0), *p.max(axis=0)] for p in (small, points)]
        return [Faces(np.array(boxes), np.stack([small, points]), np.array([0.9, 0.8]))]


def test_measured_points_are_medians_in_pixels_of_the_crop():
    rng = np.random.default_rng(0)
    points = ARCFACE.points + 56 + rng.normal(0, 2, (400, 5, 2))
    points[::20] += 40  # badly aligned
    finder = ScriptedFinder([*points, None, None])
    measured = measure_points(finder, [np.zeros((112, 112, 3), np.uint8)] * 402, 112)
    assert finder.shapes == {(224, 224, 3)} and measured.missed == 2
    np.testing.assert_allclose(measured.template.points, ARCFACE.points, atol=0.6)
    np.testing.assert_allclose(measured.spread, 2, atol=0.5)


def write_crops(root, crops) -> None:
    for number, crop in enumerate(crops, 1):
        path = root / f'clip/{number:05d}.jpg'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(crop).save(path, quality=95)


def test_template_of_crops_that_were_aligned_by_a_template(tmp_path, run_tool, real_frames):
    pytest.importorskip('facenet_pytorch')
    template = FaceTemplate(ARCFACE.points * 0.9 + [4, 8], 112)
    images = real_frames('WolfgangLanger_Pexels.mp4', range(0, 240, 40))
    faces = MTCNNFinder().find(images)
    crops = [align(i, f.points[0], template) for i, f in zip(images, faces, strict=True)]
    write_crops(tmp_path / 'crops', crops)
    out = tmp_path / 'template.json'
    status, printed, _ = run_tool(TOOL, tmp_path / 'crops', '--out', out)
    assert status == 0 and '6 crops of 112x112 pixels, a face in 6' in printed
    assert 'warning' not in printed
    # The proportions of this face are not those of the template.
    np.testing.assert_allclose(read_template(out).points, template.points, atol=4)
    np.testing.assert_allclose(
        read_template(out).points.mean(axis=0), template.points.mean(axis=0), atol=2
    )


def test_crops_that_are_not_aligned_are_reported(affwild2_mini, run_tool):
    pytest.importorskip('facenet_pytorch')
    status, printed, _ = run_tool(TOOL, affwild2_mini / 'cropped_aligned', '--sample', 40)
    assert status == 0 and '40 crops of 112x112 pixels' in printed
    assert 'warning: the spread of' in printed


@pytest.mark.parametrize(
    ('shapes', 'message'),
    [
        ([], 'no such folder'),
        ([(112, 100)], 'got 100x112 pixels, expected a square'),
        ([(112, 112), (64, 64)], 'got 64x64 pixels, expected 112x112'),
        ([(112, 112)] * 2, 'got no face in 2 crops'),
    ],
)
def test_wrong_crops_are_one_line(tmp_path, run_tool, shapes, message):
    pytest.importorskip('facenet_pytorch')
    write_crops(tmp_path / 'crops', [np.zeros((*shape, 3), np.uint8) for shape in shapes])
    status, _, error = run_tool(TOOL, tmp_path / 'crops')
    assert status == 1 and message in error.splitlines()[0]


def test_folder_without_crops(tmp_path, run_tool):
    status, _, error = run_tool(TOOL, tmp_path)
    assert status == 1 and 'got no crops, expected <clip>/00001.jpg' in error
