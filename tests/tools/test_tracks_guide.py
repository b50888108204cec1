"""The commands and the configs of docs/tracks.md, in its order."""

import os
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest
import torch
from compose_video import compose, draw_faces, stay, write_video
from conftest import write_features
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image
from test_train_and_test import run

from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.score_tracks import score_annotated

pytestmark = pytest.mark.slow
SIZES = '--train-clips 4 --val-clips 2 --test-clips 1 --frames 40 --size 64'
SMALL = """
_base_ = [{base!r}]
loader = dict(batch_size=4, num_workers=0, persistent_workers=False)
train_dataloader, val_dataloader, test_dataloader = loader, loader, loader
data_preprocessor = dict(crop_size=64, resize_edge=64)  # 2x2 cells
model = dict(neck=dict(kernel_sizes=(1, 2)), head=dict(in_channels=256))
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
"""
FEATURES = """
loader = dict(batch_size=4, num_workers=0, persistent_workers=False)
train_dataloader.update(loader)
val_dataloader.update(loader)
train_dataloader['dataset'].update(feature_dir='features')
val_dataloader['dataset'].update(feature_dir='features')
model.update(backbone=dict(in_channels=6))
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks['checkpoint'].update(interval=2)
"""


@pytest.fixture
def page(repo):
    return (repo / 'docs/tracks.md').read_text()


@pytest.fixture
def place(tmp_path, monkeypatch, repo):
    """Go to a folder with demo data, small configs, two photos and a video."""
    monkeypatch.chdir(tmp_path)
    command = [sys.executable, repo / 'demo/make_demo_data.py', 'data/affwild2', *SIZES.split()]
    subprocess.run([*map(str, command)], check=True, stdout=subprocess.PIPE)
    images = compose(draw_faces(1, seed=1), [stay(6, 160, 120, 120)]).images
    write_video(tmp_path / 'talk.mp4', images)
    (tmp_path / 'photos').mkdir()
    for name, image in zip('ab', images[::3], strict=False):
        Image.fromarray(np.asarray(image)).save(tmp_path / f'photos/{name}.png')
    return tmp_path


@pytest.mark.parametrize('task', ['va', 'au', 'mtl'])
def test_commands(page, place, repo, run_tool, task):
    section = page.partition('## Commands')[2].partition('\n## ')[0]
    (block,) = re.findall(r'```bash\n(.*?)```', section, re.S)
    lines = re.sub('(?<![a-z])va(?![a-z])', task, block.replace('\\\n', ' ')).splitlines()
    assert len(lines) == 7
    (place / 'configs').mkdir()
    config = f'configs/res18_srp_{task}.py'
    base = os.path.relpath(repo / config, place / 'configs')
    (place / config).write_text(SMALL.format(base=base))
    checkpoint = f'work_dirs/res18_srp_{task}/iter_2.pth'
    for line in lines[1:]:
        python, tool, *words = shlex.split(line.replace('CHECKPOINT', checkpoint))
        if python == 'bash':
            run(tool.removeprefix('tools/'), *words, cwd=place)
            continue
        small = ['--folds', 2] if 'search' in tool or 'cross' in tool else []
        status, _, error = run_tool(tool.removeprefix('tools/'), *words, *small)
        assert status in (0, None), f'{line}\n{error}'
    scored = Predictions.read('scores.npz')
    assert scored.task == task
    folds = Predictions.read(f'work_dirs/{task}_folds/out_of_fold.npz')
    assert folds.task == task and set(scored.clips) < set(folds.clips)
    assert np.isfinite([*score_annotated(folds).values()]).all()
    columns = dict(va=['valence', 'arousal'], au=['AU01', 'AU26'], mtl=['arousal', 'AU12', 'fear'])
    for table in ('photos.csv', 'talk/talk.csv'):
        header = (place / table).read_text().partition('\n')[0].split(',')
        assert set(columns[task]) <= set(header), table


@pytest.mark.parametrize('number', [0, 1])
def test_configs_over_features(page, place, repo, number):
    text = re.findall(r'```python\n(.*?)```', page, re.S)[number]
    task = ('va', 'au')[number]
    write_features(place / 'features', place / 'data/affwild2')
    (place / 'configs').symlink_to(repo / 'configs')
    (place / 'mine.py').write_text(text + FEATURES)
    run('dist_train.sh', 'mine.py', 2, '--work-dir', 'run', cwd=place)
    checkpoint = place / 'run/iter_2.pth'
    run('test.py', 'mine.py', checkpoint, '--out', 'scores.npz', cwd=place)
    scored = Predictions.read(place / 'scores.npz')
    assert scored.task == task
    cfg = Config.fromfile('mine.py')
    state = torch.load(checkpoint, weights_only=False)['state_dict']
    MODELS.build(cfg.model).load_state_dict(state)
    name = dict(va='ccc', au='mean_f1')[task]
    assert list((place / 'run').glob(f'best_affwild2_{name}_iter_*.pth'))
    if task == 'au':
        assert 'class_frequency' in cfg.default_hooks
