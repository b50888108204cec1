"""BufferedRuntimeInfoHook records the losses that mmengine's hook records."""

import json

import numpy as np
import pytest
import torch
from toy_runner import toy_cfg, train_toy


def read_losses(folder, hook, interval, epochs=None):
    """Train 7 steps; return the losses of the run, of its checkpoints and of its log."""
    cfg = toy_cfg(folder, iters=7, randomness=dict(seed=0))
    cfg.default_hooks.logger.interval = interval
    if hook:
        cfg.default_hooks.runtime_info = dict(type=hook)
    if epochs:
        cfg.train_cfg = dict(by_epoch=True, max_epochs=epochs)
        cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=False)
    runner = train_toy(cfg)
    histories = [runner.message_hub.get_scalar('train/loss').data[0]]
    for path in sorted(folder.glob('*.pth')):
        hub = torch.load(path, weights_only=False)['message_hub']
        histories.append(hub['log_scalars']['train/loss'].data[0])
    lines = next(folder.glob('*/vis_data/scalars.json')).read_text().splitlines()
    return histories, [json.loads(line)['loss'] for line in lines]


@pytest.mark.parametrize(('interval', 'epochs'), [(1, None), (3, None), (50, None), (3, 3)])
def test_losses_equal_those_of_mmengine(tmp_path, interval, epochs):
    plain, plain_log = read_losses(tmp_path / 'plain', None, interval, epochs)
    ours, log = read_losses(tmp_path / 'ours', 'BufferedRuntimeInfoHook', interval, epochs)
    assert [len(x) for x in ours] == [len(x) for x in plain] and len(plain) > 1
    assert all(np.array_equal(a, b) for a, b in zip(ours, plain, strict=True))
    assert log == plain_log
