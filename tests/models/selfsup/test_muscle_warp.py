"""RandomMuscleWarp: limits of a warp, places and directions of the movements."""

import numpy as np
import pytest
import torch

from abaw_mm.models.selfsup import RandomMuscleWarp
from abaw_mm.models.selfsup.fields import FOLD_LIMIT, jacobian_determinants
from abaw_mm.models.selfsup.muscle_warp import (
    ACTIONS,
    POINTS,
    draw_actions,
    place_parts,
    product_field,
)

NAMES = [action.name for action in ACTIONS]
SETTINGS = [dict(), dict(strength=1.0, prob=1.0, max_slope=FOLD_LIMIT - 1e-3), dict(coupling=0.0)]


def make_generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize('size', [(112, 112), (40, 64)])
@pytest.mark.parametrize('settings', SETTINGS)
def test_fields_do_not_fold_and_are_bounded(settings, size):
    warp = RandomMuscleWarp(**settings)
    field = warp.draw(32, *size, generator=make_generator())
    assert field.shape == (32, *size, 2) and field.dtype == torch.float32
    determinants = jacobian_determinants(field)
    assert determinants.min() >= (1 - 2**0.5 * warp.max_slope) ** 2 - 1e-4
    assert field.norm(dim=-1).max() <= warp.strength * min(size) * (1 + 1e-5)
    for edge in (field[:, 0], field[:, -1], field[:, :, 0], field[:, :, -1]):
        assert (edge == 0).all()
    assert (field.flatten(1).abs().amax(1) > 0).all()  # every face moves


def test_zero_strength_is_the_identity():
    images = torch.rand(4, 3, 31, 47)
    assert torch.equal(RandomMuscleWarp(strength=0.0)(images), images)


def test_generator_determines_the_warp():
    warp, images = RandomMuscleWarp(), torch.rand(2, 3, 32, 32)
    state = torch.get_rng_state()
    assert torch.equal(warp(images, make_generator(3)), warp(images, make_generator(3)))
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(warp(images, make_generator(3)), warp(images, make_generator(4)))


# An action, the place that it moves most (as fractions of the side), and the direction in which
# the content moves there.
MOVES = [
    ('inner brow', (0.57, 0.31), (0, -1)),
    ('upper lid', (0.66, 0.42), (0, -1)),
    ('nose wing', (0.58, 0.65), (0.4, -0.9)),
    ('mouth corner up', (0.63, 0.82), (0.55, -0.83)),
    ('mouth corner down', (0.63, 0.83), (0.1, 1)),
    ('mouth corner out', (0.63, 0.82), (1, 0)),
    ('lower lip', (0.53, 0.87), (0, 1)),
]


@pytest.mark.parametrize(('name', 'place', 'direction'), MOVES)
def test_action_moves_its_part_in_its_direction(name, place, direction):
    amounts = torch.zeros(2, len(ACTIONS), 2)
    amounts[0, NAMES.index(name), 0] = 1  # right half
    amounts[1, NAMES.index(name), 1] = 1  # left half
    field = RandomMuscleWarp().make_field(amounts, 100, 100)
    longest = field[0].norm(dim=-1)
    row, column = np.unravel_index(int(longest.argmax()), (100, 100))
    assert abs(column - 100 * place[0]) < 6 and abs(row - 100 * place[1]) < 6
    content = -field[0, row, column] / longest.max()  # content moves against the field
    expected = torch.tensor(direction, dtype=torch.float32)
    assert torch.dot(content, expected / expected.norm()) > 0.95
    assert 5 < longest.max() <= 10 + 1e-4
    # The left half mirrors the right one, up to the asymmetry of the template.
    mirrored = field[1].flip(1) * torch.tensor([-1.0, 1.0])
    assert (mirrored - field[0]).abs().max() < 0.3 * longest.max()


def test_pixels_of_the_mouth_move_up():
    """A bright row under the corners of the mouth appears higher."""
    images = torch.zeros(1, 1, 100, 100)
    images[:, :, 80:84] = 1
    amounts = torch.zeros(1, len(ACTIONS), 2)
    amounts[:, NAMES.index('mouth corner up')] = 1
    warp = RandomMuscleWarp()
    warp.draw = lambda *args, **kwargs: warp.make_field(amounts, 100, 100)
    column = warp(images)[0, 0, :, 63]
    centre = (column * torch.arange(100)).sum() / column.sum()
    assert centre < 81.5 - 3


def test_parts_follow_turned_and_scaled_points():
    points = torch.tensor(POINTS)[None] * 100
    places = torch.tensor([[0.5, 0.0], [0.0, 1.0], [0.3, 0.7]])
    moves = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]])
    at, direction = place_parts(places, moves, points)
    torch.testing.assert_close(at[0, 0], points[0, 1], atol=1e-3, rtol=0)  # the right eye
    torch.testing.assert_close(at[0, 1], points[0, 3:].mean(0), atol=1e-3, rtol=0)
    turn = torch.tensor([[0.8, -0.6], [0.6, 0.8]])
    turned_at, turned = place_parts(places, moves, 2 * points @ turn.T)
    torch.testing.assert_close(turned_at, 2 * at @ turn.T)
    torch.testing.assert_close(turned, direction @ turn.T)


def test_probabilities_of_actions_and_coupling():
    amounts = draw_actions(4000, 0.35, 0.8, 'cpu', make_generator())
    assert amounts.shape == (4000, len(ACTIONS), 2)
    moves = amounts.abs()
    assert ((moves == 0) | ((moves >= 0.5) & (moves <= 1))).all()
    active = moves.amax(2) > 0
    assert active.any(1).all()
    assert active.float().mean() == pytest.approx(0.35, abs=0.01)
    alike = amounts[..., 0] == amounts[..., 1]
    assert alike[active].float().mean() == pytest.approx(0.8, abs=0.01)
    signs = {name: (amounts[:, i] < 0).any().item() for i, name in enumerate(NAMES)}
    assert signs == {action.name: action.both_ways for action in ACTIONS}
    assert (draw_actions(50, 0.0, 1.0, 'cpu').abs().amax(2) > 0).sum(1).eq(1).all()


def test_product_field_equals_formula():
    field = product_field(
        torch.tensor([[[4.0, 4.0]]]), torch.tensor([[[2.0, -1.0]]]), torch.tensor([4.0]), 9, 9
    )
    for (y, x), share in {
        (4, 4): 1,
        (4, 6): (1 - 4 / 16) ** 2,
        (6, 5): (1 - 4 / 16) ** 2 * (1 - 1 / 16) ** 2,
        (4, 8): 0,
        (0, 0): 0,
    }.items():
        torch.testing.assert_close(field[0, y, x], share * torch.tensor([2.0, -1.0]))


@pytest.mark.parametrize(
    ('settings', 'name'),
    [
        (dict(strength=-0.1), 'strength'),
        (dict(prob=1.5), 'prob'),
        (dict(coupling=-1.0), 'coupling'),
        (dict(max_slope=0.71), 'max_slope'),
        (dict(points=((0.1, 0.2),)), 'points'),
    ],
)
def test_argument_out_of_range_raises(settings, name):
    with pytest.raises(ValueError, match=f'RandomMuscleWarp: got {name}=.*warp.{name}'):
        RandomMuscleWarp(**settings)
