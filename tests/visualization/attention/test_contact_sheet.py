"""The picture: what glows, where the cells lie, what is written."""

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from abaw_mm.visualization.attention.attention_maps import AttentionMaps
from abaw_mm.visualization.attention.contact_sheet import (
    COVER,
    HEAT,
    draw_cells,
    draw_sheet,
    heat_over,
)
from abaw_mm.visualization.attention.explained_face import ExplainedFace

CELLS = torch.tensor([[[0.0, 0.0, 2.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]])
EDGES = ([0, 2.5 / 7, 4.5 / 7, 1], [0, 2.5 / 7, 4.5 / 7, 1])


def face(**options):
    maps = dict(
        scores=torch.tensor([[0.25, 0.75]]),
        classes=torch.tensor([1]),
        attention=torch.ones(1, 7, 7),
        own=None,
        grad_cam=torch.zeros(1, 7, 7),
        cells=CELLS,
        edges=EDGES,
        absent={},
    )
    maps.update(options)
    return ExplainedFace(
        'clip/00001.jpg',
        np.full((70, 70, 3), 200, np.uint8),
        None,
        'Anger',
        'Anger',
        dict(Neutral=0.25, Anger=0.75),
        AttentionMaps(**maps),
    )


def test_a_face_shows_where_nothing_glows():
    image = np.random.default_rng(0).integers(0, 255, (28, 28, 3), dtype=np.uint8)
    heat = torch.zeros(7, 7)
    heat[5:, 5:] = 1
    over = heat_over(image, heat)
    grey = image.mean(2)
    for channel in range(3):
        np.testing.assert_allclose(over[:16, :16, channel], grey[:16, :16], atol=0.5)
        expected = grey[-1, -1] * (1 - COVER) + 255 * HEAT(1.0)[channel] * COVER
        assert abs(over[-1, -1, channel] - expected) <= 1
    assert over.shape == image.shape and over.dtype == np.uint8


def test_cells_are_drawn_where_they_lie_with_their_numbers():
    axes = Figure().add_axes((0, 0, 1, 1))
    draw_cells(axes, CELLS[0], EDGES, (70, 140))
    mesh = axes.collections[0]
    corners = mesh.get_coordinates()
    np.testing.assert_allclose(corners[0, :, 0], [-0.5, 49.5, 89.5, 139.5])  # across, in pixels
    np.testing.assert_allclose(corners[:, 0, 1], [-0.5, 24.5, 44.5, 69.5])  # down
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(3, 3), CELLS[0])
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-2, 2)  # 0 in the middle
    texts = {text.get_text(): text.get_position() for text in axes.texts}
    assert texts['+2.00'] == pytest.approx((114.5, 12)) and texts['-1.00'][1] > 44.5


def test_a_row_for_each_face_and_a_column_for_each_map(tmp_path):
    sizes = {}
    for name, faces in dict(
        one=[face()],
        two=[face()] * 2,
        fewer=[face(cells=None, edges=None)],
        own=[face(own=torch.ones(1, 14, 14))],
    ).items():
        draw_sheet(faces, tmp_path / f'{name}.png', 'title')
        with Image.open(tmp_path / f'{name}.png') as picture:
            picture.load()
            sizes[name] = picture.size
    assert sizes['one'][0] == sizes['two'][0] and sizes['fewer'][0] < sizes['one'][0]
    wider = sizes['own'][0] - sizes['one'][0]
    assert sizes['one'][0] - sizes['fewer'][0] == pytest.approx(wider, abs=1)
    assert sizes['two'][1] - sizes['one'][1] == pytest.approx(wider, abs=1)  # a tile is a square
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'fewer.png',
        'one.png',
        'own.png',
        'two.png',
    ]  # no drafts
