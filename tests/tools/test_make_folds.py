"""tools/dataset_converters/make_folds.py, and a config that trains on a fold."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mmpretrain.registry import DATASETS

REPO = Path(__file__).parents[2]
TOOL = 'dataset_converters/make_folds.py'


@pytest.fixture
def root(tmp_path, make_clip):
    """Six videos in two splits; video0 is in both."""
    root = tmp_path / 'affwild2'
    for i in range(4):
        make_clip(root, 'Train_Set', f'video{i}', [i, i, i + 1, -1] * 4, size=32)
    make_clip(root, 'Validation_Set', 'video0_left', [7] * 8, size=32)
    make_clip(root, 'Validation_Set', 'video9', [5, 6, 7, 0] * 4, size=32)
    make_clip(root, 'Validation_Set', 'video9_right', [-1] * 8, size=32)
    return root


def test_lists_and_counts(root, run_tool):
    status, out, _ = run_tool(TOOL, root, '--folds', 2, '--out', root / 'folds')
    assert status == 0
    lists = {p.name: p.read_text().split() for p in (root / 'folds').iterdir()}
    assert sorted(lists) == [f'fold{i}of2_{name}.txt' for i in (0, 1) for name in ('train', 'val')]
    assert lists['fold0of2_train.txt'] == lists['fold1of2_val.txt']
    assert sorted(lists['fold0of2_val.txt'] + lists['fold0of2_train.txt']) == [
        'video0',
        'video0_left',
        'video1',
        'video2',
        'video3',
        'video9',
    ]
    rows = [line.split('|')[1:-1] for line in out.splitlines() if re.match(r'\| [01] ', line)]
    counts = [[int(cell) for cell in row] for row in rows]
    # Each training clip has 12 labelled frames: 8 of its class, 4 of the next.
    assert [sum(column) for column in zip(*counts, strict=True)][3:] == [
        8 + 4,
        4 + 8,
        4 + 8,
        4 + 8,
        4,
        4,
        4,
        8 + 4,
    ]
    assert "1 clips without labels are in no fold: 'video9_right'" in out


def test_train_only_leaves_out_the_validation_set(root, run_tool):
    status, out, _ = run_tool(TOOL, root, '--folds', 4, '--train-only')
    assert status == 0 and 'note: fold 0 has no frame of' in out
    assert (root / 'folds/fold3of4_val.txt').is_file()
    clips = ''.join(p.read_text() for p in (root / 'folds').glob('*_val.txt')).split()
    assert sorted(clips) == ['video0', 'video1', 'video2', 'video3']


def test_user_errors(root, run_tool):
    status, _, error = run_tool(TOOL, root, '--folds', 6)
    assert status == 1 and '--folds: got 6, expected 2 to 5' in error
    status, _, error = run_tool(TOOL, root / 'folds')
    assert status == 1 and "got no annotations of 'train', 'val'" in error
    assert not (root / 'folds').exists()


@pytest.mark.slow
def test_config_of_the_docs_trains_on_a_fold(root, tmp_path, run_tool):
    run_tool(TOOL, root)
    (text,) = re.findall(
        r'```python\n(_base_[^`]*?fold0of5_[^`]*)```', (REPO / 'docs/data.md').read_text()
    )
    config = tmp_path / 'fold.py'
    text = text.replace('res50', 'res18')
    for name in ('train', 'val'):
        text += f'{name}_dataloader.update(batch_size=4, num_workers=0, persistent_workers=False)\n'
        text += f"{name}_dataloader['dataset']['data_root'] = {str(root)!r}\n"
    text += 'train_cfg = dict(max_iters=1, val_interval=1)\n'
    config.write_text(text)
    result = subprocess.run(
        [sys.executable, REPO / 'tools/train.py', config, '--work-dir', tmp_path / 'run'],
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        env={**os.environ, 'PYTHONPATH': str(REPO), 'OMP_NUM_THREADS': '1'},
    )
    assert result.returncode == 0, result.stdout[-3000:]
    clips = [
        len((root / f'folds/fold0of5_{name}.txt').read_text().split()) for name in ('train', 'val')
    ]
    assert sum(clips) == 6
    for number in clips:
        assert f'Validation_Set: {number} clips' in result.stdout
    assert '\nmacro-F1 ' in result.stdout


def test_clip_in_two_folders_is_refused(root, make_clip):
    make_clip(root, 'Validation_Set', 'video1', [0])
    folders = [f'annotations/EXPR_Recognition_Challenge/{x}_Set' for x in ('Train', 'Validation')]
    dataset = dict(type='AffWild2Dataset', data_root=str(root))
    with pytest.raises(ValueError, match="clip 'video1' twice, .*Train_Set.*Validation_Set"):
        DATASETS.build(dict(dataset, ann_file=folders))
    with pytest.raises(FileNotFoundError, match="no folder or file '.*gone'"):
        DATASETS.build(dict(dataset, ann_file=[folders[0], 'gone']))
    with pytest.raises(ValueError, match=r'ann_file=\[\], expected one or several folders'):
        DATASETS.build(dict(dataset, ann_file=[]))
    (root / folders[1] / 'video1.txt').unlink()
    both = DATASETS.build(dict(dataset, ann_file=folders, clips=['video2', 'video9']))
    assert both.frames.clips == ['video2', 'video9'] and len(both) == 12 + 16


@pytest.mark.parametrize('task', ['va', 'au', 'mtl'])
def test_folds_of_other_tracks(tmp_path, run_tool, task):
    folder = dict(va='VA_Estimation_Challenge', au='AU_Detection_Challenge', mtl='MTL_Challenge')
    edition = tmp_path / 'annotations' / folder[task]
    units = 'AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26'
    rows = {
        'va': ['0.5,0.25', '-0.5,0.5', '-5,-5'],
        'au': [','.join('100000000000'), ','.join('000000100000'), ','.join(['-1'] * 12)],
        'mtl': ['0.5,0.5,-1,' + ','.join(['-1'] * 12), '-5,-5,3,' + ','.join('000000100000')],
    }[task]
    for split, clips in dict(Train_Set='abcd', Validation_Set='ef').items():
        if task == 'mtl':
            edition.mkdir(parents=True, exist_ok=True)
            lines = [f'{c}/{n + 1:05d}.jpg,{row}' for c in clips for n, row in enumerate(rows)]
            stem = dict(Train_Set='training_set', Validation_Set='validation_set')[split]
            (edition / f'{stem}_annotations.txt').write_text('\n'.join(['image,...', *lines]))
            continue
        (edition / split).mkdir(parents=True)
        for clip in clips:
            lines = [dict(va='valence,arousal', au=units)[task], *rows]
            (edition / split / f'{clip}.txt').write_text('\n'.join(lines))
    status, out, _ = run_tool(TOOL, tmp_path, '--task', task, '--folds', 3)
    assert status == 0 and 'of 6 clips in' in out
    lists = [(tmp_path / f'folds/fold{i}of3_val.txt').read_text().split() for i in range(3)]
    assert sorted(sum(lists, [])) == list('abcdef') and [len(part) for part in lists] == [2, 2, 2]
    status, _, error = run_tool(TOOL, tmp_path)
    assert status == 1 and 'EXPR_Recognition_Challenge' in error
