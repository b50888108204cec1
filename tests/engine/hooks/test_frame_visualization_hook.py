"""Pictures of predictions: one per frame, in the right colours, with a readable text."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from PIL import Image
from tiny_run import tiny_cfg

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.engine.hooks import FrameVisualizationHook
from abaw_mm.engine.hooks.frame_visualization_hook import (
    CAPTION,
    INK,
    RIGHT,
    SIDE,
    WRONG,
    describe_frame,
    draw_lines,
)

FRAMES = 8 + 2  # labelled validation frames of `tiny` that have a crop


def count_pixels(picture, colour):
    """Count the pixels of the caption that are nearly of a colour."""
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (abs(picture[-CAPTION:].astype(int) - rgb).max(axis=2) < 8).sum()


@pytest.mark.parametrize('size', [16, 112, 400])
def test_picture_is_large_and_shows_the_face(size):
    image = np.zeros((size, size, 3), np.uint8)
    image[..., 0] = 200  # red
    score = np.full(8, 0.08)
    frame = dict(gt_label=3, pred_label=5, pred_score=score)
    picture = draw_lines(image, describe_frame(frame, EXPRESSIONS))
    side = max(size, SIDE)
    assert picture.shape == (side + CAPTION, side, 3)
    assert (picture[:side] == [200, 0, 0]).all()
    assert count_pixels(picture, WRONG) > 50 and not count_pixels(picture, RIGHT)
    right = draw_lines(image, describe_frame(frame | dict(gt_label=5)))
    assert count_pixels(right, RIGHT) > 50
    without_label = draw_lines(image, describe_frame(dict(pred_label=5, pred_score=score)))
    assert not count_pixels(without_label, WRONG) and not count_pixels(without_label, RIGHT)


def test_lines_of_the_other_tracks():
    units = np.zeros(12)
    units[[0, 6]] = 1
    frame = dict(
        gt_va=np.array([-0.5, 0.25]),
        pred_va=np.array([0.125, -1]),
        gt_au=units,
        pred_au=0.6 * units,
    )
    assert describe_frame(frame) == [
        ('annotated: valence -0.50, arousal +0.25', INK),
        ('predicted: valence +0.12, arousal -1.00', INK),
        ('annotated AU: 1 12', INK),
        ('predicted AU: 1 12', RIGHT),
    ]
    hidden = dict(frame, gt_va=np.array([-5, -5]), gt_au=np.full(12, -1), pred_au=0.4 * units)
    assert [line for line, _ in describe_frame(hidden)] == [
        'predicted: valence +0.12, arousal -1.00',
        'predicted AU: none',
    ]
    assert describe_frame(dict(frame, pred_au=0 * units))[-1] == ('predicted AU: none', WRONG)
    picture = draw_lines(np.zeros((112, 112, 3), np.uint8), describe_frame(frame))
    assert picture.shape == (SIDE + 2 * CAPTION, SIDE, 3)


@pytest.mark.parametrize(
    'name', ['res18_srp_affwild2', pytest.param('res18_srp_affwild2_plain', marks=pytest.mark.slow)]
)
def test_every_frame_has_its_picture(repo, tiny, tmp_path, name):
    """Frames of the same number in two clips, and another last batch, in both ways of loading."""
    hook = dict(type='FrameVisualizationHook', interval=1, out_dir=str(tmp_path / 'pictures'))
    cfg = tiny_cfg(repo, tiny, tmp_path / 'run', name, **{'default_hooks.visualization': hook})
    runner = Runner.from_cfg(cfg)
    runner.test()
    drawn = sorted(path.relative_to(hook['out_dir']) for path in tmp_path.glob('pictures/*/*.png'))
    crops = (tiny / 'cropped_aligned').glob('*/*.jpg')
    known = {str(path.relative_to(tiny / 'cropped_aligned').with_suffix('')) for path in crops}
    assert len(drawn) == FRAMES and {str(path.with_suffix('')) for path in drawn} <= known
    with Image.open(tmp_path / 'pictures' / drawn[0]) as picture:
        assert min(picture.size) >= SIDE


def test_interval_counts_frames_of_the_dataset(tmp_path):
    hook = FrameVisualizationHook(interval=3, out_dir=str(tmp_path))
    runner = SimpleNamespace(visualizer=SimpleNamespace(dataset_meta=None))
    for start in (0, 4, 8):
        samples = [
            DataSample(metainfo=dict(sample_idx=i, img_path=f'/x/{i % 2}.jpg'))
            .set_pred_score(torch.eye(8)[i % 8])
            .set_pred_label(i % 8)
            for i in range(start, min(start + 4, 10))
        ]
        inputs = [torch.zeros(3, 8, 8, dtype=torch.uint8)] * 4
        hook.after_test_iter(runner, 0, dict(inputs=inputs), samples)
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ['000000_0.png', '000003_1.png', '000006_0.png', '000009_1.png']


def test_hook_of_mmpretrain_is_refused_before_training(repo, tiny, tmp_path):
    hook = dict(type='VisualizationHook', enable=True)
    cfg = tiny_cfg(repo, tiny, tmp_path, **{'default_hooks.visualization': hook})
    with pytest.raises(ValueError, match="visualization.type='FrameVisualizationHook'"):
        Runner.from_cfg(cfg).train()
    cfg.default_hooks.visualization.type = 'FrameVisualizationHook'
    cfg.default_hooks.visualization.interval = 1
    Runner.from_cfg(cfg).train()
    assert len(list(tmp_path.rglob('vis_image/*.png'))) == FRAMES


def test_interval_must_be_positive():
    with pytest.raises(ValueError, match='interval=0, expected at least 1'):
        FrameVisualizationHook(interval=0)
