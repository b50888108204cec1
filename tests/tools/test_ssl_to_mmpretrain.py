"""tools/model_converters/ssl_to_mmpretrain.py: files that it writes and inputs that it refuses."""

import argparse
import hashlib
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
import torchvision
from mmpretrain.models import ResNet

import abaw_mm
from abaw_mm.checkpoints.convert import infer_resnet_config
from abaw_mm.checkpoints.load import load_checkpoint_file

REPO = Path(__file__).parents[2]
TOOL = 'model_converters/ssl_to_mmpretrain.py'


@pytest.fixture
def run(run_tool):
    return lambda *args: run_tool(TOOL, *args)


@pytest.fixture(scope='module')
def weights():
    state = ResNet(18).state_dict()
    generator = torch.Generator().manual_seed(0)
    return {
        k: torch.rand(v.shape, generator=generator) if v.is_floating_point() else v + 9
        for k, v in state.items()
    }


@pytest.fixture
def moco(tmp_path, weights):
    state = {
        **{f'module.encoder_q.{k}': v for k, v in weights.items()},
        **{f'module.encoder_k.{k}': v + 1 for k, v in weights.items()},
        'module.queue': torch.zeros(4),
    }
    torch.save(dict(state_dict=state, epoch=3), tmp_path / 'moco.pth')
    return tmp_path / 'moco.pth'


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_output_has_the_layout_of_mmpretrain(run, tmp_path, moco, weights, suffix):
    out = tmp_path / f'new folder/out{suffix}'
    status, text, error = run(moco, out)
    assert (status, error) == (0, '')
    assert '-> ResNet-18' in text and '100 of 100' in text and 'MoCo v1, v2' in text
    assert "prefix='backbone.')" in text and f'checkpoint={out}' in text
    if suffix == '.pth':
        saved = torch.load(out, weights_only=True)
        state, meta = saved['state_dict'], saved['meta']
    else:
        state = safetensors.torch.load_file(out)
        with safetensors.safe_open(out, 'pt') as file:
            meta = file.metadata()
        assert load_checkpoint_file(out)['meta'] == meta
    assert state.keys() == {f'backbone.{name}' for name in weights}
    assert all(torch.equal(state[f'backbone.{name}'], value) for name, value in weights.items())
    assert meta == dict(
        source='moco.pth',
        sha256=hashlib.sha256(moco.read_bytes()).hexdigest(),
        layout='MoCo v1, v2',
        prefix='state_dict.module.encoder_q.',
        matched='100 of 100',
        abaw_mm_version=abaw_mm.__version__,
    )
    # Both imports of a config load it.
    for cfg in (dict(type='SSLPretrained'), dict(type='Pretrained', prefix='backbone.')):
        model = ResNet(18, init_cfg=dict(cfg, checkpoint=str(out)))
        model.init_weights()
        assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


