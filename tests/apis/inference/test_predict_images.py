"""Single pictures get the scores of tools/test.py, as crops and where their faces are found."""

import csv
import sys

import numpy as np
import pytest
from PIL import Image
from small_model import write_small_model

from abaw_mm.apis import predict_images
from abaw_mm.apis.inference.crop_scorer import CropScorer
from abaw_mm.apis.test import test as run_test
from abaw_mm.evaluation import Predictions
from abaw_mm.video.align import align
from abaw_mm.video.face_template import ARCFACE, FaceTemplate
from abaw_mm.video.faces import Faces

TOOL = 'predict_images.py'
MODULE = sys.modules[
    'abaw_mm.apis.inference.predict_images'
]  # the package has the function of this name


@pytest.fixture
def files(repo, tiny, tmp_path):
    """Config and checkpoint of a small network."""
    return write_small_model(repo, tiny, tmp_path, 'res18_srp_affwild2')


@pytest.fixture
def photos(tmp_path):
    """Three pictures of different sizes, whose number of faces is that in the name."""
    rng = np.random.default_rng(0)
    (tmp_path / 'photos').mkdir()
    for name, size in (('2.png', (90, 70)), ('0.png', (50, 60)), ('1.png', (70, 90))):
        pixels = np.kron(
            rng.integers(0, 255, (size[1] // 10, size[0] // 10, 3)), np.ones((10, 10, 1))
        )
        Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / 'photos' / name)
    return tmp_path / 'photos'


class Finder:
    """Find as many faces as the height of the picture says."""

    def find(self, images):
        (image,) = images
        number = {60: 0, 90: 1, 70: 2}[image.shape[0]]
        shift = np.arange(number)[:, None, None] * 9
        points = (ARCFACE.points / 4 + 5 + shift).astype(np.float32)
        box = np.concatenate([points.min(axis=1) - 3, points.max(axis=1) + 4], axis=1)
        return [Faces(box, points, np.linspace(0.9, 0.8, number, dtype=np.float32))]


def read(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize('base', ['res18_srp_affwild2', 'res18_srp_affwild2_plain'])
def test_crops_have_the_scores_of_the_test_command(repo, tiny, tmp_path, run_tool, base):
    config, checkpoint = write_small_model(repo, tiny, tmp_path, base)
    exact = {} if 'plain' in base else {'model.mixed_precision': False}
    work, out = str(tmp_path / 'work'), str(tmp_path / 'p.npz')
    run_test(config, checkpoint, work_dir=work, out=out, cfg_options=exact)
    want = Predictions.read(out)
    args = [
        config,
        checkpoint,
        tiny / 'cropped_aligned',
        '--batch-size',
        3,
        '--out',
        tmp_path / 'p.csv',
    ]
    if exact:
        args += ['--cfg-options', 'model.mixed_precision=False']
    status, printed, _ = run_tool(TOOL, *args)
    rows = {row['input']: row for row in read(tmp_path / 'p.csv')}
    assert status == 0 and f'{len(rows)} faces in {len(rows)} pictures; 0 could not' in printed
    for clip, frame, score, label in zip(
        want.clip, want.frame_no, want['pred_score'], want['pred_label'], strict=True
    ):
        row = rows[str(tiny / f'cropped_aligned/{clip}/{frame:05d}.jpg')]
        got = [float(row[name.lower()]) for name in want.classes]
        np.testing.assert_allclose(got, score, atol=2e-6)
        assert row['label'] == want.classes[label].lower()
        assert row['confidence'] == row[row['label']]
    first = next(iter(rows.values()))
    assert list(first)[:8] == [
        'input', 'face_id', 'success', *(f'FaceRect{x}' for x in ('X', 'Y', 'Width', 'Height')),
        'FaceScore',
    ]  # fmt: skip
    assert list(first.values())[1:8] == ['0', '1', '0.00', '0.00', '16.00', '16.00', '']


@pytest.mark.parametrize('waiting', [1 << 28, 30_000])
def test_pictures_of_different_sizes_keep_their_order(files, photos, monkeypatch, waiting):
    monkeypatch.setattr(MODULE, 'WAITING', waiting)
    many = [photos / '2.png', photos / '1.png', photos / '0.png'] * 1
    again = photos / 'again.png'
    again.write_bytes((photos / '2.png').read_bytes())
    result = predict_images(*files, [*many, again], batch_size=2)
    scorer = CropScorer(*files)
    for row, path in enumerate(result.paths):
        pixels = np.asarray(Image.open(path))
        np.testing.assert_allclose(result.pred_score[row], scorer(pixels[None])[0], atol=1e-5)
        assert result.box[row].tolist() == [0, 0, pixels.shape[1], pixels.shape[0]]
    assert np.ptp(result.pred_score, axis=0).max() > 0.01
    np.testing.assert_allclose(result.pred_score[0], result.pred_score[3], atol=1e-6)


@pytest.mark.parametrize('template', [ARCFACE, FaceTemplate(ARCFACE.points / 2, 56)])
def test_faces_are_aligned_and_scored(files, photos, monkeypatch, tmp_path, template):
    asked = []
    monkeypatch.setattr(MODULE, 'build_finder', lambda *args: asked.append(args) or Finder())
    result = predict_images(*files, [photos], find_faces=True, min_face=9, template=template)
    assert asked == [('mtcnn', 9, 'cpu')] and result.image.tolist() == [1, 2, 2]
    scorer = CropScorer(*files)
    for face, row in enumerate(result.image):
        picture = np.asarray(Image.open(result.paths[row]))
        (faces,) = Finder().find([picture])
        number = face - 1 if row == 2 else 0
        want = scorer(align(picture, faces.points[number], template)[None])[0]
        np.testing.assert_allclose(result.pred_score[face], want, atol=0.02)  # bfloat16
        assert result.score[face] == faces.score[number]
    result.write(tmp_path / 'faces.csv')
    rows = read(tmp_path / 'faces.csv')
    assert [(row['input'][-5], row['face_id'], row['success']) for row in rows] == [
        ('0', '', '0'),
        ('1', '0', '1'),
        ('2', '0', '1'),
        ('2', '1', '1'),
    ]
    assert set(list(rows[0].values())[3:]) == {''}
    assert [row['FaceScore'] for row in rows[2:]] == ['0.900000', '0.800000']


def test_unreadable_pictures_are_left_out_and_listed(files, photos, run_tool, tmp_path):
    (photos / '1.png').write_bytes(b'no picture')
    status, out, error = run_tool(TOOL, *files, photos, '--out', tmp_path / 'p.csv')
    assert status == 1 and '2 faces in 2 pictures; 1 could not be read' in out
    assert f'left out: {photos}/1.png: cannot identify image file' in error
    assert [row['input'][-5] for row in read(tmp_path / 'p.csv')] == ['0', '2']


@pytest.mark.parametrize(
    ('args', 'status', 'message'),
    [
        (['PHOTOS', '--out', 'x.npz'], 2, 'expected a file that ends in .csv'),
        (['PHOTOS', '--out', 'x.csv', '--min-face', 9], 2, '--min-face: got no --find-faces'),
        (['PHOTOS', '--out', 'x.csv', '--batch-size', 0], 1, '--batch-size: got 0, expected at'),
        (['nowhere', '--out', 'x.csv'], 1, 'nowhere: got no such file'),
        (['PHOTOS', '--out', '/dev/null/x.csv'], 1, 'a folder that can be written to, which /dev'),
        (['PHOTOS', '--out', 'x.csv', '--find-faces', '--detector', 'x'], 1, "--detector: got 'x'"),
        (['PHOTOS', '--out', 'x.csv', '--find-faces', '--template', 'x'], 1, 'x: no such file'),
    ],
)
def test_user_errors(files, photos, run_tool, tmp_path, monkeypatch, args, status, message):
    monkeypatch.chdir(tmp_path)
    got, _, error = run_tool(TOOL, *files, *(photos if arg == 'PHOTOS' else arg for arg in args))
    assert got == status and message in ' '.join(error.split())
    assert not list(tmp_path.glob('x.*'))
