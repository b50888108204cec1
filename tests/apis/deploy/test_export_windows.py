"""Test that exported models over features give the predictions of their checkpoints."""

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from abaw_mm.apis import export_onnx
from abaw_mm.apis.config import load_config
from abaw_mm.apis.load_classifier import load_classifier
from abaw_mm.apis.test import test as run_test
from abaw_mm.datasets import FeatureFolder
from abaw_mm.engine.hooks.feature_source_hook import COMPARED
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation import Predictions
from abaw_mm.models.deploy.onnx_network import OnnxNetwork
from abaw_mm.structures.tasks import TASKS

for package in ('onnx', 'onnxruntime', 'onnxscript'):
    pytest.importorskip(package)

SMALL = {
    'temporal_tcn_affwild2': {'model.backbone.channels': 8},
    'transformer_features_affwild2': {'model.backbone.channels': 16},
    'tcn_transformer_features_affwild2': {
        'model.backbone.channels': 16,
        'model.neck.in_channels': 16,
        'model.neck.channels': 16,
    },
    'gated_av_affwild2': {'model.backbone.channels': 8},
    'cross_attention_av_affwild2': {'model.backbone.channels': 16},
}
DIMS = dict(video=6, audio=3)


def make_options(config, root, folder):
    """Make overrides of a config for small features of a data root."""
    has_streams = '_av_' in config
    path = {name: str(folder / name) for name in DIMS} if has_streams else str(folder / 'video')
    channels = SMALL[config]['model.backbone.channels']
    options = {
        **SMALL[config],
        'model.head.in_channels': channels,
        'model.backbone.in_channels': DIMS if has_streams else DIMS['video'],
        'test_dataloader.num_workers': 0,
        'test_dataloader.persistent_workers': False,
        'test_dataloader.dataset.data_root': str(root),
        'test_dataloader.dataset.window': 4,
        'test_dataloader.dataset.feature_dir': path,
    }
    if 'step' in load_config(config).test_dataloader.dataset:
        options['test_dataloader.dataset.step'] = 2
    return options


@pytest.fixture
def features(tiny, make_features, tmp_path):
    for name, dim in DIMS.items():
        make_features(tmp_path / name, tiny, dim)
    return tmp_path


def write_checkpoint(config, options, path, sources=None):
    torch.manual_seed(0)
    model = MODELS.build(load_config(config, cfg_options=options).model)
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            torch.nn.init.normal_(layer.weight, std=0.5)
    meta = {} if sources is None else dict(features=sources)
    torch.save(dict(state_dict=model.state_dict(), meta=meta), path)
    return str(path)


def make_windows(network, number, width):
    """Make random windows, the last of which a stream, or all, do not see at all."""
    rng, inputs = np.random.default_rng(width), {}
    for value in network.session.get_inputs():
        if value.name.startswith('seen'):
            inputs[value.name] = rng.random((number, width)) > 0.3
            inputs[value.name][-1] &= number == 1
        else:
            shape = (number, width, value.shape[2])
            inputs[value.name] = rng.standard_normal(shape).astype(np.float32)
    return inputs


def compute_expected(config, options, checkpoint, inputs):
    """Pass windows through the model, without its exported form."""
    cfg = load_config(config, cfg_options=options)
    model = load_classifier(cfg, checkpoint, 'cpu', tuple(TASKS))
    streams = {k.partition('_')[2]: torch.from_numpy(v) for k, v in inputs.items() if k[0] == 'f'}
    seen = {k.partition('_')[2]: torch.from_numpy(v) for k, v in inputs.items() if k[0] == 's'}
    if '' in streams:
        streams, seen = streams[''], seen['']
    with torch.no_grad():
        frames = model.backbone(streams, seen)
        if model.with_neck:
            frames = model.neck(frames, seen)
        return model.head((frames,)).softmax(-1).numpy()


@pytest.mark.slow
@pytest.mark.parametrize('config', SMALL)
def test_windows_of_any_length_have_the_scores_of_the_checkpoint(tiny, features, tmp_path, config):
    options = make_options(config, tiny, features)
    checkpoint = write_checkpoint(config, options, tmp_path / 'a.pth')
    out = str(tmp_path / 'a.onnx')
    result = export_onnx(config, checkpoint, out, cfg_options=options)
    assert result.compared.endswith('windows') and result.difference < 1e-5
    network = OnnxNetwork(out)
    for number, width in ((1, 5), (3, 70), (2, 1)):
        inputs = make_windows(network, number, width)
        got = network.run(inputs)['pred_score']
        want = compute_expected(config, options, checkpoint, inputs)
        assert got.shape == (number, width, 8)
        np.testing.assert_allclose(got, want, atol=1e-5)
        assert width == 1 or np.ptp(got, axis=(0, 1)).max() > 0.01
    scores = []
    for source in dict(checkpoint=checkpoint), dict(onnx=out):
        path = str(tmp_path / 'p.npz')
        metrics = run_test(
            config, work_dir=str(tmp_path), out=path, cfg_options=test_options(options, source),
            **source,
        )  # fmt: skip
        scores.append((metrics, Predictions.read(path)))
    (want_metrics, want), (got_metrics, got) = scores
    assert got_metrics == want_metrics and got.sha256 == want.sha256 and len(got) == len(want) > 9
    for name in want.columns:
        np.testing.assert_allclose(got[name], want[name], atol=1e-5)


def test_options(options, source):
    """Leave out the overrides of the model, which have no effect with an exported network."""
    if 'onnx' in source:
        return {key: value for key, value in options.items() if not key.startswith('model')}
    return options


test_options.__test__ = False


@pytest.mark.slow
def test_features_of_another_source_are_refused(tiny, features, make_features, tmp_path):
    config = 'temporal_tcn_affwild2'
    options = make_options(config, tiny, features)
    meta = FeatureFolder.open(features / 'video').meta
    sources = {name: meta.get(name) for name in COMPARED}
    checkpoint = write_checkpoint(config, options, tmp_path / 'a.pth', sources)
    export_onnx(config, checkpoint, str(tmp_path / 'a.onnx'), cfg_options=options)
    run = dict(onnx=str(tmp_path / 'a.onnx'), work_dir=str(tmp_path))
    options = test_options(options, run)
    run_test(config, cfg_options=options, **run)
    for name, dim, layer, message in (
        ('other', 6, 'backbone', "layer: the checkpoint was trained on 'neck'"),
        ('wide', 7, 'neck', 'dim: the checkpoint was trained on 6'),
    ):
        make_features(tmp_path / name, tiny, dim, layer)
        options['test_dataloader.dataset.feature_dir'] = str(tmp_path / name)
        with pytest.raises(InvalidValueError, match=message):
            run_test(config, cfg_options=options, **run)


@pytest.mark.parametrize('keywords', [dict(faces='faces'), dict(int8=True, calibration='faces')])
def test_crops_have_no_meaning_for_windows(tiny, features, tmp_path, keywords):
    config = 'temporal_tcn_affwild2'
    options = make_options(config, tiny, features)
    checkpoint = write_checkpoint(config, options, tmp_path / 'a.pth')
    with pytest.raises(InvalidValueError, match='a model over features, expected one over crops'):
        export_onnx(config, checkpoint, str(tmp_path / 'a.onnx'), cfg_options=options, **keywords)
