"""RandomLocalWarp: the properties listed in docs/pretraining.md."""

import numpy as np
import pytest
import torch
from devices import DEVICES
from mmpretrain.registry import MODELS, TRANSFORMS

from abaw_mm.models.selfsup import RandomLocalWarp
from abaw_mm.models.selfsup.fields import (
    FOLD_LIMIT,
    face_window,
    jacobian_determinants,
    limit_displacement,
    warp_images,
)
from abaw_mm.models.selfsup.local_warp import displacement_field

# The most extreme settings that are allowed, and some in between.
SETTINGS = [
    dict(),
    dict(num_points=64, strength=1.0, max_slope=FOLD_LIMIT - 1e-3),
    dict(num_points=3, radius=0.02, strength=1.0, max_slope=0.7, ellipse=None),
    dict(num_points=20, radius=1.0, strength=1.0, ellipse=(1.0, 1.0), fade=0.01, max_slope=0.7),
    dict(radius=0.1, strength=0.2, fade=1.0),
]
SIZES = [(112, 112), (40, 64)]


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('settings', SETTINGS)
def test_fields_do_not_fold(settings, size):
    warp = RandomLocalWarp(**settings)
    field = warp.draw(32, *size, generator=make_generator())
    determinants = jacobian_determinants(field)
    assert determinants.shape == (32, 2, size[0] - 1, size[1] - 1)
    assert determinants.min() > 0
    assert determinants.min() >= (1 - 2**0.5 * warp.max_slope) ** 2 - 1e-4  # the docstring's bound
    # No two pixels of a row or column swap places.
    assert (field[..., 0].diff(dim=2) > -1).all() and (field[..., 1].diff(dim=1) > -1).all()


def test_determinant_of_a_fold_is_negative():
    field = torch.zeros(1, 5, 5, 2)
    field[0, 2, 2, 0] = 1.5  # moves past its right neighbour
    assert jacobian_determinants(field).min() < 0
    assert jacobian_determinants(limit_displacement(field, 2.0, 0.7)).min() > 0


def test_determinant_of_a_linear_map():
    """x + d(x) = A x has the determinant of A everywhere."""
    matrix = torch.tensor([[1.2, 0.3], [-0.1, 0.9]])
    y, x = torch.meshgrid(torch.arange(4.0), torch.arange(6.0), indexing='ij')
    place = torch.stack([x, y], -1)
    field = (place @ matrix.T - place)[None]
    expected = torch.full((1, 2, 3, 5), 1.2 * 0.9 + 0.3 * 0.1)
    torch.testing.assert_close(jacobian_determinants(field), expected)


@pytest.mark.parametrize('size', SIZES)
@pytest.mark.parametrize('settings', SETTINGS)
def test_displacement_is_bounded_and_zero_at_the_border(settings, size):
    warp = RandomLocalWarp(**settings)
    field = warp.draw(16, *size, generator=make_generator())
    assert field.norm(dim=-1).max() <= warp.strength * min(size) * (1 + 1e-5)
    for edge in (field[:, 0], field[:, -1], field[:, :, 0], field[:, :, -1]):
        assert (edge == 0).all()
    # Every image moves, each differently.
    assert (field.flatten(1).abs().amax(1) > 0).all()
    assert not torch.equal(field[0], field[1])


def test_nothing_moves_outside_the_ellipse():
    warp = RandomLocalWarp(ellipse=(0.5, 0.8), strength=0.2)
    images = torch.rand(4, 3, 64, 64)
    warped = warp(images, make_generator())
    y = torch.linspace(-1, 1, 64)[:, None]
    x = torch.linspace(-1, 1, 64)
    outside = (x / 0.5) ** 2 + (y / 0.8) ** 2 >= 1
    assert torch.equal(warped[..., outside], images[..., outside])
    assert (warped[..., ~outside] != images[..., ~outside]).float().mean() > 0.5


def test_zero_strength_is_the_identity():
    images = torch.rand(4, 3, 31, 47)
    assert torch.equal(RandomLocalWarp(strength=0.0)(images), images)


def test_fields_are_smooth():
    """First and second differences are bounded."""
    field = RandomLocalWarp().draw(16, 112, 112, generator=make_generator())
    assert field.diff(dim=1).abs().max() <= 0.5 + 1e-5
    assert field.diff(n=2, dim=1).abs().max() < 0.15


def test_field_of_one_point_equals_formula():
    """d = move * (1 - r^2)^2 within the radius."""
    window = torch.ones(9, 9)
    field = displacement_field(torch.zeros(1, 1, 2), torch.tensor([[[2.0, -1.0]]]), 4.0, window)
    for (y, x), share in {
        (4, 4): 1,
        (4, 6): (1 - 4 / 16) ** 2,
        (6, 5): (1 - 5 / 16) ** 2,
        (4, 8): 0,
        (0, 0): 0,
    }.items():
        torch.testing.assert_close(field[0, y, x], share * torch.tensor([2.0, -1.0]))


