"""Test the points that are found for pre-training, from the file to the training step."""

import json

import numpy as np
import pytest
from PIL import Image
from test_pretraining import make_options, pretrain

from abaw_mm.models.selfsup import RandomMuscleWarp
from abaw_mm.video.align import align
from abaw_mm.video.face_template import ARCFACE, FaceTemplate
from abaw_mm.video.find.mtcnn import MTCNNFinder

TOOL = 'dataset_converters/find_landmarks.py'


@pytest.fixture
def faces(tmp_path, real_frames):
    """Return a folder of faces aligned by two templates, one face twice as large, one of noise."""
    pytest.importorskip('facenet_pytorch')
    root = tmp_path / 'faces'
    (root / 'deep').mkdir(parents=True)
    image = real_frames('WolfgangLanger_Pexels.mp4', [0])[0]
    points = MTCNNFinder().find([image])[0].points[0]
    low = FaceTemplate(ARCFACE.points * 0.8 + [11, 25], 112)
    large = FaceTemplate(ARCFACE.points * 2, 224)
    for name, template in (('a.png', ARCFACE), ('deep/b.png', low), ('c.png', large)):
        Image.fromarray(align(image, points, template)).save(root / name)
    noise = np.random.default_rng(0).integers(0, 255, (112, 112, 3), np.uint8)
    Image.fromarray(noise).save(root / 'noise.png')
    return root


def test_points_follow_the_alignment_and_reach_the_warp(
    faces, tmp_path, tiny, run_tool, monkeypatch
):
    out = tmp_path / 'landmarks.json'
    status, printed, _ = run_tool(TOOL, faces, out)
    assert status == 0 and 'points of 4 faces; 1 not found' in printed
    points = {name: np.array(face) for name, face in json.loads(out.read_text()).items()}
    assert set(points) == {'a.png', 'deep/b.png', 'c.png', 'noise.png'}
    aligned = points['a.png']
    np.testing.assert_allclose(aligned, ARCFACE.points / 112, atol=0.04)
    np.testing.assert_allclose(
        points['deep/b.png'], aligned * 0.8 + [11 / 112, 25 / 112], atol=0.02
    )
    np.testing.assert_allclose(points['c.png'], aligned, atol=0.02)
    found = [points[name] for name in ('a.png', 'deep/b.png', 'c.png')]
    np.testing.assert_allclose(points['noise.png'], np.median(found, axis=0), atol=1e-4)

    seen = []
    draw = RandomMuscleWarp.draw

    def record(self, *args, landmarks=None, **options):
        seen.append(landmarks)
        return draw(self, *args, landmarks=landmarks, **options)

    monkeypatch.setattr(RandomMuscleWarp, 'draw', record)
    options = {
        'train_dataloader.dataset.landmarks': str(out),
        'train_dataloader.batch_size': 4,
        'default_hooks.probe.interval': 0,
        'train_cfg.max_iters': 1,
    }
    pretrain(tmp_path / 'run', make_options(faces, tiny, **options))
    drawn = np.sort(seen[0].numpy(), axis=0)
    np.testing.assert_allclose(drawn, np.sort(list(points.values()), axis=0), rtol=1e-6)


def test_face_that_cannot_be_read_is_one_without_a_face(faces, tmp_path, run_tool):
    (faces / 'broken.jpg').write_bytes(b'')
    for name in ('c.png', 'deep/b.png', 'noise.png'):
        (faces / name).unlink()
    status, printed, error = run_tool(TOOL, faces, tmp_path / 'points.json')
    assert status == 0 and 'points of 2 faces; 1 not found' in printed
    assert 'broken.jpg: an empty file, taken as without a face' in error
    points = json.loads((tmp_path / 'points.json').read_text())
    assert points['broken.jpg'] == points['a.png']


def test_folder_without_a_face_writes_nothing(tmp_path, run_tool):
    pytest.importorskip('facenet_pytorch')
    (tmp_path / 'grey').mkdir()
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(tmp_path / 'grey/a.png')
    status, _, error = run_tool(TOOL, tmp_path / 'grey', tmp_path / 'out.json')
    assert status == 1 and 'got no face in 1 images' in error
    assert not (tmp_path / 'out.json').exists()
