"""Each config of the VA, AU and multi-task tracks, by the commands that users type."""

import os
import re
import shutil

import numpy as np
import pytest
import torch
from conftest import write_clip, write_features, write_tracks
from test_train_and_test import REPO, run

from abaw_mm.datasets import FeatureFolder
from abaw_mm.datasets.annotations import LIST_HEADERS
from abaw_mm.evaluation import Predictions
from abaw_mm.structures.tasks import get_targets

CONFIGS = sorted(
    path for path in (REPO / 'configs').glob('*.py') if re.search('_(va|au|mtl)$', path.stem)
)
SMALL = """
dataset = dict(data_root={root!r})
loader = dict(batch_size=4, num_workers=0, persistent_workers=False, dataset=dataset)
train_dataloader, val_dataloader, test_dataloader = loader, loader, loader
train_cfg = dict(max_iters=4, val_interval=4)
default_hooks = dict(checkpoint=dict(interval=2))
"""
FRAMES = """
data_preprocessor = dict(crop_size=64, resize_edge=64)  # 2x2 cells
model = dict(neck=dict(kernel_sizes=(1, 2)), head=dict(in_channels=256))
"""
FEATURES = """
dataset.update(feature_dir={features!r})
model = dict(backbone=dict(in_channels=6, channels=8), head=dict(in_channels=8))
"""


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Clips that are annotated for all tracks, lists of frames, and features."""
    folder = tmp_path_factory.mktemp('tracks')
    root = folder / 'affwild2'
    rng = np.random.default_rng(0)
    for split, clips in (('Train_Set', 3), ('Validation_Set', 2)):
        for i in range(clips):
            labels = rng.integers(-1, 8, 13).tolist()
            write_clip(root, split, f'{split} {i}_left', labels, missing=(5,), size=32)
    write_tracks(root)
    rows = [f'Validation_Set {i}_left/{n:05d}.jpg,' for i in range(2) for n in range(1, 14)]
    for task, header in LIST_HEADERS.items():
        (root / f'{task}.txt').write_text('\n'.join([header, *rows]) + '\n')
    write_features(folder / 'features', root)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_trains_resumes_tests_and_submits_on_two_processes(data, path, tmp_path, run_tool):
    task = path.stem.rpartition('_')[2]
    config, root = tmp_path / 'mine.py', str(data / 'affwild2')
    kind = FEATURES.format(features=str(data / 'features')) if 'temporal' in path.stem else FRAMES
    base = os.path.relpath(path, tmp_path)
    config.write_text(f'_base_ = [{base!r}]\n' + SMALL.format(root=root) + kind)
    run('dist_train.sh', config, 2, '--work-dir', tmp_path / 'whole')
    (tmp_path / 'again').mkdir()
    shutil.copy(tmp_path / 'whole/iter_2.pth', tmp_path / 'again')
    log = run('dist_train.sh', config, 2, '--work-dir', tmp_path / 'again', '--resume').stdout
    assert 'iter: 2' in log
    one, other = (
        torch.load(tmp_path / name / 'iter_4.pth', weights_only=False)['state_dict']
        for name in ('whole', 'again')
    )
    assert one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)

    checkpoint, flags = tmp_path / 'whole/iter_4.pth', ['--work-dir', tmp_path / 'test', '--out']
    run('dist_test.sh', config, checkpoint, 2, *flags, tmp_path / 'two.npz')
    run('test.py', config, checkpoint, *flags, tmp_path / 'one.npz')
    two, one = (Predictions.read(tmp_path / f'{name}.npz') for name in ('two', 'one'))
    assert one.task == task and one.name_frames() == two.name_frames()
    for target in get_targets(task):
        np.testing.assert_array_equal(one[target.ground_truth], two[target.ground_truth])
        np.testing.assert_allclose(one[target.prediction], two[target.prediction], atol=1e-5)
    # 12 crops of 13 lines in each clip; the multi-task file repeats one, unless it is a feature.
    rows = 24 + (task == 'mtl' and 'temporal' not in path.stem)
    assert len(one) == rows

    frames = data / f'affwild2/{task}.txt'
    hidden = ['--cfg-options', f'test_dataloader.dataset.ann_file={frames}']
    run('test.py', config, checkpoint, *flags, tmp_path / 'list.npz', *hidden)
    made = ['--frames', frames, '--out', tmp_path / 'predictions.txt']
    status, _, error = run_tool('make_submission.py', tmp_path / 'list.npz', *made)
    assert status == 0, error
    check = ['--check', tmp_path / 'predictions.txt', '--frames', frames]
    assert run_tool('make_submission.py', *check)[0] == 0
    answers = (tmp_path / 'predictions.txt').read_text().splitlines()
    assert len(answers) == 27 and answers[0] == LIST_HEADERS[task]
    if 'temporal' in path.stem:
        return
    made = ['--out', tmp_path / 'features', '--layer', 'neck']
    status, _, error = run_tool('extract_features.py', config, checkpoint, *made)
    assert status in (0, None), error
    features = FeatureFolder.open(str(tmp_path / 'features'))
    assert len(features.index) == 60 and features.meta['dim'] == 256  # all crops of five clips
