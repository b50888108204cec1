"""Cross-validation: folds, resuming, merged predictions and their score."""

import json
import shutil

import numpy as np
import pytest
from conftest import HEADER, REPO, make_noisy_predictions, write_clip
from sklearn.metrics import f1_score
from test_sweep import TRAIN

from abaw_mm.datasets.annotations import read_annotation_folder
from abaw_mm.evaluation import Predictions
from abaw_mm.paper.cross_validation import merge_folds, score_folds
from abaw_mm.paper.work_dir import WorkDir

LABELS = {f'v{i}': [0, 1, 2, 3, 4, 5, 6, 7, -1][i % 3 :] for i in range(6)}
# A replacement for tools/test.py that takes milliseconds: frame n of a clip has class n % 8.
TEST = """
import sys
from pathlib import Path
import numpy as np
cfg = {}
exec(Path(sys.argv[1]).read_text(), cfg)
dataset = cfg['test_dataloader']['dataset']
rows = []
if dataset['clips'] is None:
    for row in Path(dataset['ann_file']).read_text().split()[1:]:
        clip, _, name = row.rstrip(',').rpartition('/')
        rows.append((clip, int(name[:-4]), -1))
else:
    for clip in Path(dataset['clips']).read_text().split():
        (path,) = [p for f in dataset['ann_file'] for p in Path(f).glob(clip + '.txt')]
        labels = map(int, path.read_text().splitlines()[1:])
        rows += [(clip, n, label) for n, label in enumerate(labels, 1) if label >= 0]
clip, frame_no, label = zip(*rows)
# On the test set, the models of the folds differ: that of fold n has class number + n.
shift = 0 if dataset['clips'] else int(Path(sys.argv[1]).parents[1].name[len('fold')])
np.savez(
    sys.argv[sys.argv.index('--out') + 1], clip=np.array(clip), frame_no=np.array(frame_no),
    gt_label=np.array(label), classes=np.array('CLASSES'.split(',')),
    pred_score=np.eye(8, dtype=np.float32)[(np.array(frame_no) + shift) % 8],
    sha256=np.array('ab'))
with open(Path(sys.argv[0]).with_name('tested'), 'a') as file:
    print(Path(dataset['clips'] or dataset['ann_file']).stem, file=file)
"""

# The same for the other tracks: predictions are functions of the frame number.
TEST_TRACK = """
import sys
from pathlib import Path
import numpy as np
cfg = {}
exec(Path(sys.argv[1]).read_text(), cfg)
dataset = cfg['test_dataloader']['dataset']
task = dataset['task']
clips, rows = Path(dataset['clips']).read_text().split(), []
for source in map(Path, dataset['ann_file']):
    for path in [source] if task == 'mtl' else source.glob('*.txt'):
        for number, line in enumerate(path.read_text().split()[1:], 1):
            clip, values = path.stem, line.split(',')
            if task == 'mtl':
                clip, _, name = values.pop(0).rpartition('/')
                number = int(name[:5])
            if clip in clips:
                rows.append((clip, number, [float(value) for value in values]))
clip, number, values = map(np.array, zip(*sorted(rows)))
columns = {}
if task != 'au':
    columns['gt_va'] = np.float32(values[:, :2])
    columns['pred_va'] = np.float32(np.stack([np.cos(number), np.sin(number)], axis=1))
if task == 'mtl':
    columns['gt_label'], columns['classes'] = values[:, 2].astype(int), 'CLASSES'.split(',')
    columns['pred_score'] = np.eye(8, dtype=np.float32)[number % 8]
    columns['sample_idx'] = np.arange(len(number))
if task != 'va':
    columns['gt_au'] = values[:, -12:].astype(int)
    columns['pred_au'] = np.float32(number[:, None] * np.arange(1, 13) % 10 / 10)
np.savez(sys.argv[sys.argv.index('--out') + 1], clip=clip, frame_no=number, sha256='ab', **columns)
"""


@pytest.fixture
def tools(tmp_path):
    """A repository with replaced tools, and data of six clips in two sets."""
    for clip, labels in LABELS.items():
        split = 'Train_Set' if clip < 'v4' else 'Validation_Set'
        write_clip(tmp_path / 'affwild2', split, clip, labels)
    tools = tmp_path / 'root/tools'
    tools.mkdir(parents=True)
    (tools / 'train.py').write_text(TRAIN.replace('SLEEP', '0'))
    (tools / 'test.py').write_text(TEST.replace('CLASSES', HEADER))
    shutil.copy(REPO / 'tools/cross_validate.py', tools)
    return tools


