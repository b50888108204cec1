"""The commands of docs/winning.md, in its order."""

import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_clip
from mmpretrain.registry import MODELS
from sklearn.metrics import f1_score

from abaw_mm.evaluation import Predictions

SPEED = """
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
train_dataloader.update(num_workers=0, persistent_workers=False)
val_dataloader.update(num_workers=0, persistent_workers=False)
"""
SMALL = {  # flags that make the commands small
    'make_demo_sound.py': '--train-clips 4 --val-clips 2 --test-clips 1 --frames 80 --size 32',
    'cross_validate.py': '--folds 2',
}


def check_score(page, path):
    """Compare the score in the title of a report with scikit-learn's."""
    scored = Predictions.read(path)
    f1 = f1_score(scored['gt_label'], scored['pred_label'], labels=range(8), average='macro')
    (title,) = re.findall(r'macro-F1 ([\d.]+)</title>', Path(page).read_text())
    assert float(title) == pytest.approx(100 * f1, abs=0.06)


def read_page(repo, title):
    """Return the config and the commands, in words, of a section."""
    section = (
        (repo / 'docs/winning.md').read_text().partition(f'## {title}')[2].partition('\n## ')[0]
    )
    blocks = re.findall(r'```(\w+)\n(.*?)```', section, re.S)
    (config,) = [text for kind, text in blocks if kind == 'python']
    bash = ''.join(text for kind, text in blocks if kind == 'bash').replace('\\\n', '')
    commands = [shlex.split(line) for line in bash.splitlines()]
    assert all(python == 'python' for python, *_ in commands)
    return config, [words[1:] for words in commands]


def run(run_tool, tool, *words):
    words = [str(next(Path().glob(word))) if '*' in word else word for word in words]
    words += shlex.split(SMALL.get(Path(tool).name, ''))
    status, out, error = run_tool(f'../{tool}', *words)
    assert status == 0, error
    return out


@pytest.mark.parametrize('title', ['From your features', 'From videos'])
def test_flags_of_the_page_exist(title, repo, run_tool, monkeypatch):
    monkeypatch.syspath_prepend(repo / 'demo')
    _, commands = read_page(repo, title)
    for tool, *words in commands:
        text = run_tool(f'../{tool}', '--help')[1]
        for flag in (word for word in words if word.startswith('--')):
            assert flag in text, f'{tool} {flag}'


@pytest.mark.slow
def test_features_of_others_become_a_report(tmp_path, repo, monkeypatch, run_tool):
    config, commands = read_page(repo, 'From your features')
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mlp_mine.py').write_text(config.replace('1280', '5') + SPEED)
    rng = np.random.default_rng(0)
    rows = {}
    for split, clips in (('Train_Set', 'ab'), ('Validation_Set', 'cd')):
        for clip in clips:
            labels = rng.integers(0, 8, 40).tolist()
            write_clip(tmp_path / 'data/affwild2', split, clip, labels, missing=range(1, 41))
            for number in range(1, 41):
                rows[f'{clip}/{number:05d}.jpg'] = rng.normal(size=5).astype(np.float32)
    (tmp_path / 'enet_b0.pickle').write_bytes(pickle.dumps(rows))
    assert len(commands) == 4
    for words in [commands[-1], *commands[:-1]]:
        run(run_tool, *words)
    assert len(Predictions.read('mine.npz')) == 80
    check_score('mine.html', 'mine.npz')


@pytest.mark.slow
def test_videos_become_a_submission(tmp_path, repo, monkeypatch, run_tool):
    pytest.importorskip('av')
    config, commands = read_page(repo, 'From videos')
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(repo / 'demo')
    (tmp_path / 'configs').symlink_to(repo / 'configs')
    (tmp_path / 'av_mine.py').write_text(config + SPEED)
    torch.save(MODELS.build(dict(type='ResNet', depth=18)).state_dict(), 'SSL.pth')
    for words in commands:
        run(run_tool, *words)
    test_set = Predictions.read('work_dirs/folds/test_set.npz')
    assert len(test_set) == 80 and 'mean of 2' in str(test_set.steps)
    assert len(Path('predictions.txt').read_text().splitlines()) == 81
    labelled = sum(
        int(line) >= 0
        for path in Path('data/affwild2/annotations').glob('*/*/*.txt')
        for line in path.read_text().splitlines()[1:]
    )
    assert len(Predictions.read('work_dirs/folds/out_of_fold.npz')) == labelled
    check_score('folds.html', 'work_dirs/folds/out_of_fold.npz')