def test_limits_scale_the_whole_field():
    field = torch.zeros(2, 2, 4, 2)
    field[0, :, :, 0] = torch.tensor([0.0, 1.0, 4.0, 4.0])  # steepest 3, longest 4
    field[1, :, :, 1] = torch.tensor([0.0, 0.1, 0.1, 0.1])  # within both limits
    limited = limit_displacement(field, 2.0, 3.0)
    torch.testing.assert_close(limited[0], field[0] / 2)
    torch.testing.assert_close(limited[1], field[1])
    torch.testing.assert_close(limit_displacement(field, 9.0, 0.6)[0], field[0] / 5)


def test_pixel_shows_what_was_at_the_displaced_place():
    images = torch.arange(25.0).view(1, 1, 5, 5)
    field = torch.zeros(1, 5, 5, 2)
    field[0, 2, 2] = torch.tensor([1.0, -2.0])
    warped = warp_images(images, field)
    assert warped[0, 0, 2, 2] == pytest.approx(images[0, 0, 0, 3].item(), abs=1e-4)
    warped[0, 0, 2, 2] = images[0, 0, 2, 2]
    assert torch.equal(warped, images)


def test_generator_determines_the_warp():
    warp, images = RandomLocalWarp(), torch.rand(2, 3, 32, 32)
    state = torch.get_rng_state()
    assert torch.equal(warp(images, make_generator(3)), warp(images, make_generator(3)))
    assert torch.equal(torch.get_rng_state(), state)  # the global generator is not used
    assert not torch.equal(warp(images, make_generator(3)), warp(images, make_generator(4)))


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16, torch.float64])
def test_dtype_of_images_is_kept(dtype):
    images = torch.rand(2, 3, 32, 32)
    warped = RandomLocalWarp()(images.to(dtype), make_generator())
    assert warped.dtype == dtype
    expected = RandomLocalWarp()(images, make_generator())
    torch.testing.assert_close(warped.float(), expected, atol=1e-2, rtol=1e-2)


def test_autocast_does_not_change_the_warp():
    images = torch.rand(2, 3, 32, 32)
    with torch.autocast('cpu', torch.bfloat16):
        warped = RandomLocalWarp()(images, make_generator())
    assert torch.equal(warped, RandomLocalWarp()(images, make_generator()))


@pytest.mark.parametrize('device', DEVICES)
def test_devices_give_the_same_pixels(device):
    images = torch.rand(2, 3, 32, 32, device=device)
    field = RandomLocalWarp().draw(2, 32, 32, generator=make_generator())
    torch.testing.assert_close(
        warp_images(images, field.to(device)).cpu(),
        warp_images(images.cpu(), field),
        atol=1e-4,
        rtol=1e-4,
    )
    assert RandomLocalWarp()(images).device == images.device


def test_window_is_symmetric_and_zero_at_the_border():
    window = face_window(21, 11, (0.8, 0.9), 0.5)
    assert window[10, 5] == 1 and 0 <= window.min() and window.max() == 1
    assert (window[0] == 0).all() and (window[:, 0] == 0).all()
    torch.testing.assert_close(window, window.flip(0))
    torch.testing.assert_close(window, window.flip(1))


def test_transform_warps_only_img():
    transform = TRANSFORMS.build(dict(type='RandomLocalWarp', strength=0.1))
    assert type(MODELS.build(dict(type='RandomLocalWarp'))) is type(transform)
    image = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    warped = transform(dict(img=image.copy(), img_path='a.jpg'))
    assert warped['img'].shape == image.shape and warped['img'].dtype == np.uint8
    assert warped['img_path'] == 'a.jpg' and (warped['img'] != image).mean() > 0.2
    same = TRANSFORMS.build(dict(type='RandomLocalWarp', strength=0.0))(dict(img=image.copy()))
    assert (same['img'] == image).all()


@pytest.mark.parametrize(
    'settings',
    [
        dict(num_points=0),
        dict(radius=0.0),
        dict(strength=-0.1),
        dict(strength=1.1),
        dict(ellipse=(0.5, 1.2)),
        dict(fade=0.0),
        dict(max_slope=0.71),
    ],
)
def test_argument_out_of_range_raises(settings):
    name = next(iter(settings))
    with pytest.raises(
        ValueError, match=f'RandomLocalWarp: got {name}=.*data_preprocessor.warp.{name}'
    ):
        RandomLocalWarp(**settings)