def test_one_command_trains_predicts_and_scores_all_folds(tools, tmp_path, run_tool, monkeypatch):
    config, work_dir = REPO / 'configs/res18_srp_demo.py', tmp_path / 'work'
    flags = ['--work-dir', work_dir, '--folds', 3, '--data-root', tmp_path / 'affwild2']
    command = (tools / 'cross_validate.py', config, *flags, '--cfg-options')
    status, _, error = run_tool(*command, 'train_cfg.max_iters=20', 'checkpoint=gone.pth')
    assert status == 1 and "checkpoint='gone.pth': no such file" in error
    status, out, error = run_tool(*command, 'train_cfg.max_iters=20')
    assert status == 0, error
    read = Predictions.read(work_dir / 'out_of_fold.npz')
    labels = read_annotation_folder([*(tmp_path / 'affwild2').glob('annotations/*/*')])
    expected = [
        (clip, n, label)
        for clip, values in labels.items()
        for n, label in enumerate(values.tolist(), 1)
        if label >= 0
    ]
    columns = (read.clip.tolist(), read.frame_no.tolist(), read['gt_label'].tolist())
    assert list(zip(*columns, strict=True)) == expected
    assert read.config == 'res18_srp_demo' and read.sha256 == 'ab+ab+ab'
    f1 = 100 * f1_score(read['gt_label'], read.frame_no % 8, labels=range(8), average='macro')
    scores = json.loads((work_dir / 'scores.json').read_text())
    assert scores['all']['macro_f1'] == pytest.approx(f1)
    assert f'macro-F1 (%) of all frames together {f1:.2f}; of' in out
    for number in range(3):
        lists = [work_dir / f'folds/fold{number}of3_{name}.txt' for name in ('train', 'val')]
        train, val = (path.read_text().split() for path in lists)
        assert sorted(train + val) == sorted(LABELS) and len(val) == 2
    tested = (tools / 'tested').read_text().split()
    assert tested == [f'fold{number}of3_val' for number in range(3)]

    (work_dir / 'fold1of3/seed0/result.json').unlink()
    (work_dir / 'fold1of3/seed0/predictions.npz').unlink()
    assert run_tool(*command, 'train_cfg.max_iters=20')[0] == 0
    assert (tools / 'tested').read_text().split() == [*tested, 'fold1of3_val']
    assert json.loads((work_dir / 'scores.json').read_text()) == scores
    status, _, error = run_tool(*command, 'train_cfg.max_iters=40')
    assert status == 1 and 'holds results of other settings' in error

    status, _, error = run_tool(*command, 'frame_stride=5')
    assert status == 1 and 'nothing reads frame_stride' in error
    listed = work_dir / 'folds/fold0of3_val.txt'
    listed.write_text('\n'.join(reversed(listed.read_text().split())) + '\n')
    before = listed.read_text()
    status, _, error = run_tool(*command, 'train_cfg.max_iters=20')
    assert status == 1 and 'other folds: fold0of3_val.txt has other clips; give the rec' in error
    assert listed.read_text() == before
    with WorkDir(work_dir, []).lock():
        status, _, error = run_tool(*command, 'train_cfg.max_iters=20')
    assert status == 1 and 'in use by the sweep' in error


@pytest.mark.slow
def test_the_models_of_all_folds_predict_a_test_set(tools, tmp_path, run_tool):
    config, work_dir = REPO / 'configs/res18_srp_demo.py', tmp_path / 'work'
    (tmp_path / 'list.txt').write_text(
        f'image_location,{HEADER}\n' + ''.join(f'x/{n:05d}.jpg,\n' for n in range(1, 10))
    )
    flags = ['--work-dir', work_dir, '--folds', 2, '--data-root', tmp_path / 'affwild2']
    command = (tools / 'cross_validate.py', config, *flags)
    options = ('--cfg-options', 'train_cfg.max_iters=20')
    status, out, error = run_tool(*command, '--test-set', tmp_path / 'list.txt', *options)
    assert status == 0, error
    assert '9 frames, mean of 2 models' in out.replace('\n', ' ')
    tested = ['fold0of2_val', 'fold1of2_val', 'list', 'list']
    assert (tools / 'tested').read_text().split() == tested
    mean = Predictions.read(work_dir / 'test_set.npz')
    expected = np.zeros((9, 8))
    for fold in range(2):
        expected[np.arange(9), (np.arange(1, 10) + fold) % 8] += 1 / 2
    np.testing.assert_allclose(mean['pred_score'], expected, atol=1e-6)
    assert mean.steps == ('mean of 2',) and mean.frame_no.tolist() == list(range(1, 10))

    assert run_tool(*command, '--test-set', tmp_path / 'list.txt', *options)[0] == 0
    assert (tools / 'tested').read_text().split() == tested  # done already
    (tmp_path / 'list.txt').rename(tmp_path / 'other.txt')
    assert run_tool(*command, '--test-set', tmp_path / 'other.txt', *options)[0] == 0
    assert (tools / 'tested').read_text().split()[-2:] == ['other'] * 2
    status, _, error = run_tool(*command, '--test-set', tmp_path / 'list.txt', *options)
    assert status == 1 and 'list.txt: no such file' in error
    (tmp_path / 'list.txt').write_text('damaged')
    status, _, error = run_tool(*command, '--test-set', tmp_path / 'list.txt', *options)
    assert status == 1 and 'test_set.log' in error


