"""Each mending of compat.py, on whichever of the two stacks is installed."""

import copy
import datetime
import functools
import http.server
import importlib.util
import itertools
import os
import pickle
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import mmcv
import mmengine
import mmpretrain
import numpy as np
import pytest
import safetensors.torch
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.config import Config
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel, MMDistributedDataParallel
from mmengine.optim.scheduler.param_scheduler import OneCycleParamScheduler
from mmengine.registry import DATASETS, MODELS, OPTIM_WRAPPERS
from mmengine.runner import CheckpointLoader, Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.amp import autocast
from torch import nn

from abaw_mm import checkpoints, compat
from abaw_mm.compat import patches, versions

MIM = Path(mmpretrain.__file__).parent / '.mim'


# --- Versions


def test_versions_of_this_stack_pass():
    versions.check_versions()


@pytest.mark.parametrize(
    'module, version, expected',
    [
        (mmcv, '2.4.0', r'mmcv: got 2\.4\.0, expected >=2\.0,<2\.4.*mmcv-lite>=2\.0,<2\.4'),
        (mmengine, '0.10.3', r'mmengine: got 0\.10\.3, expected >=0\.10\.4,<0\.12'),
        (torch, '2.3.1+cu121', r"torch: got 2\.3\.1.*expected >=2\.4; .*pip install 'torch>=2\.4'"),
    ],
)
def test_versions_out_of_range(monkeypatch, module, version, expected):
    monkeypatch.setattr(module, '__version__', version)
    with pytest.raises(ImportError, match=expected):
        versions.check_versions()


@pytest.mark.parametrize('version', ['1.3.6', '2.3.3', '2.0.0rc4'])
def test_versions_in_range(monkeypatch, version):
    module = mmcv if version.startswith('2') else None
    if module is None:
        monkeypatch.setattr(compat, '_version_of', lambda name: version)
        monkeypatch.setattr(compat, 'SUPPORTED', {'mmpretrain': versions.SUPPORTED['mmpretrain']})
    else:
        monkeypatch.setattr(module, '__version__', version)
    versions.check_versions()


def test_missing_package(monkeypatch):
    monkeypatch.setattr(compat, 'SUPPORTED', {'no_such_module': ('1.0', None, 'no-such')})
    with pytest.raises(ImportError, match="none installed, expected >=1.0.*pip install 'no-such"):
        versions.check_versions()


def test_version_of_mmpretrain_is_read_without_importing_it(monkeypatch, tmp_path):
    (tmp_path / 'mmpretrain').mkdir()
    (tmp_path / 'mmpretrain/__init__.py').write_text('raise AssertionError("was imported")')
    (tmp_path / 'mmpretrain/version.py').write_text("__version__ = '1.1.1'")
    monkeypatch.delitem(sys.modules, 'mmpretrain')
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ImportError, match=r'mmpretrain: got 1\.1\.1, expected >=1\.2,<1\.4'):
        versions.check_versions()


def test_check_comes_before_torchvision(repo):
    code = (
        'import importlib.util as u, sys\n'
        f'spec = u.spec_from_file_location("compat", {str(repo / "abaw_mm/compat")!r})\n'
        'module = u.module_from_spec(spec); spec.loader.exec_module(module)\n'
        'module.check_versions()\n'
        'assert not {"torchvision", "mmpretrain"} & set(sys.modules)\n'
    )
    subprocess.run([sys.executable, '-c', code], check=True)


# --- Import-time mendings


def test_apply_twice_is_apply_once():
    before = (
        mmcv.adjust_hue,
        mmengine.utils.is_installed,
        mmengine_checkpoint.torch,
        mmengine_checkpoint.load_from_local,
    )
    compat.apply_patches()
    assert before == (
        mmcv.adjust_hue,
        mmengine.utils.is_installed,
        mmengine_checkpoint.torch,
        mmengine_checkpoint.load_from_local,
    )


def test_torchvision_is_usable():
    from torchvision import transforms

    assert transforms.CenterCrop(2)(torch.zeros(3, 4, 4)).shape == (3, 2, 2)


@pytest.mark.parametrize(
    'message, defined',
    [
        ('operator torchvision::nms does not exist', ['torchvision::nms', 'torchvision::qnms']),
        ('something else', None),
    ],
)
def test_torchvision_operators_are_defined_only_for_that_failure(monkeypatch, message, defined):
    failures, got = [RuntimeError(message)], []

    def fail_once(name):
        if failures:
            raise failures.pop()

    monkeypatch.setattr(compat, 'import_module', fail_once)
    monkeypatch.setattr(torch.library, 'define', lambda name, schema: got.append(name))
    if defined is None:
        with pytest.raises(RuntimeError, match=message):
            patches.patch_torchvision_import()
    else:
        patches.patch_torchvision_import()
        assert got == defined


