"""The configs of the VA, AU and multi-task tracks train, resume bit-equal and score."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from devices import on_gpu
from mmengine.config import Config
from mmengine.runner import Runner

from abaw_mm import compat
from abaw_mm.apis.build_runner import build_runner
from abaw_mm.apis.config import load_config, set_loader_flags
from abaw_mm.apis.test import test as run_test
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.metrics import CCC, MultiTaskScore

CONFIGS = sorted((Path(__file__).parents[1] / 'configs').glob('*.py'))
TRACKS = [path for path in CONFIGS if re.search('_(va|au|mtl)$', path.stem)]
SCORES = dict(va='ccc', au='mean_f1', mtl='p_score')


@pytest.fixture
def tracks(tiny, annotate_tracks):
    annotate_tracks(tiny)
    return tiny


@pytest.fixture
def make_small(tracks, make_features, tmp_path):
    """Return a function that loads a config and makes it tiny."""

    def load(path, work_dir):
        cfg = load_config(str(path), work_dir=str(work_dir))
        for name in ('train', 'val', 'test'):
            loader = cfg[f'{name}_dataloader']
            loader.dataset.data_root = str(tracks)
            loader.update(num_workers=0, batch_size=4)
            if 'feature_dir' in loader.dataset:
                loader.dataset.feature_dir = str(tmp_path / 'features')
        if 'temporal' in path.stem:
            cfg.model.backbone.update(in_channels=6, channels=8)
            cfg.model.head.in_channels = 8
        else:
            cfg.data_preprocessor.update(crop_size=64, resize_edge=64)  # 2x2 cells
            cfg.model.neck.kernel_sizes = (1, 2)
            cfg.model.head.in_channels = 256
        cfg.train_cfg.update(max_iters=4, val_interval=4)
        cfg.default_hooks.checkpoint.interval = 2
        set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
        return compat.adapt_cfg_to_cpu(cfg, 'none')

    make_features(tmp_path / 'features', tracks)
    return load


@pytest.mark.slow
@pytest.mark.parametrize('path', TRACKS, ids=lambda path: path.stem)
def test_track_config_resumes_bit_equal_and_scores(path, make_small, tmp_path):
    task = path.stem.rpartition('_')[2]
    runner = Runner.from_cfg(make_small(path, tmp_path / 'whole'))
    runner.train()
    assert list((tmp_path / 'whole').glob(f'best_affwild2_{SCORES[task]}_iter_4.pth'))
    assert runner.train_dataloader.dataset.metainfo['task'] == task
    if task != 'va':
        loss = getattr(runner.model.head, 'au', runner.model.head).loss_module
        assert len(loss.pos_weight) == 12 and max(loss.pos_weight) <= 10
    again = make_small(path, tmp_path / 'again')
    again.resume, again.load_from = True, str(tmp_path / 'whole/iter_2.pth')
    Runner.from_cfg(again).train()
    one, other = (
        torch.load(tmp_path / name / 'iter_4.pth', weights_only=False)['state_dict']
        for name in ('whole', 'again')
    )
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name
    tested = make_small(path, tmp_path / 'test')
    tested.load_from = str(tmp_path / 'whole/iter_4.pth')
    scores = Runner.from_cfg(tested).test()
    if task == 'mtl' and 'temporal' not in path.stem:  # 11 frames with a crop, one of them twice
        assert scores['affwild2/annotated']['va'] == 12
    assert np.isfinite(scores[f'affwild2/{SCORES[task]}'])


@pytest.mark.parametrize('path', on_gpu(TRACKS))
def test_track_config_trains_one_iteration_and_scores(path, make_small, tmp_path):
    cfg = make_small(path, tmp_path / 'run')
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    Runner.from_cfg(cfg).train()
    assert list((tmp_path / 'run').glob('best_affwild2_*_iter_1.pth'))


@pytest.mark.parametrize('task', [pytest.param('va', marks=pytest.mark.slow), 'mtl'])
def test_predictions_file_and_pictures(make_small, tmp_path, task):
    cfg = make_small(CONFIGS[0].parent / f'res18_srp_{task}.py', tmp_path / 'run')
    torch.save(dict(state_dict=Runner.from_cfg(cfg).model.state_dict()), tmp_path / 'm.pth')
    cfg.dump(tmp_path / 'own.py')
    out, shown = tmp_path / 'own.npz', tmp_path / 'shown'
    files = [str(tmp_path / name) for name in ('own.py', 'm.pth')]
    scores = run_test(*files, out=str(out), show_dir=str(shown), work_dir=str(tmp_path / 'run'))
    found = Predictions.read(out)
    repeated = len(found) - len(set(found.name_frames(np.arange(len(found)))))
    assert found.task == task and repeated == (task == 'mtl')  # one row is repeated
    assert len(list(shown.glob('*/*.png'))) == len(found) - repeated
    metric, key = (MultiTaskScore(), 'p_score') if task == 'mtl' else (CCC(), 'ccc')
    assert metric.score(found)[key] == pytest.approx(scores[f'affwild2/{key}'], abs=1e-9)


def test_head_of_another_track_is_refused(make_small, tmp_path):
    cfg = make_small(CONFIGS[0].parent / 'res18_srp_va.py', tmp_path / 'run')
    cfg.model.head.type = 'ActionUnitHead'
    with pytest.raises(InvalidValueError, match="got the task 'va' with a ActionUnitHead"):
        build_runner(cfg).train()


@pytest.mark.parametrize('path', TRACKS, ids=lambda path: path.stem)
def test_track_config_keeps_the_recipe(path):
    """Only annotations, head, score and the draw of the multi-task set differ."""
    name = re.sub('_(va|au|mtl)$', '_affwild2', path.stem)
    own, other = (Config.fromfile(path.parent / f'{stem}.py') for stem in (path.stem, name))
    for key in ('optim_wrapper', 'param_scheduler', 'train_cfg', 'data_preprocessor'):
        assert own[key] == other[key], key
    for key in ('backbone', 'neck'):
        assert own.model.get(key) == other.model.get(key)
    assert own.train_dataloader.batch_size == other.train_dataloader.batch_size
    assert own.default_hooks.checkpoint.rule == 'greater'