@pytest.mark.parametrize(
    'task',
    [pytest.param('va', marks=pytest.mark.slow), pytest.param('au', marks=pytest.mark.slow), 'mtl'],
)
def test_folds_of_each_track_are_scored_together(tools, tmp_path, run_tool, annotate_tracks, task):
    root, work_dir = tmp_path / 'affwild2', tmp_path / 'work'
    annotate_tracks(root)
    (tools / 'test.py').write_text(TEST_TRACK.replace('CLASSES', HEADER))
    config = REPO / f'configs/res18_srp_{task}.py'
    flags = ['--work-dir', work_dir, '--folds', 3, '--data-root', root]
    options = ('--cfg-options', 'train_cfg.max_iters=20')
    status, out, error = run_tool(tools / 'cross_validate.py', config, *flags, *options)
    assert status == 0, error
    read = Predictions.read(work_dir / 'out_of_fold.npz')
    rows = read_rows(root, task)
    assert list(zip(read.clip.tolist(), read.frame_no.tolist(), strict=True)) == [
        row[:2] for row in rows
    ]
    scores = json.loads((work_dir / 'scores.json').read_text())
    expected = score_rows(rows, task)
    name = dict(va='ccc', au='mean_f1', mtl='p_score')[task]
    assert scores['all'][name] == pytest.approx(expected)
    assert f'of all frames together {expected:{".2f" if task == "au" else ".4f"}}' in out
    each = []
    for number in range(3):
        clips = (work_dir / f'folds/fold{number}of3_val.txt').read_text().split()
        each.append(score_rows([row for row in rows if row[0] in clips], task))
    assert scores['folds'] == pytest.approx(each)
    if task == 'mtl':
        assert len(read.find_duplicates()) == 2


def read_rows(root, task):
    """Read clip, number and values of each line with csv alone, sorted."""
    rows = []
    folder = dict(va='VA_Estimation', au='AU_Detection', mtl='MTL')[task]
    for path in (root / f'annotations/{folder}_Challenge').rglob('*.txt'):
        for number, line in enumerate(path.read_text().split()[1:], 1):
            clip, values = path.stem, line.split(',')
            if task == 'mtl':
                clip, _, name = values.pop(0).rpartition('/')
                number = int(name[:5])
            rows.append((clip, number, [float(value) for value in values]))
    return sorted(rows, key=lambda row: row[:2])


def score_rows(rows, task):
    """Score what TEST_TRACK predicts with NumPy and scikit-learn."""
    number = np.array([row[1] for row in rows])
    values = np.array([row[2] for row in rows])
    total = 0
    if task != 'au':
        va, pred = values[:, :2], np.stack([np.cos(number), np.sin(number)], axis=1)
        for x, y in zip(va.T, np.float32(pred).T.astype(float), strict=True):
            cov = np.cov(x, y, bias=True)
            total += cov[0, 1] / (cov[0, 0] + cov[1, 1] + (x.mean() - y.mean()) ** 2)
    if task == 'mtl':
        known = values[:, 2] >= 0
        total += f1_score(
            values[known, 2], number[known] % 8, labels=range(8), average='macro', zero_division=0
        )
    if task != 'va':
        au, factor = values[:, -12:], 1 if task == 'mtl' else 100
        known = au.min(axis=1) >= 0
        pred = number[known, None] * np.arange(1, 13) % 10 >= 5
        total += factor * f1_score(au[known], pred, average='macro', zero_division=0)
    return total


def test_score_has_a_spread():
    folds = [make_noisy_predictions(4, seed=seed) for seed in range(3)]
    for number, fold in enumerate(folds):
        fold.clips[:] = [f'{number}{clip}' for clip in fold.clips]
    merged = merge_folds(folds, 'res18')
    assert len(merged) == sum(map(len, folds)) and merged.clips == sorted(merged.clips)
    each = [
        100 * f1_score(f['gt_label'], f['pred_label'], labels=range(8), average='macro')
        for f in folds
    ]
    scores = score_folds(folds)
    assert scores['folds'] == pytest.approx(each)
    assert (scores['mean'], scores['std']) == pytest.approx((np.mean(each), np.std(each, ddof=1)))
    label = np.concatenate([fold['gt_label'] for fold in folds])
    pred = np.concatenate([fold['pred_label'] for fold in folds])
    together = 100 * f1_score(label, pred, labels=range(8), average='macro')
    assert scores['all']['macro_f1'] == pytest.approx(together)
