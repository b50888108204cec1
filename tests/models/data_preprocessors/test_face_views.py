"""Views of faces: geometry, colour and blur against formulas; warped views are equally sharp."""

import math

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from mmpretrain.structures import DataSample
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.nn import functional as F

from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.models.data_preprocessors.face_view_data_preprocessor import _stack_landmarks
from abaw_mm.models.data_preprocessors.face_views import (
    apply_colour,
    blur,
    displace_grid,
    draw_affine,
    draw_colour,
    draw_sigma,
    make_grid,
    sample_views,
)
from abaw_mm.models.selfsup.muscle_warp import ACTIONS

WARPS = ('RandomLocalWarp', 'RandomMuscleWarp')
PLAIN = dict(
    rotation=0.0,
    crop_ratio_range=(1.0, 1.0),
    aspect_ratio_range=(1.0, 1.0),
    flip_prob=0.0,
    jitter_prob=0.0,
    grey_prob=0.0,
    blur_prob=0.0,
)


def build(size=48, **options):
    return MODELS.build(
        dict(
            type='FaceViewDataPreprocessor',
            mean=[100.0, 110.0, 120.0],
            std=[50.0, 60.0, 70.0],
            view_size=size,
            **options,
        )
    )


def make_faces(number, size=48, seed=0):
    """Smooth random images with fine texture."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.rand(number, 3, size, size, generator=rng)
    coarse = torch.rand(number, 3, size // 8, size // 8, generator=rng)
    coarse = F.interpolate(coarse, size=(size, size), mode='bicubic')
    return (255 * (0.7 * coarse + 0.3 * noise)).clamp(0, 255)


def make_batch(images):
    return dict(inputs=images.flip(1).byte(), data_samples=[None] * len(images))  # BGR


def test_views_without_changes_are_the_face():
    faces = make_faces(3).byte()
    views = build(**PLAIN)(make_batch(faces), training=True)['inputs']
    expected = (faces.float() - torch.tensor([100.0, 110, 120])[:, None, None]) / torch.tensor(
        [50.0, 60, 70]
    )[:, None, None]
    assert len(views) == 2
    for view in views:
        torch.testing.assert_close(view, expected, atol=1e-4, rtol=1e-4)
        assert view.is_contiguous(memory_format=torch.channels_last)
    evaluated = build()(make_batch(faces))['inputs']
    torch.testing.assert_close(evaluated, expected)


@pytest.mark.parametrize('warp', WARPS)
def test_warp_of_zero_strength_gives_the_first_view(warp):
    torch.manual_seed(0)
    views = build(warp=dict(type=warp, strength=0.0), warp_softening=0.0)(
        make_batch(make_faces(4)), True
    )['inputs']
    assert len(views) == 3
    assert torch.equal(views[0], views[2]) and not torch.equal(views[0], views[1])


@pytest.mark.parametrize('warp', WARPS)
def test_warped_view_differs_from_the_first_one_by_the_warp(warp):
    """Composed in one grid, or warped first and then transformed: the same up to resampling."""
    smooth = F.interpolate(make_faces(4, 24), size=(96, 96), mode='bicubic').clamp(0, 255)
    smooth = F.avg_pool2d(smooth, 9, 1, 4, count_include_pad=False)
    affine = draw_affine(4, (96, 96), 15, 1.0, (0.5, 0.8), (0.9, 1.1), 0.5)
    grid = make_grid(affine, (64, 64))
    model = MODELS.build(dict(type=warp))
    field = model.draw(4, 96, 96, generator=torch.Generator().manual_seed(1))
    assert field.norm(dim=-1).max() <= model.strength * 96 + 1e-3
    once = sample_views(smooth, displace_grid(grid, field))
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing='ij')
    places = (2 * (torch.stack([x, y], -1) + field) + 1) / 96 - 1
    twice = sample_views(sample_views(smooth, places), grid)
    plain = sample_views(smooth, grid)
    assert (once - twice).abs().mean() < 0.05 * (plain - twice).abs().mean()


def test_rotation_keeps_angles_and_area():
    affine = draw_affine(50, (60, 90), 30, 1.0, (1.0, 1.0), (1.5, 1.5), 0.0)
    half = torch.tensor([[45.0, 0], [0, 30.0]])  # pixels per unit of coordinates
    in_pixels = half @ affine[:, :, :2] @ torch.linalg.inv(half)
    torch.testing.assert_close(in_pixels @ in_pixels.mT, torch.eye(2).expand(50, 2, 2))
    angle = torch.atan2(in_pixels[:, 1, 0], in_pixels[:, 0, 0]).rad2deg()
    assert angle.abs().max() <= 30 and angle.abs().max() > 20
    assert affine[:, :, 2].abs().max() == 0


def test_crops_have_the_area_and_stay_inside():
    affine = draw_affine(500, (64, 64), 0, 0.0, (0.25, 0.64), (0.9, 1.1), 0.5)
    area = affine[:, :, :2].det()
    assert 0.25 - 1e-4 <= area.abs().min() and area.abs().max() <= 0.64 + 1e-4
    assert 0.4 < (area < 0).float().mean() < 0.6  # flipped
    corners = make_grid(affine, (64, 64))
    assert corners.abs().max() <= 1


def test_colour_keeps_grey_and_reaches_grey():
    grey = torch.full((8, 3, 4, 4), 100.0)
    matrix, contrast = draw_colour(8, (0.0, 0.9, 0.9, 0.5), 1.0, 0.0)
    torch.testing.assert_close(apply_colour(grey, matrix, contrast), grey, atol=0.3, rtol=0)
    faces = make_faces(8)
    drawn = draw_colour(8, (0.0, 0.0, 0.0, 0.0), 1.0, 1.0)
    result = apply_colour(faces, *drawn)
    luma = torch.einsum('nchw,c->nhw', faces, torch.tensor([0.299, 0.587, 0.114]))
    torch.testing.assert_close(result, luma[:, None].expand_as(faces), atol=0.3, rtol=0)


def test_no_jitter_changes_nothing():
    faces = make_faces(4)
    result = apply_colour(faces, *draw_colour(4, (0.4, 0.4, 0.2, 0.1), 0.0, 0.0))
    torch.testing.assert_close(result, faces, atol=1e-2, rtol=1e-4)


def test_contrast_scales_around_the_mean_luma():
    faces = make_faces(2)
    eye = torch.eye(3).expand(2, 3, 3)
    result = apply_colour(faces, eye, torch.tensor([0.5, 1.0]))
    mean = torch.einsum('chw,c->hw', faces[0], torch.tensor([0.299, 0.587, 0.114])).mean()
    torch.testing.assert_close(result[0], 0.5 * faces[0] + 0.5 * mean, atol=1e-2, rtol=1e-4)
    torch.testing.assert_close(result[1], faces[1], atol=1e-2, rtol=1e-4)


def test_blur_equals_gaussian_and_leaves_others():
    faces = make_faces(3)
    sigma = torch.tensor([0.8, 0.0, 0.4])
    blurred = blur(faces, sigma)
    assert torch.equal(blurred[1], faces[1])
    for row in (0, 2):
        taps = torch.exp(-0.5 * (torch.arange(-3, 4) / sigma[row]) ** 2)
        taps = taps / taps.sum()
        padded = F.pad(faces[row : row + 1], [3] * 4, mode='replicate')
        kernel = (taps[:, None] * taps).expand(3, 1, 7, 7)
        torch.testing.assert_close(
            blurred[row], F.conv2d(padded, kernel, groups=3)[0], atol=1e-3, rtol=1e-4
        )
    drawn = draw_sigma(1000, (0.1, 1.0), 0.5)
    assert 0.4 < (drawn > 0).float().mean() < 0.6 and 0.1 <= drawn[drawn > 0].min()
    assert drawn.max() <= 1


def test_views_are_those_of_the_global_seed_and_differ_per_face():
    preprocessor = build(warp=dict(type='RandomMuscleWarp'))
    batch = make_batch(make_faces(1).expand(2, -1, -1, -1))
    torch.manual_seed(3)
    first = preprocessor(batch, True)['inputs']
    torch.manual_seed(3)
    with torch.autocast('cpu', torch.bfloat16):
        again = preprocessor(batch, True)['inputs']
    assert all(torch.equal(*pair) for pair in zip(first, again, strict=True))
    assert not torch.equal(first[0][0], first[0][1])


def test_landmarks_of_samples_place_the_warp():
    warp = MODELS.build(dict(type='RandomMuscleWarp'))
    amounts = torch.zeros(1, len(ACTIONS), 2)
    amounts[0, [action.name for action in ACTIONS].index('upper lid')] = 1
    samples = [DataSample(metainfo=dict(landmarks=np.array(warp.points) - [0, 0.05]))]
    moved = warp.make_field(amounts, 60, 60, _stack_landmarks(samples))
    torch.testing.assert_close(moved[:, 7:37], warp.make_field(amounts, 60, 60)[:, 10:40])
    assert _stack_landmarks([DataSample()]) is None


@pytest.mark.parametrize('warp', [None, dict(type='RandomLocalWarp')])
def test_landmarks_that_no_warp_uses_are_refused(warp):
    config = dict(
        type='FaceViewDataPreprocessor', mean=[0] * 3, std=[1] * 3, view_size=16, warp=warp
    )
    preprocessor = MODELS.build(config)
    samples = [DataSample(metainfo=dict(landmarks=np.zeros((5, 2)))) for _ in range(2)]
    batch = dict(inputs=torch.zeros(2, 3, 16, 16, dtype=torch.uint8), data_samples=samples)
    with pytest.raises(ValueError, match=r'dataset\.landmarks: .* does not use them'):
        preprocessor(batch, training=True)


@pytest.mark.parametrize(
    ('data', 'message'),
    [(dict(inputs=[torch.zeros(3, 4, 4)]), 'one size'), (dict(), 'default_collate')],
)
def test_other_batches_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        build()(data, training=True)


# ---------------------------------------------------------------------------------- sharpness


def measure_sharpness(view):
    """Log of the energy above a quarter of a cycle per pixel, within the face: (N, 1)."""
    grey = view.mean(1)
    window = torch.hann_window(grey.shape[-1], periodic=False)
    power = torch.fft.fft2(grey * window * window[:, None]).abs() ** 2
    frequency = torch.fft.fftfreq(grey.shape[-1])
    is_high = (frequency**2 + frequency[:, None] ** 2).sqrt() >= 0.25
    return power[:, is_high].mean(1, keepdim=True).log().numpy()


def score_sharpness(plain, warped, seed=0):
    """AUC of a linear classifier of plain and warped views, cross-validated over faces."""
    features = np.concatenate([plain, warped])
    labels = np.repeat([0, 1], len(plain))
    faces = np.tile(np.arange(len(plain)), 2)
    folds = np.random.default_rng(seed).permutation(len(plain)) % 5
    splits = [
        tuple(np.flatnonzero((folds[faces] == k) == own) for own in (False, True)) for k in range(5)
    ]
    probe = make_pipeline(StandardScaler(), LogisticRegression())
    scores = cross_val_predict(probe, features, labels, cv=splits, method='decision_function')
    return roc_auc_score(labels, scores)


def compare_sharpness(faces, warp, size=80, **settings):
    preprocessor = build(size, warp=dict(type=warp), **settings)
    torch.manual_seed(0)
    pairs = []
    for part in faces.split(100):
        views = preprocessor.make_views(part)
        pairs.append((measure_sharpness(views[0]), measure_sharpness(views[2])))
    return score_sharpness(*(np.concatenate(side) for side in zip(*pairs, strict=True)))


@pytest.mark.parametrize('warp', WARPS)
def test_sharpness_does_not_reveal_the_warp(warp):
    auc = compare_sharpness(make_faces(400, 112), warp, warp_softening=0.015)
    assert abs(auc - 0.5) < 0.05


def test_sharpness_reveals_a_second_resampling():
    """The measure sees what this module avoids."""
    faces = make_faces(200, 112)
    warp = MODELS.build(dict(type='RandomLocalWarp'))
    torch.manual_seed(0)
    assert score_sharpness(measure_sharpness(faces), measure_sharpness(warp(faces))) > 0.8


@pytest.mark.slow
@pytest.mark.parametrize('warp', WARPS)
def test_sharpness_of_real_faces_does_not_reveal_the_warp(repo, warp):
    folder = repo.parent / 'shared/faces_unlabelled'
    if not folder.is_dir():
        pytest.skip('no faces_unlabelled beside the repository')
    paths = sorted(folder.glob('*.jpg'))[:2000]
    pixels = np.stack([read_crop(str(path))[..., ::-1] for path in paths])
    faces = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    auc = compare_sharpness(faces, warp)
    assert math.isclose(auc, 0.5, abs_tol=0.02)
