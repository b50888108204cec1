"""Images of batches equal what the model receives."""

import numpy as np
import pytest
import torch
from mmengine.runner import Runner
from PIL import Image
from tiny_run import tiny_cfg

from abaw_mm.apis import browse_batches
from abaw_mm.models import FrameDataPreprocessor
from abaw_mm.visualization.image_grid import draw_image_grid


def make_options(tiny):
    options = {'randomness': dict(seed=3)}
    for split in ('train', 'val'):
        options[f'{split}_dataloader.dataset.data_root'] = str(tiny)
        options[f'{split}_dataloader.num_workers'] = 0
        options[f'{split}_dataloader.batch_size'] = 4
    return options


@pytest.fixture
def seen(tiny, repo, tmp_path, monkeypatch):
    """Return the images that a training of two steps with the fast config receives."""
    inputs = []
    forward = FrameDataPreprocessor.forward

    def spy(self, data, training=False):
        result = forward(self, data, training)
        inputs.append(result['inputs'].detach().clone())
        return result

    monkeypatch.setattr(FrameDataPreprocessor, 'forward', spy)
    cfg = tiny_cfg(
        repo, tiny, tmp_path / 'run', max_iters=2, val_interval=9, randomness=dict(seed=3)
    )
    cfg.data_preprocessor.update(crop_size=32, resize_edge=32)
    cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    cfg.default_hooks.checkpoint.pop('save_best')
    cfg.model.neck.update(kernel_sizes=(1, 1))
    cfg.model.head.in_channels = 256
    Runner.from_cfg(cfg).train()
    mean, std = (torch.tensor(cfg.data_preprocessor[k]).view(3, 1, 1) for k in ('mean', 'std'))
    return (torch.cat(inputs[-2:]) * std + mean).round().byte().permute(0, 2, 3, 1).numpy()


def test_images_are_those_that_a_training_sees(seen, repo, tiny):
    options = make_options(tiny)
    options |= {'data_preprocessor.crop_size': 32, 'data_preprocessor.resize_edge': 32}
    shown = browse_batches(str(repo / 'configs/res18_srp_affwild2.py'), 'train', 8, options)
    assert len(shown) == len(seen) == 8
    for image, expected in zip(shown, seen, strict=True):
        np.testing.assert_array_equal(image.views[0], expected)
        assert image.caption.count('\n') == 1  # the frame and its label


@pytest.mark.parametrize('name', ['res18_srp_affwild2', 'res18_srp_affwild2_plain'])
def test_fast_and_plain_way_show_the_same_validation(name, repo, tiny):
    shown = browse_batches(str(repo / f'configs/{name}.py'), 'val', 99, make_options(tiny))
    assert len(shown) == 10
    assert shown[0].caption == '5-60-1920x1080-1/1\nNeutral'
    with Image.open(tiny / 'cropped_aligned/5-60-1920x1080-1/00001.jpg') as crop:
        expected = np.asarray(crop.resize((256, 256), Image.Resampling.BILINEAR))[16:240, 16:240]
    assert abs(shown[0].views[0].astype(int) - expected).mean() < 3  # RGB, in the right order


def test_tool_draws_the_views_of_pretraining(repo, tiny, tmp_path, run_tool):
    out = tmp_path / 'views.png'
    options = ('train_dataloader.num_workers=0', 'train_dataloader.batch_size=4')
    flags = ('--num-images', 4, '--out', out, '--cfg-options', *options)
    root = f'train_dataloader.dataset.data_root={tiny / "cropped_aligned"}'
    config = repo / 'configs/res18_byol_faces.py'
    status, text, _ = run_tool('visualization/browse_batches.py', config, *flags, root)
    assert status == 0 and '4 images of 112x112 pixels' in text
    with Image.open(out) as picture:
        assert picture.width == 8 * 118 + 6


def test_model_over_features_is_refused(repo, run_tool):
    config = repo / 'configs/temporal_tcn_affwild2.py'
    status, _, error = run_tool('visualization/browse_batches.py', config)
    assert status == 1 and 'over features, expected one over images' in error


def test_grid_keeps_every_pixel():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (2, 3, 20, 30, 3), dtype=np.uint8)
    grid = draw_image_grid(images, ['a', 'b', 'c'], [['x\ny'] * 3] * 2)
    for row in images:
        for image in row:
            windows = np.lib.stride_tricks.sliding_window_view(grid, image.shape)[:, :, 0]
            assert (windows == image).all(axis=(2, 3, 4)).sum() == 1