def test_torchvision_missing(monkeypatch):
    def fail(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(compat, 'import_module', fail)
    with pytest.raises(ImportError, match='pip install torchvision'):
        patches.patch_torchvision_import()


def test_package_lookup():
    utils = mmengine.utils.package_utils
    for module in (utils, mmengine.utils, mmengine.config.config):
        assert module.is_installed('numpy') and not module.is_installed('no_such_package')
        assert module.get_installed_path('mmpretrain') == str(MIM.parent)
    assert utils.is_installed('opencv-python')  # by the name at the index
    assert utils.get_installed_path('opencv-python').endswith('cv2')
    assert utils.package2module('opencv-python') == 'cv2'
    with pytest.raises(ImportError):
        utils.get_installed_path('no_such_package')


def test_base_config_of_mmpretrain(tmp_path):
    config = tmp_path / 'mine.py'
    config.write_text("_base_ = 'mmpretrain::_base_/default_runtime.py'\nmine = 1\n")
    cfg = Config.fromfile(config)
    assert cfg.default_scope == 'mmpretrain' and cfg.mine == 1


@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('hue', [-0.5, -0.1, -0.001, 0.0, 0.3])
def test_hue_turns_both_ways(backend, hue):
    import cv2
    from PIL import Image

    img = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)  # BGR
    steps = int(hue * 255)  # towards 0, as mmcv counts
    if backend == 'cv2':
        hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV_FULL).astype(int)
    else:
        hsv = np.array(Image.fromarray(img[..., ::-1]).convert('HSV')).astype(int)
    hsv[..., 0] = (hsv[..., 0] + steps) % 256
    hsv = hsv.astype(np.uint8)
    if backend == 'cv2':
        expected = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)
    else:
        expected = np.array(Image.fromarray(hsv, 'HSV').convert('RGB'))[..., ::-1]
    np.testing.assert_array_equal(mmcv.adjust_hue(img, hue, backend=backend), expected)
    np.testing.assert_array_equal(mmcv.image.adjust_hue(img, hue, backend), expected)


def test_hue_out_of_range_stays_an_error():
    with pytest.raises(ValueError, match='hue_factor'):
        mmcv.adjust_hue(np.zeros((1, 1, 3), np.uint8), -0.6)


def test_color_jitter():
    from mmpretrain.registry import TRANSFORMS

    jitter = TRANSFORMS.build(dict(type='ColorJitter', hue=0.5))
    for _ in range(10):  # about half of them negative
        jitter(dict(img=np.full((4, 4, 3), 100, np.uint8)))


