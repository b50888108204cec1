"""From a file of features to a report, by the commands of docs/features.md."""

import pickle
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from conftest import write_clip

from abaw_mm.evaluation import Predictions

SPEED = """
train_cfg = dict(max_iters=2, val_interval=2)
default_hooks = dict(checkpoint=dict(interval=2))
train_dataloader.update(num_workers=0, persistent_workers=False)
val_dataloader.update(num_workers=0, persistent_workers=False)
"""


@pytest.mark.slow
def test_commands_of_features_md(tmp_path, repo, monkeypatch, run_tool):
    section = (repo / 'docs/features.md').read_text().partition('## From your features')[2]
    blocks = re.findall(r'```(\w+)\n(.*?)```', section, re.S)
    assert [kind for kind, _ in blocks] == ['python', 'bash']
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'mlp_mine.py').write_text(blocks[0][1].replace('1280', '5') + SPEED)
    rng = np.random.default_rng(0)
    rows = {}
    for split, clips in (('Train_Set', 'ab'), ('Validation_Set', 'cd')):
        for clip in clips:
            labels = rng.integers(0, 8, 40).tolist()
            write_clip(tmp_path / 'data/affwild2', split, clip, labels, missing=range(1, 41))
            for number in range(1, 41):
                rows[f'{clip}/{number:05d}.jpg'] = rng.normal(size=5).astype(np.float32)
    (tmp_path / 'enet_b0.pickle').write_bytes(pickle.dumps(rows))
    commands = [shlex.split(line, comments=True) for line in blocks[1][1].splitlines()]
    assert len(commands) == 4
    for python, tool, *arguments in commands:
        assert python == 'python'
        arguments = [
            str(next(Path().glob(argument))) if '*' in argument else argument
            for argument in arguments
        ]
        status, _, error = run_tool(tool.removeprefix('tools/'), *arguments)
        assert status == 0, error
    assert len(Predictions.read('mine.npz')) == 80
    assert 'macro-F1' in (tmp_path / 'mine.html').read_text()
