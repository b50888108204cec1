"""Training steps and scores on a GPU equal those on the CPU to the precision of the dtype."""

import copy
from importlib import import_module

import numpy as np
import pytest
import torch
from devices import DEVICES, forbid_synchronization
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from tiny_run import tiny_cfg

from abaw_mm.datasets.samplers.keyed_random import random_keys
from abaw_mm.models.data_preprocessors.batch_crops import (
    crop_and_resize_by_grid,
    crop_and_resize_by_opencv,
)
from abaw_mm.structures import collate_frames

SIZE = 64
MODEL = dict(
    type='FrameClassifier',
    backbone=dict(type='ResNet', depth=18, out_indices=(3,), frozen_stages=3),
    neck=dict(type='SpatialReservePooling', in_channels=512, kernel_sizes=(1, 2)),
    head=dict(type='LinearClsHead', num_classes=8, in_channels=256),
    data_preprocessor=dict(
        type='FrameDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        crop_size=SIZE,
        resize_edge=SIZE,
    ),
)
# Of losses near 2; the CPU's own float16 and bfloat16 are within them, too.
TOLERANCES = {torch.float32: 2e-3, torch.float16: 2e-2, torch.bfloat16: 6e-2}


def make_batch(number=8, size=32):
    """Make smooth frames, as crops of faces are, with keys of their random crops."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (number, size // 8, size // 8, 3))
    frames = [
        dict(img=image, img_path='', gt_label=i % 8, sample_idx=i, clip='a', frame_no=i + 1)
        for i, image in enumerate(np.kron(coarse, np.ones((1, 8, 8, 1))).astype(np.uint8))
    ]
    return dict(collate_frames(frames), key=random_keys(0, 0, np.arange(number)))


@pytest.fixture(scope='module')
def reference():
    """Return an untrained model on the CPU."""
    torch.manual_seed(0)
    model = MODELS.build(copy.deepcopy(MODEL))
    model.init_weights()
    return model


def take_steps(model, device, dtype, steps=3):
    """Take steps as ``AmpOptimWrapper`` does, with loss scaling for float16.

    The images are those of the CPU, whose crops have other roundings.
    """
    data = model.data_preprocessor(make_batch(), training=True)
    data = dict(inputs=data['inputs'].to(device), data_samples=[data['data_samples'][0].to(device)])
    torch.manual_seed(0)
    model = copy.deepcopy(model).to(device)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9, fused=True)
    scaler = torch.amp.GradScaler(device, init_scale=2.0**8, enabled=dtype == torch.float16)
    losses = []
    for _ in range(steps):
        with torch.autocast(device, dtype, enabled=dtype != torch.float32):
            loss = model(**data, mode='loss')['loss']
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses, {name: p.detach().cpu() for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    'dtype',
    [
        torch.float32,
        pytest.param(torch.float16, marks=pytest.mark.slow),
        torch.bfloat16,
    ],
    ids=lambda dtype: str(dtype).split('.')[1],
)
@pytest.mark.parametrize('device', DEVICES)
def test_steps_equal_float32_on_the_cpu(device, dtype, reference, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, 'allow_tf32', False)
    losses, weights = take_steps(reference, device, dtype)
    expected_losses, expected = take_steps(reference, 'cpu', torch.float32)
    assert losses == pytest.approx(expected_losses, abs=TOLERANCES[dtype])
    before = torch.cat([p.detach().flatten() for p in reference.parameters()])
    change, right = (
        torch.cat([weight.flatten() for weight in moved.values()]) - before
        for moved in (weights, expected)
    )
    assert right.norm() > 0.01
    assert (change - right).norm() <= 5 * TOLERANCES[dtype] * right.norm()


@pytest.mark.parametrize('device', DEVICES)
def test_scores_equal_those_of_the_cpu(device, reference):
    model = copy.deepcopy(reference).to(device).eval()
    model.mixed_precision = False
    scores = [m.test_step(make_batch())[0].pred_score.cpu() for m in (model, reference.eval())]
    reference.train()
    torch.testing.assert_close(scores[0], scores[1], atol=1e-3, rtol=0)
    model.mixed_precision = True
    mixed = model.test_step(make_batch())[0].pred_score
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed.cpu(), scores[1], atol=2e-2, rtol=0)


@pytest.mark.parametrize('device', DEVICES)
def test_crops_by_grid_equal_opencv_within_one_grey_value(device):
    images = make_batch(16)['inputs']
    rng = np.random.default_rng(1)
    corner, size = rng.integers(0, 8, (16, 2)), rng.integers(12, 24, (16, 2))
    boxes, flip = np.concatenate([corner, size], axis=1), np.arange(16) % 2 == 0
    by_opencv = crop_and_resize_by_opencv(
        images,
        boxes,
        flip,
        (SIZE, SIZE),
        (0, 0, SIZE, SIZE),
        torch.zeros(1),
        torch.ones(1),
        to_rgb=False,
    )
    by_grid = crop_and_resize_by_grid(images.to(device), boxes, flip, (SIZE, SIZE))
    assert by_grid.device.type == device
    assert (by_grid.cpu() - by_opencv).abs().max() <= 1.01


@pytest.mark.parametrize('device', DEVICES)
def test_fused_sgd_goes_on_after_a_step_that_the_scaler_skips(device, monkeypatch):
    """The weights equal those of SGD without fusion that never saw the skipped step."""
    module = import_module('abaw_mm.engine.auto_amp_optim_wrapper')  # the package hides it
    monkeypatch.setattr(module, 'amp_dtype', lambda device: None)
    options = dict(lr=0.1, momentum=0.9, weight_decay=0.01)
    steps = [float('inf'), 1.0, float('nan'), 2.0, 3.0]

    def train(fused, losses):
        weight = torch.nn.Parameter(torch.linspace(-1, 1, 64, device=device))
        optimizer = torch.optim.SGD([weight], fused=fused, **options)
        assert isinstance(module.auto_amp_optim_wrapper(optimizer), OptimWrapper)
        scaler = torch.amp.GradScaler(device, init_scale=4.0)
        for factor in losses:
            scaler.scale((weight.square() * factor).sum()).backward()
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        return weight.detach(), scaler.get_scale()

    torch.use_deterministic_algorithms(True)  # memory that is not set reads as NaN
    try:
        weight, scale = train(True, steps)
        expected, _ = train(False, [factor for factor in steps if np.isfinite(factor)])
    finally:
        torch.use_deterministic_algorithms(False)
    torch.testing.assert_close(weight, expected)
    assert scale == 1.0  # halved twice


def make_cfg(repo, tiny, folder, **options):
    """Make a run of 8 steps with small inputs that logs after the 4th and the 8th."""
    cfg = tiny_cfg(repo, tiny, folder, max_iters=8, val_interval=100, **options)
    cfg.data_preprocessor.update(crop_size=SIZE, resize_edge=SIZE)
    cfg.model.neck.kernel_sizes = (1, 2)
    cfg.model.head.in_channels = 256
    cfg.default_hooks.logger.interval = 4
    cfg.default_hooks.checkpoint.interval = 4
    return cfg


RUNNER = ['cpu'] if not torch.cuda.is_available() else []  # a Runner takes the GPU
RUNNER_DEVICES = RUNNER + DEVICES[1:]


@pytest.mark.parametrize('device', RUNNER_DEVICES)
def test_steps_between_logs_do_not_wait_for_the_device(device, repo, tiny, tmp_path):
    runner = Runner.from_cfg(make_cfg(repo, tiny, tmp_path))
    loop, seen = runner.build_train_loop(runner._train_loop), []
    runner._train_loop = loop
    run_iter = loop.run_iter

    def run_quietly(batch):
        if loop._iter in (0, 3, 7):  # the first one allocates; 4 and 8 are logged and saved
            return run_iter(batch)
        seen.append(loop._iter)
        with forbid_synchronization(device):
            run_iter(batch)

    loop.run_iter = run_quietly
    runner.train()
    assert seen == [1, 2, 4, 5, 6]
    assert len(runner.message_hub.get_scalar('train/loss').data[0]) == 8


@pytest.mark.slow
@pytest.mark.parametrize('device', RUNNER_DEVICES)
def test_resumed_run_is_bit_equal_with_deterministic_algorithms(device, repo, tiny, tmp_path):
    random = dict(randomness=dict(seed=0, deterministic=True))
    try:
        Runner.from_cfg(make_cfg(repo, tiny, tmp_path / 'whole', **random)).train()
        again = make_cfg(repo, tiny, tmp_path / 'again', **random)
        again.resume, again.load_from = True, str(tmp_path / 'whole/iter_4.pth')
        Runner.from_cfg(again).train()
    finally:
        torch.use_deterministic_algorithms(False)
    one, other = (
        torch.load(tmp_path / name / 'iter_8.pth', weights_only=False)
        for name in ('whole', 'again')
    )
    for name, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][name]), name
    losses = [x['message_hub']['log_scalars']['train/loss'].data[0] for x in (one, other)]
    assert np.array_equal(*losses) and len(losses[0]) == 8
