"""Contact sheet: overlays, cells, sizes."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from abaw_mm.visualization.attention.attention_maps import AttentionMaps
from abaw_mm.visualization.attention.contact_sheet import (
    COVER,
    DPI,
    HEAT,
    TEXT,
    draw_cells,
    draw_sheet,
    overlay_heat,
)
from abaw_mm.visualization.attention.explained_face import ExplainedFace

CELLS = torch.tensor([[[0.0, 0.0, 2.0], [0.0, 0.0, 0.0], [-1.0, 0.0, 0.0]]])
EDGES = ([0, 2.5 / 7, 4.5 / 7, 1], [0, 2.5 / 7, 4.5 / 7, 1])


def make_face(**options):
    """Make an explained face; options replace its maps."""
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


def spy_on(method, results):
    """Wrap a method so that what it returns is appended to a list."""

    def call(*args, **kwargs):
        results.append(method(*args, **kwargs))
        return results[-1]

    return call


def test_face_is_grey_where_heat_is_zero():
    image = np.random.default_rng(0).integers(0, 255, (28, 28, 3), dtype=np.uint8)
    heat = torch.zeros(7, 7)
    heat[5:, 5:] = 1
    over = overlay_heat(image, heat)
    grey = image.mean(2)
    for channel in range(3):
        np.testing.assert_allclose(over[:16, :16, channel], grey[:16, :16], atol=0.5)
        expected = grey[-1, -1] * (1 - COVER) + 255 * HEAT(1.0)[channel] * COVER
        assert abs(over[-1, -1, channel] - expected) <= 1
    assert over.shape == image.shape and over.dtype == np.uint8


def test_cells_are_drawn_in_place_with_numbers():
    axes = Figure().add_axes((0, 0, 1, 1))
    draw_cells(axes, CELLS[0], EDGES, (70, 140))
    mesh = axes.collections[0]
    corners = mesh.get_coordinates()
    np.testing.assert_allclose(corners[0, :, 0], [-0.5, 49.5, 89.5, 139.5])  # across, in pixels
    np.testing.assert_allclose(corners[:, 0, 1], [-0.5, 24.5, 44.5, 69.5])  # down
    np.testing.assert_array_equal(np.asarray(mesh.get_array()).reshape(3, 3), CELLS[0])
    assert (mesh.norm.vmin, mesh.norm.vmax) == (-2, 2)  # 0 is in the middle
    texts = {text.get_text(): text.get_position() for text in axes.texts}
    assert texts['+2.00'] == pytest.approx((114.5, 12)) and texts['-1.00'][1] > 44.5


def test_sheet_has_one_row_per_face_and_one_column_per_map(tmp_path):
    sizes = {}
    for name, faces in dict(
        one=[make_face()],
        two=[make_face()] * 2,
        fewer=[make_face(cells=None, edges=None)],
        own=[make_face(own=torch.ones(1, 14, 14))],
    ).items():
        draw_sheet(faces, tmp_path / f'{name}.png', 'title')
        with Image.open(tmp_path / f'{name}.png') as picture:
            picture.load()
            sizes[name] = picture.size
    assert sizes['one'][0] == sizes['two'][0] and sizes['fewer'][0] < sizes['one'][0]
    wider = sizes['own'][0] - sizes['one'][0]
    assert sizes['one'][0] - sizes['fewer'][0] == pytest.approx(wider, abs=1)
    assert sizes['two'][1] - sizes['one'][1] == pytest.approx(wider, abs=1)  # tiles are square
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        'fewer.png',
        'one.png',
        'own.png',
        'two.png',
    ]  # no drafts remain


def test_dollar_signs_in_names_are_text(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, 'text', spy_on(Figure.text, drawn))
    face = replace(make_face(), name=r'$\clip$/00001.jpg')
    draw_sheet([face], tmp_path / 'sheet.png', '$title$')
    assert [text.get_parse_math() for text in drawn] == [False] * len(drawn)
    assert {r'$\clip$', '$title$'} <= {text.get_text() for text in drawn}


def test_map_of_zeros_says_so(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Axes, 'text', spy_on(Axes.text, drawn))
    faces = [make_face(), make_face(grad_cam=torch.ones(1, 7, 7))]
    draw_sheet(faces, tmp_path / 'sheet.png', 'title')
    texts = [text.get_text() for text in drawn if not text.get_text().startswith(('+', '-', '0.'))]
    assert texts == ['0 everywhere:\nno evidence for\nAnger']


def test_labels_neither_collide_nor_cover_faces(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Figure, 'text', spy_on(Figure.text, drawn))
    face = replace(make_face(own=torch.ones(1, 14, 14)), name=f'{"long_clip_name_" * 3}/00001.jpg')
    draw_sheet([face], tmp_path / 'sheet.png', 'title')
    boxes = {text: text.get_window_extent() for text in drawn}
    scale = [boxes[t] for t in drawn if t.get_text() in ('0', 'maximum', 'against', 'for')]
    assert len(scale) == 8
    for one, other in itertools.pairwise(sorted(scale, key=lambda box: box.x0)):
        assert other.x0 - one.x1 > 10  # pixels
    name = next(text for text in drawn if text.get_text().startswith('long_clip_name'))
    assert boxes[name].x1 <= TEXT * DPI
