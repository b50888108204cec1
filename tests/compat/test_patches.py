"""Each patch, on whichever of the two stacks is installed."""

import importlib.util
import resource
import signal
import subprocess
import sys
from pathlib import Path

import mmcv
import mmengine
import mmpretrain
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner import loops
from mmpretrain.models import AverageClsScoreTTA
from mmpretrain.structures import DataSample
from toy_runner import ToyModel, ToyVectors, toy_cfg, train_toy

from abaw_mm.checkpoints import use_safe_loading
from abaw_mm.compat import patches
from abaw_mm.errors import FileAccessError

MIM = Path(mmpretrain.__file__).parent / '.mim'


def run_python(code, warnings='ignore'):
    return subprocess.run(
        [sys.executable, '-W', warnings, '-c', code], text=True, capture_output=True, check=True
    )


def test_second_call_has_no_effect():
    def patched():
        return (
            mmcv.adjust_hue,
            mmengine.utils.is_installed,
            mmengine_checkpoint.torch,
            mmengine_checkpoint.load_from_local,
            loops.IterBasedTrainLoop.run,
        )

    before = patched()
    patches.apply_patches()
    use_safe_loading()
    assert patched() == before


@pytest.fixture
def small_files():
    """Let no file grow beyond 4 kB, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, ignored)


def test_mmengine_writes_whole_files_or_none(tmp_path, small_files):
    small, large = torch.zeros(1), torch.zeros(10_000)
    checkpoint, config = tmp_path / 'iter_1.pth', tmp_path / 'run/config.py'
    mmengine_checkpoint.save_checkpoint(dict(a=small), str(checkpoint))
    Config(dict(a='old')).dump(config)
    mmengine.dump(dict(a='old'), tmp_path / 'a.json')
    for write in (
        lambda: mmengine_checkpoint.save_checkpoint(dict(a=large), str(checkpoint)),
        lambda: Config(dict(a='new' * 10_000)).dump(config),
        lambda: mmengine.dump(dict(a='new' * 10_000), tmp_path / 'a.json'),
        lambda: mmcv.imwrite(
            np.random.default_rng(0).integers(0, 255, (99, 99, 3)), str(tmp_path / 'a.png')
        ),
    ):
        with pytest.raises(FileAccessError, match='cannot be written: .*File too large'):
            write()
    assert mmengine_checkpoint.load_checkpoint(torch.nn.Module(), str(checkpoint))['a'] == 0
    assert Config.fromfile(config).a == mmengine.load(tmp_path / 'a.json')['a'] == 'old'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['a.json', 'iter_1.pth', 'run']
    assert [path.name for path in config.parent.iterdir()] == ['config.py']


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
def test_torchvision_operators_are_defined_only_if_missing(monkeypatch, message, defined):
    failures, got = [RuntimeError(message)], []

    def fail_once(name):
        if failures:
            raise failures.pop()

    monkeypatch.setattr(patches, 'import_module', fail_once)
    monkeypatch.setattr(torch.library, 'define', lambda name, schema: got.append(name))
    if defined is None:
        with pytest.raises(RuntimeError, match=message):
            patches.patch_torchvision_import()
    else:
        patches.patch_torchvision_import()
        assert got == defined


def test_missing_torchvision_is_an_error_with_the_pip_command(monkeypatch):
    def fail(name):
        raise ModuleNotFoundError(name=name)

    monkeypatch.setattr(patches, 'import_module', fail)
    with pytest.raises(ImportError, match='pip install torchvision'):
        patches.patch_torchvision_import()


def test_packages_are_found_by_module_and_pypi_name():
    utils = mmengine.utils.package_utils
    for module in (utils, mmengine.utils, mmengine.config.config):
        assert module.is_installed('numpy') and not module.is_installed('no_such_package')
        assert module.get_installed_path('mmpretrain') == str(MIM.parent)
    assert utils.is_installed('opencv-python')  # by the name on PyPI
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
def test_hue_rotates_both_ways(backend, hue):
    import cv2
    from PIL import Image

    img = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)  # BGR
    steps = int(hue * 255)  # rounded towards 0, as mmcv does
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


def test_hue_out_of_range_is_an_error():
    with pytest.raises(ValueError, match='hue_factor'):
        mmcv.adjust_hue(np.zeros((1, 1, 3), np.uint8), -0.6)


def test_color_jitter_accepts_negative_hue():
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


def test_retrieval_metrics_compute_known_values():
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


def test_numpy_itself_is_not_changed():
    assert hasattr(np, 'in1d') == (tuple(map(int, np.__version__.split('.')[:2])) < (2, 4))


def test_import_prints_nothing_on_standard_output():
    assert run_python('import abaw_mm').stdout == ''


@pytest.mark.slow
def test_only_the_warning_of_mmcv_lite_is_suppressed():
    code = (
        'import warnings, abaw_mm\n'
        'warnings.warn("another of ``MultiScaleDeformableAttention``")\n'
        'warnings.warn("Fail to import ``MultiScaleDeformableAttention`` here")\n'
    )
    stderr = run_python(code, warnings='always').stderr
    assert 'mmcv-lite' not in stderr
    assert 'another of' in stderr and 'Attention`` here' in stderr


class IndexedVectors(ToyVectors):
    """Vectors that are returned with their index."""

    def __getitem__(self, index):
        return dict(x=torch.tensor([index, -1.0]), row=index)


DATASETS.register_module('IndexedVectors', module=IndexedVectors, force=True)


@pytest.mark.parametrize('workers', [0, 2])
def test_resume_continues_the_stream_of_an_infinite_sampler(tmp_path, monkeypatch, workers):
    """The resumed run sees the frames of an uninterrupted run, and reads no others."""
    seen, read = [], []

    def forward(self, x, row, mode='tensor'):
        seen.append(row.tolist())
        return dict(loss=self.neck((x,))[0].square().mean())

    get_item = IndexedVectors.__getitem__
    monkeypatch.setattr(ToyModel, 'forward', forward)
    monkeypatch.setattr(
        IndexedVectors, '__getitem__', lambda self, i: (read.append(i), get_item(self, i))[1]
    )

    def run(name, iters, **options):
        cfg = toy_cfg(tmp_path / name, iters=iters, randomness=dict(seed=0), **options)
        cfg.train_dataloader.dataset.type = 'IndexedVectors'
        cfg.train_dataloader.batch_size = 3
        cfg.train_dataloader.sampler.shuffle = True
        cfg.train_dataloader.update(num_workers=workers, persistent_workers=workers > 0)
        seen.clear(), read.clear()
        train_toy(cfg)
        return list(seen)

    whole = run('whole', 6)
    path = str(tmp_path / 'whole/iter_4.pth')
    assert run('parts', 6, resume=True, load_from=path) == whole[4:]
    if not workers:
        assert read == sum(whole[4:], [])


def test_averaged_scores_decide_the_label():
    one, two = DataSample().set_gt_label(1), DataSample().set_gt_label(1)
    one.set_pred_score(torch.tensor([0.6, 0.4])).set_pred_label(0)
    two.set_pred_score(torch.tensor([0.1, 0.9])).set_pred_label(1)
    merged = AverageClsScoreTTA._merge_single_sample(None, [one, two])
    assert merged.pred_score.tolist() == pytest.approx([0.35, 0.65])
    assert merged.pred_label.tolist() == [1] and merged.gt_label.tolist() == [1]


@pytest.mark.slow
def test_own_warnings_are_not_shown():
    """Those that a training starts with; others of the same kind are."""
    code = """
import warnings
warnings.simplefilter('default')
import abaw_mm
import mmcv, numpy as np
from mmengine.fileio import FileClient
from mmpretrain.datasets.transforms import ColorJitter
FileClient.infer_client(None, '.')
image = np.zeros((8, 8, 3), np.uint8)
for _ in range(20):
    ColorJitter(saturation=0.9)(dict(img=image))
warnings.warn('another warning')
"""
    result = run_python(code, 'default')
    text = result.stdout + result.stderr
    assert 'FileClient' not in text and 'HardDiskBackend' not in text
    assert "Only use 'alpha'" not in text and 'another warning' in text