@pytest.mark.slow
def test_loads_in_mmpretrain_without_abaw_mm(run, tmp_path, moco, weights):
    out = tmp_path / 'out.pth'
    assert run(moco, out)[0] == 0
    script = (
        'import sys, torch\n'
        'for name in ("nms", "qnms"):\n'  # torchvision for CUDA beside torch for the CPU
        '    try: torch.library.define(f"torchvision::{name}", "(Tensor a, Tensor b, float c) -> '
        'Tensor")\n'
        '    except RuntimeError: pass\n'
        'from mmpretrain.models import ResNet\n'
        'cfg = dict(type="Pretrained", checkpoint=sys.argv[1], prefix="backbone.")\n'
        'model = ResNet(18, init_cfg=cfg)\n'
        'model.init_weights()\n'
        'assert "abaw_mm" not in sys.modules\n'
        'torch.save(model.state_dict(), sys.argv[2])\n'
    )
    result = subprocess.run(
        [sys.executable, '-c', script, str(out), str(tmp_path / 'loaded.pth')],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    loaded = torch.load(tmp_path / 'loaded.pth', weights_only=True)
    assert all(torch.equal(value, weights[name]) for name, value in loaded.items())


def test_output_holds_no_storage_beyond_its_tensors(run, tmp_path, weights):
    """A tensor that is a view is written without the rest of its storage."""
    large = torch.ones(5_000_000)
    view = large[:9408].view(64, 3, 7, 7)
    torch.save({**weights, 'conv1.weight': view, 'large': large}, tmp_path / 'a.pth')
    assert run(tmp_path / 'a.pth', tmp_path / 'b.pth')[0] == 0
    size = sum(value.numel() * value.element_size() for value in weights.values())
    assert (tmp_path / 'b.pth').stat().st_size < size + 200_000


@pytest.mark.parametrize('depth', [18, 34, 50, 101, 152])
def test_depth_is_inferred_from_the_blocks(depth):
    state = ResNet(depth).state_dict()
    numbers = dict(conv1='0', bn1='1', layer1='4', layer2='5', layer3='6', layer4='7')
    numbered = {
        '.'.join(['backbone', numbers[k.split('.')[0]], *k.split('.')[1:]]): v
        for k, v in state.items()
    }
    for found in (state, {f'module.encoder_q.{k}': v for k, v in state.items()}, numbered):
        assert infer_resnet_config(found) == dict(type='ResNet', depth=depth)


def test_network_and_prefix_are_selected(run, tmp_path, moco, weights, repo):
    out = tmp_path / 'out.pth'
    status, _, error = run(moco, out, '--backbone', 'resnet50')
    assert status == 1 and 'mismatched' in error and not out.exists()
    assert run(moco, out, '--backbone', 'resnet18')[0] == 0
    assert run(moco, out, '--config', repo / 'configs/res18_srp_affwild2.py')[0] == 0
    assert run(moco, out, '--prefix', 'encoder_k')[0] == 0
    state = torch.load(out, weights_only=True)['state_dict']
    assert torch.equal(state['backbone.bn1.bias'], weights['bn1.bias'] + 1)
    status, _, error = run(moco, out, '--prefix', 'encoder')
    assert status == 1 and 'none of the names' in error


def test_incomplete_backbone_needs_a_flag(run, tmp_path, weights):
    del (part := dict(weights))['layer3.0.conv1.weight']
    torch.save(part, tmp_path / 'part.pth')
    out = tmp_path / 'out.pth'
    status, _, error = run(tmp_path / 'part.pth', out)
    assert status == 1 and 'layer3.0.conv1.weight: got nothing' in error and not out.exists()
    status, text, _ = run(tmp_path / 'part.pth', out, '--allow-partial')
    assert status == 0 and '99 of 100' in text
    assert torch.load(out, weights_only=True)['meta']['matched'] == '99 of 100'


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('gone.pth', 'a.pth'), 'gone.pth: no such file'),
        (('moco.pth', 'a.onnx'), 'expected a name with .pth, .pt, .safetensors'),
        (('moco.pth', 'moco.pth'), 'which is IN'),
        (('moco.pth', 'a.pth', '--config', 'gone.py'), '--config: gone.py: no such file'),
    ],
)
def test_wrong_arguments(run, moco, monkeypatch, args, message):
    monkeypatch.chdir(moco.parent)
    status, _, error = run(*args)
    assert status == 2 and message in error


def test_user_errors(run, tmp_path, moco):
    (tmp_path / 'cut.pth').write_bytes(moco.read_bytes()[:2000])
    torch.save(dict(a=torch.ones(1)), tmp_path / 'other.pth')
    for source, out, message in (
        ('cut.pth', 'a.pth', 'got a truncated checkpoint'),
        ('other.pth', 'a.pth', 'got (0, 0, 0, 0) blocks'),
        ('moco.pth', 'moco.pth/a.pth', 'moco.pth'),
    ):
        status, _, error = run(tmp_path / source, tmp_path / out)
        assert status == 1 and message in error