def test_browse_dataset_draws_a_grid():
    path = MIM / 'tools/visualization/browse_dataset.py'
    spec = importlib.util.spec_from_file_location('browse_dataset', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    grid = module.make_grid([np.zeros((8, 8, 3), np.uint8)] * 2, ['a', 'b'])
    assert grid.ndim == 3 and grid.shape[2] == 3 and 100 < grid.shape[0] < 2000


def test_retrieval_metric():
    from mmpretrain.evaluation import RetrievalAveragePrecision, RetrievalRecall

    pred, target = [[0, 2, 1], [1, 0, 2]], [[1], [0, 1]]
    recall = RetrievalRecall.calculate(
        pred, target, topk=(1, 3), pred_indices=True, target_indices=True
    )
    assert [float(r) for r in recall] == [50, 100]  # the first finds its target at rank 3
    precision = RetrievalAveragePrecision.calculate(
        torch.tensor([[0.1, 0.2, 0.9]]), torch.tensor([[1, 1, 0]]), topk=3
    )
    assert float(precision) == pytest.approx(100 * (1 / 2 + 2 / 3) / 2)


def test_numpy_itself_is_left_alone():
    assert hasattr(np, 'in1d') == (tuple(map(int, np.__version__.split('.')[:2])) < (2, 4))


# --- Checkpoints


class Toy(BaseModel):
    """A neck of mmpretrain with its default norm, SyncBN."""

    def __init__(self):
        super().__init__()
        from mmpretrain.models import NonLinearNeck  # not above: a spawned process mends first

        self.neck = NonLinearNeck(2, hid_channels=4, out_channels=2, with_avg_pool=False)

    def forward(self, x, mode='tensor'):
        out = self.neck((x.float(),))[0]
        self.dtype = out.dtype
        return dict(loss=(out.float() - x).square().mean()) if mode == 'loss' else out


class Vectors(torch.utils.data.Dataset):
    """Eight vectors."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return dict(x=torch.tensor([index, -1.0]))


MODELS.register_module('CompatToy', module=Toy, force=True)
DATASETS.register_module('CompatVectors', module=Vectors, force=True)


RUNS = itertools.count()


def toy_cfg(work_dir, iters=2, launcher='none', **options):
    return Config(
        dict(
            model=dict(type='CompatToy'),
            work_dir=str(work_dir),
            launcher=launcher,
            train_dataloader=dict(
                dataset=dict(type='CompatVectors'),
                batch_size=4,
                num_workers=0,
                collate_fn=dict(type='default_collate'),
                sampler=dict(type='InfiniteSampler', shuffle=False),
            ),
            train_cfg=dict(by_epoch=False, max_iters=iters),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1, momentum=0.9)),
            param_scheduler=[dict(type='OneCycleLR', eta_max=0.1, total_steps=10, by_epoch=False)],
            default_hooks=dict(
                logger=dict(type='LoggerHook', interval=1),
                checkpoint=dict(type='CheckpointHook', interval=2, by_epoch=False),
            ),
            default_scope='mmengine',
            log_level='WARNING',
            experiment_name=f'toy{next(RUNS)}',  # mmengine keeps logs by this name
            **options,
        )
    )


def train(cfg):
    runner = Runner.from_cfg(compat.adapt_cfg_to_cpu(cfg, cfg.launcher))
    runner.train()
    return runner


def test_resume_own_checkpoint(tmp_path):
    whole = train(toy_cfg(tmp_path / 'whole', iters=4, randomness=dict(seed=0)))
    state = checkpoints.load_checkpoint_file(tmp_path / 'whole/iter_2.pth')
    assert isinstance(state['message_hub']['log_scalars']['train/loss'], HistoryBuffer)
    assert state['param_schedulers'][0]['anneal_func'] is OneCycleParamScheduler._annealing_cos
    again = train(
        toy_cfg(
            tmp_path / 'parts',
            iters=4,
            randomness=dict(seed=0),
            resume=True,
            load_from=str(tmp_path / 'whole/iter_2.pth'),
        )
    )
    assert again.iter == 4
    for name in ('train/loss', 'train/lr'):  # the first two of four come from the file
        logs = [runner.message_hub.get_scalar(name).data[0] for runner in (whole, again)]
        assert len(logs[0]) == 4 and len(set(logs[0])) == 4
        np.testing.assert_allclose(*logs, rtol=1e-5)
    for key, value in whole.model.state_dict().items():
        torch.testing.assert_close(again.model.state_dict()[key], value)


class CountedVectors(Vectors):
    """Keeps the row that each call asked for, of all processes."""

    def __getitem__(self, index):
        return dict(x=torch.tensor([index, -1.0]), row=index)


DATASETS.register_module('CompatCountedVectors', module=CountedVectors, force=True)


@pytest.mark.parametrize('workers', [0, 2])
def test_resume_goes_on_in_the_endless_row_of_frames(tmp_path, monkeypatch, workers):
    """Frames after a resume are those of an uninterrupted run, and no others are read."""
    seen, read = [], []
    monkeypatch.setattr(
        Toy,
        'forward',
        lambda self, x, row, mode='tensor': (
            seen.append(row.tolist()),
            dict(loss=self.neck((x,))[0].square().mean()),
        )[1],
    )
    plain = CountedVectors.__getitem__
    monkeypatch.setattr(
        CountedVectors, '__getitem__', lambda self, i: (read.append(i), plain(self, i))[1]
    )

    def run(name, iters, **options):
        cfg = toy_cfg(tmp_path / name, iters=iters, randomness=dict(seed=0), **options)
        cfg.train_dataloader.dataset.type = 'CompatCountedVectors'
        cfg.train_dataloader.batch_size = 3
        cfg.train_dataloader.sampler.shuffle = True
        cfg.train_dataloader.update(num_workers=workers, persistent_workers=workers > 0)
        seen.clear(), read.clear()
        train(cfg)
        return list(seen)

    whole = run('whole', 6)
    path = str(tmp_path / 'whole/iter_4.pth')
    assert run('parts', 6, resume=True, load_from=path) == whole[4:]
    if not workers:
        assert read == sum(whole[4:], [])


def plain_state():
    buffer = HistoryBuffer()
    buffer.update(2.5)
    return dict(
        state_dict=dict(w=torch.arange(3.0)),
        rng=torch.get_rng_state(),
        history=buffer,
        best=np.float32(0.25),
        count=np.int64(3),
        flag=np.bool_(True),
        arrays=[np.arange(3, dtype=t) for t in ('uint8', 'int32', 'float16', 'complex64')],
        meta=dict(cfg='a = 1', seed=None, dataset_meta=dict(classes=('a', 'b'))),
        anneal=OneCycleParamScheduler._annealing_linear,
    )


def check_plain_state(got):
    assert torch.equal(got['state_dict']['w'], torch.arange(3.0))
    assert got['history'].mean() == 2.5 and got['best'] == np.float32(0.25) and got['count'] == 3
    assert [a.dtype.name for a in got['arrays']] == ['uint8', 'int32', 'float16', 'complex64']
    assert all((a == np.arange(3)).all() for a in got['arrays'])
    assert got['anneal'](0, 1, 0.25) == 0.25


@pytest.mark.parametrize('zipped', [True, False])
def test_what_a_runner_stores_loads(tmp_path, zipped):
    path = tmp_path / 'a.pth'
    torch.save(plain_state(), path, _use_new_zipfile_serialization=zipped)
    check_plain_state(checkpoints.load_checkpoint_file(path))
    check_plain_state(CheckpointLoader.load_checkpoint(str(path), 'cpu'))


def test_names_of_both_numpys(tmp_path):
    torch.save(plain_state(), tmp_path / 'a.pth', _use_new_zipfile_serialization=False)
    content = (tmp_path / 'a.pth').read_bytes()
    here, there = b'cnumpy._core.multiarray\n', b'cnumpy.core.multiarray\n'
    if here not in content:
        here, there = there, here
    assert here in content
    (tmp_path / 'b.pth').write_bytes(content.replace(here, there))
    check_plain_state(checkpoints.load_checkpoint_file(tmp_path / 'b.pth'))


class Reduced:
    """Pickles as a call."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def touch(path):
    return f'touch {path}'


ATTACKS = {
    'os.system': (lambda s: Reduced(os.system, touch(s)), r'(posix|nt)\.system'),
    'eval': (lambda s: Reduced(eval, f'open({str(s)!r}, "w")'), r'builtins\.eval'),
    'partial': (lambda s: Reduced(functools.partial, open, str(s), 'w'), r'functools\.partial'),
    'os through getattr': (
        lambda s: Reduced(getattr, Reduced(__import__, 'os'), 'system'),
        r'builtins\.__import__',
    ),
    'globals through getattr': (
        lambda s: Reduced(getattr, Reduced(getattr, HistoryBuffer, '__init__'), '__globals__'),
        r"builtins\.getattr of '__init__' of .*HistoryBuffer",
    ),
    'other method through getattr': (
        lambda s: Reduced(getattr, HistoryBuffer, 'register_statistics'),
        r"builtins\.getattr of 'register_statistics'",
    ),
    'string through getattr': (
        lambda s: Reduced(getattr, 'text', 'format'),
        r"builtins\.getattr of 'format' of 'text'",
    ),
    'a class of a config': (lambda s: dict(meta=Config(dict(a=1))), r'mmengine\.config'),
    'a path': (lambda s: Path('x'), r'pathlib'),
}


def hostile(name, sentinel, path, zipped=True):
    make, match = ATTACKS[name]
    state = dict(state_dict=dict(w=torch.ones(1)), payload=make(sentinel))
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    return match


@pytest.mark.parametrize('zipped', [True, False])
@pytest.mark.parametrize('name', ATTACKS)
def test_hostile_checkpoint_is_refused_and_not_run(tmp_path, name, zipped):
    path, sentinel = tmp_path / 'bad.pth', tmp_path / 'was_run'
    match = hostile(name, sentinel, path, zipped)
    for load in (
        checkpoints.load_checkpoint_file,
        CheckpointLoader.load_checkpoint,
        mmengine_checkpoint._load_checkpoint,
        mmengine_checkpoint.load_from_local,
        functools.partial(mmengine_checkpoint.load_checkpoint, nn.Linear(1, 1)),
    ):
        with pytest.raises(checkpoints.UnsafeCheckpointError, match=match) as error:
            load(str(path))
        assert str(path) in str(error.value) and 'torch.save(dict(state_dict' in str(error.value)
    assert not sentinel.exists()


def test_the_attack_is_one(tmp_path):
    pickle.loads(pickle.dumps(Reduced(os.system, touch(tmp_path / 'was_run'))))
    assert (tmp_path / 'was_run').exists()


def test_one_cycle_scheduler_itself_cannot_be_made(tmp_path):
    class Made:
        def __reduce__(self):
            return OneCycleParamScheduler, (None, 'lr')

    class Filled:
        def __reduce__(self):
            return copy.copy, ()

    torch.save(dict(a=Made()), tmp_path / 'a.pth')
    with pytest.raises((ValueError, checkpoints.UnsafeCheckpointError), match='_OneCycleMethods'):
        checkpoints.load_checkpoint_file(tmp_path / 'a.pth')
    torch.save(dict(a=Filled()), tmp_path / 'a.pth')
    with pytest.raises(checkpoints.UnsafeCheckpointError, match='copy.copy'):
        checkpoints.load_checkpoint_file(tmp_path / 'a.pth')


def test_no_way_around_in_mmengine(tmp_path, monkeypatch):
    path, sentinel = tmp_path / 'bad.pth', tmp_path / 'was_run'
    hostile('os.system', sentinel, path)
    runner = Runner.from_cfg(toy_cfg(tmp_path / 'run', iters=2))
    for load in (runner.load_checkpoint, runner.resume):
        with pytest.raises(checkpoints.UnsafeCheckpointError):
            load(str(path))

    # the schemes that are not ours, on a store that gives the bytes of the file
    class Store:
        def get(self, name):
            return path.read_bytes()

    monkeypatch.setattr(mmengine_checkpoint, 'get_file_backend', lambda *args, **kwargs: Store())
    with pytest.raises(pickle.UnpicklingError):
        CheckpointLoader.load_checkpoint('s3://bucket/bad.pth', 'cpu')
    with pytest.raises(pickle.UnpicklingError):
        mmengine_checkpoint.torch.load(str(path), **{'weights_' + 'only': False})
    if hasattr(mmengine_checkpoint, '_safe_torch_load'):  # onedl's falls back when refused
        with pytest.raises(pickle.UnpicklingError):
            mmengine_checkpoint._safe_torch_load(str(path))
    queue = tmp_path / 'queue.pth'
    hostile('os.system', sentinel, queue)
    from mmpretrain.engine.hooks import swav_hook

    with pytest.raises(pickle.UnpicklingError):
        swav_hook.torch.load(str(queue))
    assert not sentinel.exists()


def test_config_in_meta_is_not_run_on_resume(tmp_path):
    train(toy_cfg(tmp_path, iters=2))
    path, sentinel = tmp_path / 'iter_2.pth', tmp_path / 'was_run'
    state = checkpoints.load_checkpoint_file(path)
    state['meta']['config'] = f'open({str(sentinel)!r}, "w").close()'
    torch.save(state, path)
    train(toy_cfg(tmp_path, iters=3, resume=True, load_from=str(path)))
    assert not sentinel.exists()


def test_damaged_files(tmp_path):
    good, bad = tmp_path / 'good.pth', tmp_path / 'bad.pth'
    load = checkpoints.load_checkpoint_file
    with pytest.raises(FileNotFoundError, match=r'bad\.pth: got no such file'):
        load(bad)
    with pytest.raises(FileNotFoundError, match='got no such file'):
        load(tmp_path)
    bad.write_bytes(b'')
    with pytest.raises(ValueError, match=r'bad\.pth: got an empty file.*again'):
        load(bad)
    bad.write_text('<html>404</html>')
    with pytest.raises(ValueError, match="begins with b'<htm'.*torch.save"):
        load(bad)
    for zipped, match in ((True, 'the end is cut off'), (False, 'bad.pth')):
        torch.save(dict(w=torch.ones(1000)), good, _use_new_zipfile_serialization=zipped)
        content = good.read_bytes()
        for length in (len(content) // 2, len(content) - 10, 20):
            bad.write_bytes(content[:length])
            with pytest.raises((ValueError, checkpoints.UnsafeCheckpointError), match=match):
                load(bad)
    torch.save(torch.ones(1), bad)
    with pytest.raises(ValueError, match='got a file with a Tensor, expected a dict'):
        load(bad)
    import zipfile

    with zipfile.ZipFile(bad, 'w') as archive:
        archive.writestr('readme.txt', 'not a checkpoint')
    with pytest.raises(ValueError, match=r'torch\.load cannot read'):
        load(bad)


def test_safetensors(tmp_path):
    tensors = {f'layer{i}.weight': torch.full((3, 4), float(i)) for i in range(4)}
    path = tmp_path / 'a.safetensors'
    safetensors.torch.save_file(tensors, path, metadata=dict(source='moco'))
    found = checkpoints.load_checkpoint_file(path)
    assert found['meta'] == dict(source='moco')
    assert found['state_dict'].keys() == tensors.keys()
    assert all(torch.equal(found['state_dict'][k], v) for k, v in tensors.items())
    # by its content, whatever it is called, and through mmengine
    (tmp_path / 'a.pth').write_bytes(path.read_bytes())
    for load in (checkpoints.load_checkpoint_file, CheckpointLoader.load_checkpoint):
        assert load(str(tmp_path / 'a.pth'))['state_dict'].keys() == tensors.keys()
    safetensors.torch.save_file(tensors, path)
    assert checkpoints.load_checkpoint_file(path, map_location=None)['meta'] == {}
    whole = path.read_bytes()
    for cut in (4, 8, 9, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        with pytest.raises(ValueError, match=r'a\.safetensors: got a damaged file .*copy'):
            checkpoints.load_checkpoint_file(path)
    torch.save(tensors, path)  # a pickle under this name is not read as one
    with pytest.raises(ValueError, match='safetensors says'):
        checkpoints.load_checkpoint_file(path)


def test_newer_torch_gets_weights_only_and_older_ones_no_pairs(tmp_path, monkeypatch):
    torch.save(plain_state(), tmp_path / 'a.pth')
    torch.save(dict(w=torch.ones(2)), tmp_path / 'b.pth')
    monkeypatch.setattr(torch, '__version__', '2.5.1+cpu')
    assert checkpoints.load_checkpoint_file(tmp_path / 'b.pth')['w'].sum() == 2
    with pytest.raises(checkpoints.UnsafeCheckpointError, match=r'resumes from torch 2\.6 on'):
        checkpoints.load_checkpoint_file(tmp_path / 'a.pth')


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A web server of a folder: its address, the folder, and the paths that were asked for."""
    folder, asked = tmp_path / 'www', []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            asked.append(self.path)

    httpd = http.server.ThreadingHTTPServer(
        ('127.0.0.1', 0), functools.partial(Handler, directory=str(folder))
    )
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setattr(torch.hub, '_hub_dir', str(tmp_path / 'hub'))
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    yield f'http://127.0.0.1:{httpd.server_port}', folder, asked
    httpd.shutdown()
    httpd.server_close()


def test_http(server, tmp_path):
    url, folder, asked = server
    torch.save(plain_state(), folder / 'good.pth')
    for load in (
        checkpoints.load_checkpoint_file,
        CheckpointLoader.load_checkpoint,
        mmengine_checkpoint.load_from_http,
    ):
        check_plain_state(load(f'{url}/good.pth'))
    assert len(asked) == 1 and (tmp_path / 'hub/checkpoints/good.pth').is_file()
    hostile('os.system', tmp_path / 'was_run', folder / 'bad.pth')
    for load in (checkpoints.load_checkpoint_file, CheckpointLoader.load_checkpoint):
        with pytest.raises(checkpoints.UnsafeCheckpointError, match=r'(posix|nt)\.system'):
            load(f'{url}/bad.pth')
    assert not (tmp_path / 'was_run').exists()
    with pytest.raises(OSError, match=r'gone\.pth: got .*404.*correct the address'):
        checkpoints.load_checkpoint_file(f'{url}/gone.pth')
    (folder / 'empty.pth').write_bytes(b'')
    with pytest.raises(ValueError, match=r'after deleting .*empty\.pth'):
        checkpoints.load_checkpoint_file(f'{url}/empty.pth')


def test_schemes_that_lead_to_http(server, tmp_path, monkeypatch):
    url, folder, _ = server
    hostile('os.system', tmp_path / 'was_run', folder / 'bad.pth')
    known = dict(a=f'{url}/bad.pth')
    monkeypatch.setattr(mmengine_checkpoint, 'get_torchvision_models', lambda: known)
    with pytest.raises(checkpoints.UnsafeCheckpointError):
        CheckpointLoader.load_checkpoint('torchvision://a')
    assert not (tmp_path / 'was_run').exists()


# --- Without CUDA

VARIABLES = ('RANK', 'LOCAL_RANK', 'WORLD_SIZE', 'MASTER_ADDR', 'MASTER_PORT')


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def clean_env(monkeypatch):
    """No launcher's variables; those that init_dist sets are gone afterwards, as is its group."""
    for name in (*VARIABLES, *(n for n in os.environ if n.startswith(('SLURM_', 'OMPI_')))):
        monkeypatch.setenv(name, '')  # so that it is restored
        monkeypatch.delenv(name)
    yield monkeypatch
    if dist.is_initialized():
        dist.destroy_process_group()


def test_launcher_none_starts_nothing(clean_env):
    compat.init_dist('none', backend='nccl')
    assert not dist.is_initialized()


def test_with_cuda_it_is_left_to_mmengine(clean_env):
    clean_env.setattr(torch.cuda, 'is_available', lambda: True)
    compat.init_dist('pytorch', backend='nccl')
    assert not dist.is_initialized()
    cfg = Config(dict(sync_bn='torch', optim_wrapper=dict(type='AmpOptimWrapper')))
    assert compat.adapt_cfg_to_cpu(cfg, 'pytorch') is cfg


def test_launcher_errors(clean_env):
    with pytest.raises(ValueError, match="launcher='ssh'.*none, pytorch, slurm, mpi"):
        compat.init_dist('ssh')
    with pytest.raises(ValueError, match='got no RANK in the environment.*torchrun'):
        compat.init_dist('pytorch')
    for name in ('RANK', 'LOCAL_RANK', 'SIZE'):
        clean_env.setenv(f'OMPI_COMM_WORLD_{name}', '0')
    with pytest.raises(ValueError, match='got no MASTER_ADDR'):
        compat.init_dist('mpi')


def test_mpi(clean_env):
    for name, value in dict(RANK=0, LOCAL_RANK=0, SIZE=1).items():
        clean_env.setenv(f'OMPI_COMM_WORLD_{name}', str(value))
    clean_env.setenv('MASTER_ADDR', '127.0.0.1')
    clean_env.setenv('MASTER_PORT', free_port())
    compat.init_dist('mpi', backend='nccl', timeout=60)
    assert dist.get_backend() == 'gloo' and dist.get_world_size() == 1
    assert os.environ['LOCAL_RANK'] == '0'


@pytest.mark.parametrize('given', ['nothing', 'address', 'port'])
def test_slurm(clean_env, tmp_path, given):
    scontrol = tmp_path / 'scontrol'
    scontrol.write_text(
        '#!/bin/sh\n[ "$*" = "show hostname node[1-2]" ] && printf "localhost\\nnode2\\n"\n'
    )
    scontrol.chmod(scontrol.stat().st_mode | stat.S_IXUSR)
    for name, value in dict(PROCID=0, LOCALID=0, NTASKS=1, NODELIST='node[1-2]').items():
        clean_env.setenv(f'SLURM_{name}', str(value))
    seen = {}
    clean_env.setattr(
        dist,
        'init_process_group',
        lambda backend, **kw: seen.update(
            {name: os.environ[name] for name in VARIABLES}, backend=backend, **kw
        ),
    )
    options = {}
    if given == 'address':
        clean_env.setenv('MASTER_ADDR', '10.0.0.1')
        clean_env.setenv('MASTER_PORT', '1234')
    else:
        clean_env.setenv('PATH', str(tmp_path), prepend=os.pathsep)
        if given == 'port':
            options['port'] = 4321
    compat.init_dist('slurm', backend='nccl', timeout=5, **options)
    assert seen == dict(
        RANK='0',
        LOCAL_RANK='0',
        WORLD_SIZE='1',
        backend='gloo',
        timeout=datetime.timedelta(seconds=5),
        MASTER_ADDR='10.0.0.1' if given == 'address' else 'localhost',
        MASTER_PORT=dict(nothing='29500', address='1234', port='4321')[given],
    )


def test_slurm_without_scontrol(clean_env, tmp_path):
    for name in ('PROCID', 'LOCALID', 'NTASKS', 'NODELIST'):
        clean_env.setenv(f'SLURM_{name}', '0')
    clean_env.setenv('PATH', str(tmp_path))
    with pytest.raises(ValueError, match='`scontrol show hostname 0`.*set MASTER_ADDR'):
        compat.init_dist('slurm')


def two_processes(rank, port, work_dir):
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE='2',
        MASTER_ADDR='127.0.0.1',
        MASTER_PORT=port,
    )
    torch.set_num_threads(1)
    compat.init_dist('pytorch', backend='nccl', timeout=60)
    assert dist.get_backend() == 'gloo' and dist.get_world_size() == 2
    cfg = toy_cfg(
        work_dir,
        launcher='pytorch',
        sync_bn='torch',
        env_cfg=dict(dist_cfg=dict(backend='nccl')),
        model_wrapper_cfg=None,
    )
    cfg.optim_wrapper.update(type='AmpOptimWrapper', loss_scale=512.0)
    runner = train(cfg)
    assert isinstance(runner.model, MMDistributedDataParallel)
    assert runner.model.device_ids is None and not runner.model.broadcast_buffers
    assert type(runner.optim_wrapper).__name__ == 'CPUAmpOptimWrapper'
    assert runner.model.module.dtype == torch.bfloat16
    weights = torch.cat([p.detach().flatten() for p in runner.model.parameters()])
    both = [torch.zeros_like(weights) for _ in range(2)]
    dist.all_gather(both, weights)
    assert torch.equal(*both)  # gradients were averaged: each rank saw other vectors
    dist.barrier()  # a process that leaves early aborts the other
    dist.destroy_process_group()


def test_training_on_two_cpu_processes(tmp_path):
    mp.spawn(two_processes, (free_port(), str(tmp_path)), nprocs=2)
    check = checkpoints.load_checkpoint_file(tmp_path / 'iter_2.pth')
    assert all(v.dtype != torch.bfloat16 for v in check['state_dict'].values())


def test_adapt_cfg_to_cpu():
    cfg = Config(
        dict(
            model=dict(
                backbone=dict(norm_cfg=dict(type='SyncBN', requires_grad=True)),
                necks=[dict(norm_cfg=dict(type='mmcv.SyncBN')), dict(norm_cfg=dict(type='GN'))],
                heads=({'norm': dict(type=nn.SyncBatchNorm)},),
            ),
            sync_bn='torch',
            find_unused_parameters=True,
            optim_wrapper=dict(
                type='AmpOptimWrapper',
                loss_scale='dynamic',
                dtype='float16',
                use_fsdp=False,
                optimizer=dict(type='SGD', lr=0.1),
            ),
            env_cfg=dict(
                cudnn_benchmark=True,
                dist_cfg=dict(backend='nccl', timeout=7),
                mp_cfg=dict(opencv_num_threads=0),
            ),
        )
    )
    before = cfg.to_dict()
    got = compat.adapt_cfg_to_cpu(cfg, 'pytorch')
    assert cfg.to_dict() == before  # the caller's stays
    assert got.model.backbone.norm_cfg == dict(type='BN', requires_grad=True)
    assert [neck.norm_cfg.type for neck in got.model.necks] == ['BN', 'GN']
    assert got.model.heads[0]['norm']['type'] == 'BN'
    assert 'sync_bn' not in got
    assert got.model_wrapper_cfg == dict(
        type='MMDistributedDataParallel',
        device_ids=None,
        broadcast_buffers=False,
        find_unused_parameters=True,
    )
    assert got.optim_wrapper == dict(type='CPUAmpOptimWrapper', optimizer=dict(type='SGD', lr=0.1))
    assert got.env_cfg == dict(
        cudnn_benchmark=False,
        dist_cfg=dict(backend='gloo', timeout=7),
        mp_cfg=dict(opencv_num_threads=0),
    )
    again = compat.adapt_cfg_to_cpu(got, 'pytorch')
    assert again.to_dict() == got.to_dict()


def test_adapt_says_what_differs_in_one_line_each(monkeypatch):
    lines = []
    monkeypatch.setattr(compat, 'print_log', lambda line, **kwargs: lines.append(line))
    cfg = Config(
        dict(
            model=dict(norm_cfg=dict(type='SyncBN'), other=dict(type='SyncBN')),
            optim_wrapper=dict(type='AmpOptimWrapper', loss_scale=512.0),
        )
    )
    got = compat.adapt_cfg_to_cpu(cfg, 'none')
    assert len(lines) == 2 and 'SyncBN' in lines[0] and 'loss_scale=512.0' in lines[1]
    assert 'model_wrapper_cfg' not in got
    compat.adapt_cfg_to_cpu(Config(dict(model=dict(type='BN'))), 'none')
    assert len(lines) == 2


def test_adapt_keeps_a_users_wrapper():
    own = dict(type='MMSeparateDistributedDataParallel', broadcast_buffers=True, device_ids=[0])
    got = compat.adapt_cfg_to_cpu(Config(dict(model_wrapper_cfg=own)), 'slurm')
    assert got.model_wrapper_cfg == dict(own, device_ids=None)


def test_cpu_amp_optim_wrapper():
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    wrapper = OPTIM_WRAPPERS.build(
        dict(type='CPUAmpOptimWrapper', optimizer=torch.optim.SGD(model.parameters(), lr=0.5))
    )
    x = torch.randn(8, 4)
    exact = model(x).square().mean()
    expected = [
        p - 0.5 * g
        for p, g in zip(
            model.parameters(), torch.autograd.grad(exact, model.parameters()), strict=True
        )
    ]
    seen = []
    with wrapper.optim_context(model):
        out = model(x)
        loss = out.float().square().mean()
    out.register_hook(lambda grad: seen.append(torch.is_autocast_enabled('cpu')))
    wrapper.update_params(loss)
    assert out.dtype == torch.bfloat16 and loss.dtype == torch.float32
    assert seen == [False]  # backward runs outside autocast
    for got, want in zip(model.parameters(), expected, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got, want, rtol=0.02, atol=0.01)
    # a run that began with CUDA goes on here
    state = wrapper.state_dict()
    wrapper.load_state_dict(dict(state, loss_scaler=dict(scale=512.0)))


def test_fp16_of_a_test_loop_is_bf16_on_the_cpu():
    with autocast(enabled=True):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.bfloat16
    with autocast(enabled=False):
        assert nn.Linear(2, 2)(torch.ones(1, 2)).dtype == torch.float32


def test_syncbn_by_default_takes_vectors_on_the_cpu():
    from mmpretrain.models import NonLinearNeck

    compat.adapt_cfg_to_cpu(Config(dict()), 'pytorch')
    neck = NonLinearNeck(2, hid_channels=4, out_channels=2, with_avg_pool=False)
    reference = nn.Sequential(neck.fc0, nn.BatchNorm1d(4), nn.ReLU(), neck.fc1, nn.BatchNorm1d(2))
    x = torch.randn(5, 2)
    torch.testing.assert_close(neck((x,))[0], reference(x))
    assert set(neck.state_dict()) >= {'bn0.weight', 'bn0.running_mean'}


def test_import_says_nothing_on_standard_output():
    result = subprocess.run(
        [sys.executable, '-W', 'ignore', '-c', 'import abaw_mm'],
        text=True,
        capture_output=True,
        check=True,
    )
    assert result.stdout == ''


def test_a_plain_pickle_of_another_protocol_is_told_in_one_line(tmp_path):
    path = tmp_path / 'plain.pth'
    path.write_bytes(pickle.dumps(dict(state_dict=dict(a=1)), protocol=4))
    with pytest.raises(
        checkpoints.UnsafeCheckpointError, match='asks for pickle protocol 4,'
    ) as error:
        checkpoints.load_checkpoint_file(path)
    assert '\n' not in str(error.value) and 'set to `False`' not in str(error.value)


def test_no_warning_of_mmcv_lite_but_all_others():
    code = (
        'import warnings, abaw_mm\n'
        'warnings.warn("another of ``MultiScaleDeformableAttention``")\n'
        'warnings.warn("Fail to import ``MultiScaleDeformableAttention`` here")\n'
    )
    result = subprocess.run(
        [sys.executable, '-W', 'always', '-c', code], text=True, capture_output=True, check=True
    )
    assert 'mmcv-lite' not in result.stderr
    assert 'another of' in result.stderr and 'Attention`` here' in result.stderr
