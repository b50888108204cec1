"""Test that exported networks of frames give the predictions of their checkpoints."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from compose_video import compose, draw_faces, stay, write_video
from conftest import write_clip
from PIL import Image
from small_model import write_small_model

from abaw_mm.apis import export_onnx, predict_images
from abaw_mm.apis.config import load_config
from abaw_mm.apis.deploy import export_onnx as module
from abaw_mm.apis.deploy.read_preprocessing import read_preprocessing
from abaw_mm.apis.inference.crop_scorer import CropScorer
from abaw_mm.apis.inference.video_inferencer import VideoExpressionInferencer
from abaw_mm.apis.test import test as run_test
from abaw_mm.errors import InvalidValueError, UserError
from abaw_mm.evaluation import Predictions
from abaw_mm.models.backbones import apvit
from abaw_mm.models.backbones.apvit import keep_tokens
from abaw_mm.models.deploy.onnx_network import OnnxNetwork
from abaw_mm.structures.tasks import EXPRESSIONS

for package in ('onnx', 'onnxruntime', 'onnxscript'):
    pytest.importorskip(package)

SIZES = dict(pred_va=2, pred_score=8, pred_au=12)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """A data root with crops of 112x112 pixels."""
    root = tmp_path_factory.mktemp('data')
    write_clip(root, 'Validation_Set', '5-60-1920x1080-1', [0, 1, 2, 3, 4, 5, 6, 7, -1], size=112)
    write_clip(root, 'Validation_Set', 'video11_right', [7, 7, 0], missing=(1,), size=112)
    return root


def write_model(request, root, folder, base, **kwargs):
    files = write_small_model(request.path.parents[3], root, folder, base, **kwargs)
    with open(files[0], 'a') as file:
        file.write('model.update(mixed_precision=False)\n')
    return files


@pytest.fixture(scope='module')
def model(request, root, tmp_path_factory):
    return write_model(request, root, tmp_path_factory.mktemp('model'), 'res18_srp_affwild2')


@pytest.fixture(scope='module')
def exported(model, tmp_path_factory):
    out = tmp_path_factory.mktemp('out') / 'small.onnx'
    return str(out), export_onnx(*model, str(out))


@pytest.fixture(scope='module')
def crops():
    return np.random.default_rng(0).integers(0, 256, (17, 112, 112, 3), np.uint8)


@pytest.fixture
def faces(crops, tmp_path):
    folder = tmp_path / 'faces'
    folder.mkdir()
    for number, crop in enumerate(crops[:5]):
        Image.fromarray(crop).save(folder / f'{number}.png')
    return folder


@pytest.mark.parametrize('number', [1, 3, 17])
def test_probabilities_are_those_of_the_checkpoint(model, exported, crops, number):
    want = CropScorer(*model, device='cpu')(crops[:number])
    got = OnnxNetwork(exported[0]).run(dict(crops=crops[:number]))['pred_score']
    np.testing.assert_allclose(got, want, atol=1e-5)
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-5)
    if number > 1:
        assert np.ptp(want, axis=0).max() > 0.01


SMALL_APVIT = (
    'model = dict(backbone=dict(embed_dims=32, keep_patches=20, keep_rates=(1.0, 0.9)), '
    'head=dict(in_channels=32))\n'
)


@pytest.mark.slow
def test_selected_patches_of_any_number_of_crops(
    request, root, crops, tmp_path, run_tool, monkeypatch
):
    config, checkpoint = write_model(request, root, tmp_path, 'apvit_affwild2', small=SMALL_APVIT)
    out = tmp_path / 'apvit.onnx'
    assert run_tool('export_onnx.py', config, checkpoint, out)[0] == 0
    scorer, network = CropScorer(config, checkpoint, device='cpu'), OnnxNetwork(str(out))
    for number in 1, 5:
        got = network.run(dict(crops=crops[:number]))['pred_score']
        np.testing.assert_allclose(got, scorer(crops[:number]), atol=1e-5)
    out.unlink()
    monkeypatch.setattr(apvit, 'keep_tokens', keep_fixed_batch)
    status, _, message = run_tool('export_onnx.py', config, checkpoint, out)
    assert status == 1 and 'exports with a fixed N of 2, expected any N' in message
    assert not out.exists()


def keep_fixed_batch(tokens, scores, number):
    return keep_tokens(tokens, scores, number).expand(len(tokens), -1, -1)


def test_file_describes_its_network(model, exported):
    path, result = exported
    info = OnnxNetwork(path).info
    assert info == result.info
    assert (info.task, info.classes, info.config) == ('expr', EXPRESSIONS, 'small')
    assert info.sha256 == CropScorer(*model).sha256
    assert (info.preprocessing.resize, info.preprocessing.crop) == (256, 224)
    assert 0 < result.difference < 1e-5 and result.compared == '10 crops'


def test_test_command_writes_the_same_scores(model, exported, tmp_path):
    config, checkpoint = model
    found = []
    for name, source in ('torch', dict(checkpoint=checkpoint)), ('onnx', dict(onnx=exported[0])):
        out = str(tmp_path / f'{name}.npz')
        metrics = run_test(config, work_dir=str(tmp_path), out=out, **source)
        found.append((metrics, Predictions.read(out)))
    (want_metrics, want), (got_metrics, got) = found
    assert got_metrics == want_metrics
    assert (got.sha256, got.config, got.classes) == (want.sha256, want.config, want.classes)
    assert got.clips == want.clips and len(got) == 10
    for name in want.columns:
        np.testing.assert_allclose(got[name], want[name], atol=1e-5)


@pytest.mark.slow
def test_two_processes_give_the_scores_of_one(repo, model, exported, tmp_path):
    found = []
    for processes in 1, 2:
        out = tmp_path / f'{processes}.npz'
        script, flags = repo / 'tools/dist_test.sh', ['--onnx', exported[0], '--out', str(out)]
        command = ['bash', str(script), model[0], str(processes), *flags]
        path = f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}'
        environment = {**os.environ, 'PATH': path, 'OMP_NUM_THREADS': '1'}
        subprocess.run(command, check=True, cwd=tmp_path, env=environment)
        found.append(Predictions.read(str(out)))
    one, two = found
    assert len(one) == len(two) == 10 and one.sha256 == two.sha256
    for name in one.columns:
        np.testing.assert_array_equal(two[name], one[name])


def test_pictures_get_the_same_table(model, exported, faces, run_tool, tmp_path):
    tables = []
    for name, source in ('a', [model[1]]), ('b', ['--onnx', exported[0]]):
        out = tmp_path / f'{name}.csv'
        assert run_tool('predict_images.py', model[0], *source, faces, '--out', out)[0] == 0
        with open(out, newline='') as file:
            tables.append(list(csv.DictReader(file)))
    want, got = tables
    assert [row['input'] for row in got] == [row['input'] for row in want] and len(got) == 5
    for name in EXPRESSIONS:
        values = [[float(row[name.lower()]) for row in table] for table in tables]
        np.testing.assert_allclose(*values, atol=1e-5)


def test_crops_of_another_size_are_refused(model, exported, tmp_path):
    Image.new('RGB', (100, 100)).save(tmp_path / 'a.png')
    with pytest.raises(InvalidValueError, match=r'got crops \(1, 100, 100, 3\) .*expected crops'):
        predict_images(model[0], None, [tmp_path / 'a.png'], onnx=exported[0])


def test_other_configs_and_options_are_refused_before_a_video(repo, model, exported):
    with pytest.raises(InvalidValueError, match=r'model\.backbone\.depth.*no effect with --onnx'):
        VideoExpressionInferencer(
            model[0], None, onnx=exported[0], cfg_options={'model.backbone.depth': 50}
        )
    pretraining = str(repo / 'configs/res18_contrawarping_faces.py')  # has no test set
    with pytest.raises(InvalidValueError, match='with the inputs single frames'):
        CropScorer(pretraining, None, onnx=exported[0])


@pytest.mark.parametrize(
    'config, options, message',
    [
        ('res18_srp_va', {}, r'track expr .*expected va of'),
        ('temporal_tcn_affwild2', {}, 'inputs single frames .*expected windows of features'),
        (None, {'data_preprocessor.resize_edge': 240}, r'preprocessing .*resize=256.*resize=240'),
        (
            None,
            {'test_dataloader.dataset.metainfo': dict(classes=list('abcdefgh'))},
            "expected .'a",
        ),
        (None, {'model.backbone.depth': 50}, 'model.backbone.depth.*no effect with --onnx'),
    ],
)
def test_network_of_another_config_is_refused(
    repo, model, exported, tmp_path, config, options, message
):
    path = model[0] if config is None else str(repo / f'configs/{config}.py')
    with pytest.raises(InvalidValueError, match=message):
        run_test(path, onnx=exported[0], work_dir=str(tmp_path), cfg_options=options)


@pytest.mark.parametrize(
    'keywords, message',
    [
        (dict(checkpoint='CHECKPOINT'), 'got both'),
        (dict(onnx=None), 'got neither'),
        (dict(amp=True), '--amp: has no effect with --onnx'),
        (dict(tta=True), '--tta: has no effect with --onnx'),
    ],
)
def test_settings_that_do_not_go_with_a_network_are_refused(
    model, exported, tmp_path, keywords, message
):
    keywords = dict(onnx=exported[0], work_dir=str(tmp_path)) | keywords
    with pytest.raises(InvalidValueError, match=message):
        run_test(model[0], **keywords)


def test_other_predictions_are_refused(model, exported, tmp_path, monkeypatch):
    """The file is that of weights before the last change of the checkpoint."""
    checkpoint = torch.load(model[1])
    checkpoint['state_dict']['head.fc.bias'][0] += 1e-3
    torch.save(checkpoint, tmp_path / 'a.pth')
    monkeypatch.setattr(module, '_write', lambda job, path: shutil.copy(exported[0], path))
    with pytest.raises(InvalidValueError, match=r'predictions of 10 crops that differ from those'):
        export_onnx(model[0], str(tmp_path / 'a.pth'), str(tmp_path / 'a.onnx'))
    assert [path.name for path in tmp_path.iterdir()] == ['a.pth']


@pytest.mark.parametrize(
    'keywords, message',
    [
        (dict(out='a.pt'), r'expected a file that ends in \.onnx'),
        (dict(int8=True), '--int8, --calibration: got only one'),
        (dict(calibration='faces'), '--int8, --calibration: got only one'),
        (dict(cfg_options={'test_dataloader.dataset.data_root': 'none'}), '--faces: got no folder'),
        (dict(faces='none'), 'none: got no such file'),
    ],
)
def test_wrong_arguments_are_named(model, tmp_path, keywords, message):
    with pytest.raises(UserError, match=message):
        export_onnx(*model, **dict(dict(out=str(tmp_path / 'a.onnx')), **keywords))
    assert not list(tmp_path.iterdir())


def test_faces_of_another_size_are_refused(model, tmp_path):
    Image.new('RGB', (100, 90)).save(tmp_path / 'a.png')
    with pytest.raises(InvalidValueError, match=r'a.png: got a picture of 100x90 pixels'):
        export_onnx(*model, str(tmp_path / 'a.onnx'), faces=str(tmp_path))


@pytest.mark.parametrize(
    'pipeline, sides',
    [
        ("[dict(type='ResizeEdge', scale=91, edge='short'), dict(type='CenterCrop', crop_size=80)]",
         (91, 80)),
        ("[dict(type='Resize', scale=(96, 96))]", (96, 96)),
        ("[dict(type='CenterCrop', crop_size=(100, 100))]", (112, 100)),
        ('[]', (112, 112)),
        ("[dict(type='Resize', scale=96, interpolation='bicubic')]", None),
        ("[dict(type='Resize', scale=(96, 80))]", None),
        ("[dict(type='RandomFlip', prob=0.5)]", None),
    ],
)  # fmt: skip
def test_plain_pipelines_are_read_or_refused(repo, tmp_path, pipeline, sides):
    path = tmp_path / 'plain.py'
    path.write_text(
        f"_base_ = ['{repo}/configs/res18_srp_affwild2_plain.py']\n"
        f"steps = [dict(type='LoadFaceCrop')] + {pipeline} + [dict(type='PackInputs')]\n"
        'test_dataloader = dict(dataset=dict(pipeline=steps))\n'
    )
    cfg = load_config(str(path))
    if sides is None:
        with pytest.raises(InvalidValueError, match='in the test pipeline, expected'):
            read_preprocessing(cfg)
        return
    steps = read_preprocessing(cfg)
    assert (steps.size, steps.resize, steps.crop, steps.to_rgb) == (112, *sides, True)
    np.testing.assert_allclose(steps.mean, (123.675, 116.28, 103.53), rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize('base', ['res18_srp_va', 'res18_srp_au', 'res18_srp_mtl'])
def test_other_tracks_have_their_columns(request, root, faces, tmp_path, base, crops):
    folder = tmp_path / 'model'
    folder.mkdir()
    files = write_model(request, root, folder, base)
    result = export_onnx(*files, str(tmp_path / 'a.onnx'), faces=str(faces))
    scorer = CropScorer(*files)
    want = scorer.split(scorer(crops))
    got = OnnxNetwork(tmp_path / 'a.onnx').run(dict(crops=crops))
    assert result.info.task == base[-3:].strip('_') and list(got) == list(want)
    for name, values in got.items():
        assert values.shape == (17, SIZES[name]) and np.ptp(values, axis=0).max() > 0.001
        np.testing.assert_allclose(values, want[name], atol=1e-5)


@pytest.mark.slow
def test_int8_has_8_bit_weights_per_channel_and_nearly_the_same_scores(
    model, exported, faces, crops, tmp_path
):
    onnx = pytest.importorskip('onnx')
    path = tmp_path / 'int8.onnx'
    result = export_onnx(*model, str(path), int8=True, calibration=str(faces))
    assert result.info.precision == OnnxNetwork(path).info.precision == 'int8'
    graph = onnx.load(path).graph
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    convs = [node for node in graph.node if node.op_type == 'Conv']
    assert len(convs) == 17  # 15 of the backbone's three stages, 2 of the neck
    for conv in convs:
        weight, scale = (arrays[name] for name in makers[conv.input[1]].input[:2])
        assert weight.dtype == np.int8 and np.abs(weight).max() <= 64
        assert scale.shape == (len(weight),)
        assert makers[conv.input[0]].op_type == 'DequantizeLinear'
    # The first convolution gets the network's input, rounded once.
    first = makers[makers[convs[0].input[0]].input[0]]
    assert first.op_type == 'QuantizeLinear' and makers[first.input[0]].op_type == 'Div'
    steps, waiting = set(), [first.input[0]]
    while waiting:
        node = makers.get(waiting.pop())
        if node is not None:
            steps.add(node.op_type)
            waiting += node.input
    assert 'Add' in steps and not any('Quantize' in step for step in steps)
    want = OnnxNetwork(exported[0]).run(dict(crops=crops))['pred_score']
    got = OnnxNetwork(path).run(dict(crops=crops))['pred_score']
    assert 0 < np.abs(got - want).max() < 0.1
    metrics = {name: run_test(model[0], onnx=str(file), work_dir=str(tmp_path))
               for name, file in (('float32', exported[0]), ('int8', path))}  # fmt: skip
    assert result.scores == metrics


@pytest.mark.slow
def test_video_gets_the_same_scores(model, exported, run_tool, tmp_path):
    pytest.importorskip('facenet_pytorch')
    images = compose(draw_faces(1, seed=1), [stay(3, 150, 120, 140)]).images
    write_video(tmp_path / 'one.mp4', images, [0, 40, 80])
    found = []
    for name, source in ('torch', [model[1]]), ('onnx', ['--onnx', exported[0]]):
        args = [model[0], *source, tmp_path / 'one.mp4', '--out', tmp_path / name]
        assert run_tool('predict_video.py', *args)[0] == 0
        found.append(Predictions.read(tmp_path / name / 'one.npz'))
    want, got = found
    assert len(got) == 3 and got.sha256 == want.sha256
    np.testing.assert_allclose(got['pred_score'], want['pred_score'], atol=1e-5)
