"""benchmarks/warp_visibility.py: without a warp there is nothing to see."""

import argparse
import re

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from PIL import Image

TINY = {
    'model.backbone.stem_channels': 8,
    'model.backbone.base_channels': 8,
    'model.neck.in_channels': 64,
    'data_preprocessor.view_size': 32,
}
UNWARPED = {'data_preprocessor.warp.strength': 0.0, 'data_preprocessor.warp_softening': 0.0}


@pytest.fixture
def bench(repo, load_tool, monkeypatch):
    """Import the script, which imports benchmarks/pretraining.py."""
    monkeypatch.syspath_prepend(str(repo / 'benchmarks'))
    return load_tool('../benchmarks/warp_visibility.py')


@pytest.fixture
def args(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        pixels = rng.integers(0, 256, (112, 112, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{number}.jpg')
    return argparse.Namespace(
        world='drawn',
        faces=str(tmp_path),
        held_out=str(tmp_path),
        limit=6,
        steps=2,
        interval=2,
        seed=0,
        checkpoints=[],
        cfg_options={},
    )


@pytest.mark.parametrize('options', [{}, UNWARPED])
def test_order_of_predictions(bench, args, tmp_path, options):
    args.cfg_options = {**TINY, **options}
    cfg = bench.read_config(args)
    model = MODELS.build(dict(cfg.model, data_preprocessor=cfg.data_preprocessor))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'iter_2.pth')
    args.checkpoints = [str(tmp_path / 'iter_2.pth')]
    (line,) = bench.order(cfg, args)
    assert line.startswith(f'{args.checkpoints[0]}: distance ')
    distance, cosine, decrease, pairs = map(float, re.findall(r' (-?[\d.]+)(?=,| %)', line))
    assert -1 <= cosine <= 1 and 0 <= pairs <= 100
    if options:
        assert distance == decrease == pairs == 0
    else:
        assert distance > 0


@pytest.mark.parametrize('options', [{}, UNWARPED])
def test_trained_classifier(bench, args, options):
    args.cfg_options = {**TINY, **options}
    (line,) = bench.train(bench.read_config(args), args)
    auc, pairs = re.fullmatch(r'drawn step 2: AUC ([\d.]+), pairs ([\d.]+) %', line).groups()
    if options:
        assert (auc, pairs) == ('0.500', '0.0')
    else:
        assert 0 <= float(auc) <= 1 and float(pairs) > 0