class Opener:
    """Pickles as a call that creates a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f'touch {self.path}',)


@pytest.mark.parametrize('zipped', [True, False])
def test_trusted_pickle_with_training_arguments(run, tmp_path, weights, zipped):
    args = argparse.Namespace(arch='resnet18', lr=0.03)
    path, out = tmp_path / 'args.pth', tmp_path / 'out.pth'
    torch.save(dict(state_dict=weights, args=args), path, _use_new_zipfile_serialization=zipped)
    status, _, error = run(path, out)
    assert status == 1 and 'argparse.Namespace' in error and '--trust-pickle' in error
    assert not out.exists()
    status, text, error = run(path, out, '--trust-pickle')
    assert status == 0 and 'uses argparse.Namespace' in error and 'WARNING' in error
    assert 'OrderedDict' not in error and '_rebuild' not in error
    saved = torch.load(out, weights_only=True)
    assert saved.keys() == {'state_dict', 'meta'} and len(saved['state_dict']) == len(weights)
    assert saved['meta']['sha256'] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_only_a_trusted_pickle_is_executed(run, tmp_path, weights):
    path, sentinel = tmp_path / 'bad.pth', tmp_path / 'was_run'
    torch.save(dict(state_dict=weights, payload=Opener(sentinel)), path)
    status, _, error = run(path, tmp_path / 'a.pth')
    assert status == 1 and 'system' in error and not sentinel.exists()
    status, _, error = run(path, tmp_path / 'a.pth', '--trust-pickle')
    assert status == 0 and 'system' in error and sentinel.exists()
    load_checkpoint_file(tmp_path / 'a.pth')


@pytest.mark.parametrize(
    'save',
    {
        'whole module': lambda w, path: torch.save(make_module(w), path),
        'module in a dict': lambda w, path: torch.save(dict(model=make_module(w)), path),
        'pickle of arrays': lambda w, path: path.write_bytes(pickle.dumps(to_arrays(w))),
        'pickle of tensors': lambda w, path: path.write_bytes(pickle.dumps(dict(w), protocol=4)),
    }.values(),
)
def test_trust_pickle_reads_modules_and_plain_pickles(run, tmp_path, weights, save):
    path, out = tmp_path / 'in.pth', tmp_path / 'out.pth'
    save(weights, path)
    status, _, error = run(path, out)
    assert status == 1 and '--trust-pickle' in error
    status, _, error = run(path, out, '--trust-pickle')
    assert status == 0, error
    saved = load_checkpoint_file(out)['state_dict']
    assert saved.keys() == {f'backbone.{name}' for name in weights}
    assert all(torch.equal(saved[f'backbone.{name}'], value) for name, value in weights.items())


def make_module(weights):
    module = ResNet(18)
    module.load_state_dict(weights)
    return module


def to_arrays(weights):
    return {name: value.numpy() for name, value in weights.items()}


def test_arrays_of_numpy_need_no_trust(run, tmp_path, weights):
    torch.save(to_arrays(weights), tmp_path / 'arrays.pth')
    status, _, error = run(tmp_path / 'arrays.pth', tmp_path / 'out.pth')
    assert status == 0, error
    saved = load_checkpoint_file(tmp_path / 'out.pth')['state_dict']
    assert torch.equal(saved['backbone.conv1.weight'], weights['conv1.weight'])


def test_torchscript_is_named_with_a_way_that_works(run, tmp_path, weights):
    model = torchvision.models.resnet18()
    model.load_state_dict(weights, strict=False)
    torch.jit.script(model).save(str(tmp_path / 'script.pt'))
    status, _, error = run(tmp_path / 'script.pt', tmp_path / 'out.pth', '--trust-pickle')
    assert status == 1 and 'got a TorchScript program' in error and 'weights_only' not in error
    advice = re.search(r'torch\.save\(.*\)', error)[0]
    code = advice.replace("'IN'", repr(str(tmp_path / 'script.pt')))
    exec(code.replace("'OUT.pth'", repr(str(tmp_path / 'plain.pth'))), dict(torch=torch))
    status, _, error = run(tmp_path / 'plain.pth', tmp_path / 'out.pth')
    assert status == 0, error


def test_trusted_pickle_with_missing_code(run, tmp_path, weights, monkeypatch):
    module = type(sys)('their_repository')
    module.Settings = type('Settings', (), dict(__module__='their_repository'))
    monkeypatch.setitem(sys.modules, 'their_repository', module)
    torch.save(dict(state_dict=weights, cfg=module.Settings()), tmp_path / 'a.pth')
    monkeypatch.delitem(sys.modules, 'their_repository')
    status, _, error = run(tmp_path / 'a.pth', tmp_path / 'b.pth', '--trust-pickle')
    assert status == 1 and "author's code to PYTHONPATH" in error


def test_package_never_executes_pickles(repo):
    for path in (repo / 'abaw_mm').rglob('*.py'):
        text = path.read_text().replace(' ', '')
        assert 'weights_only=False' not in text and "weights_only']=False" not in text, path


def test_command_writes_the_backbone_and_prints_the_table(tmp_path, moco):
    result = subprocess.run(
        [sys.executable, str(REPO / 'tools' / TOOL), str(moco), str(tmp_path / 'out.pth')],
        cwd=REPO,
        env={**os.environ, 'PYTHONPATH': str(REPO)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert '| matched' in result.stdout and (tmp_path / 'out.pth').is_file()
