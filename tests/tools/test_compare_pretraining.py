"""benchmarks/pretraining.py, which compares ways of pre-training: scores, intervals, and a run."""

import argparse
from types import ModuleType

import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score

from abaw_mm.checkpoints.load import load_checkpoint_file

METHOD_FILES = dict(
    contrawarping_muscle='contrawarping',
    contrawarping_free='contrawarping',
    byol='byol',
    random='byol',
    simsiam='simsiam',
)


@pytest.fixture(scope='module')
def bench(load_tool) -> ModuleType:
    """Import benchmarks/pretraining.py."""
    return load_tool('../benchmarks/pretraining.py')


def draw_predictions(accuracy, seed=0, frames=400):
    """Predictions of 8 clips of 4 raw videos, right in this share of the frames."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, frames)  # two classes have no frames
    right = rng.random(frames) < accuracy
    predicted = np.where(right, labels, rng.integers(0, 8, frames))
    names = [f'{video}{part}' for video in 'abcd' for part in ('', '_left')]
    clips = np.array([names[number * 8 // frames] for number in range(frames)])
    return dict(predicted=predicted, labels=labels, clips=clips)


def test_macro_f1_is_that_of_scikit_learn(bench):
    predictions = draw_predictions(0.6)
    counts = bench.count_confusions(predictions)
    assert counts.shape == (4, 8, 8)  # parts of a raw video count as one
    expected = f1_score(
        predictions['labels'], predictions['predicted'], labels=range(6), average='macro'
    )
    assert bench.macro_f1(counts.sum(0)) == pytest.approx(100 * expected, abs=1e-9)


def test_interval_of_a_clear_and_of_no_difference(bench):
    counts = [
        [bench.count_confusions(draw_predictions(accuracy, seed)) for seed in seeds]
        for accuracy, seeds in ((0.8, (0, 1, 2)), (0.5, (3, 4, 5)), (0.5, (6, 7, 8)))
    ]
    clear, worse, same = counts
    scores = [np.mean([bench.macro_f1(one.sum(0)) for one in side]) for side in (clear, worse)]
    mean, low, high = bench.compare(clear, worse, 300)
    assert mean == pytest.approx(scores[0] - scores[1])
    assert 0 < low < mean < high
    low, high = bench.compare(worse, same, 300)[1:]
    assert low < 0 < high


@pytest.fixture
def tiny_run(bench, monkeypatch, tiny, tmp_path):
    """Make the driver's networks and batches small, and return its arguments."""
    small = {
        'train_dataloader.batch_size': 4,
        'data_preprocessor.view_size': 32,
        'param_scheduler.0.end': 1,
        'default_hooks.checkpoint.interval': 2,
    }
    monkeypatch.setattr(bench, 'PRETRAINING', {**bench.PRETRAINING, **small})
    monkeypatch.setattr(bench, 'STATISTICS', 2)
    monkeypatch.setattr(bench, 'SIDE', 32)
    monkeypatch.setattr(bench, 'FOLDS', 2)
    faces, out = str(tiny / 'cropped_aligned'), tmp_path / 'out'
    return argparse.Namespace(
        world='drawn',
        faces=faces,
        data_root=str(tiny),
        work_dir=out,
        steps=2,
        threads=1,
        amp=False,
        probe_only=True,
    )


def test_methods_differ_by_nothing_but_the_method(bench, tiny_run, tmp_path):
    changes = {}
    for method in bench.METHODS:
        command = bench.make_pretraining(method, 1, tmp_path, tiny_run)
        assert command[1] == f'benchmarks/configs/res18_{METHOD_FILES[method]}_mini.py'
        changes[method] = dict(part.split('=', 1) for part in command[6:])
    points = changes['contrawarping_muscle'].pop('data_preprocessor.warp.points')
    assert points == bench.POINTS['drawn']
    assert changes['contrawarping_free'].pop('data_preprocessor.warp') == bench.FREE
    still = changes.pop('random')
    assert still.pop('optim_wrapper.optimizer.lr') == '0.0'
    assert still.pop('train_cfg.max_iters') == '2'
    for options in changes.values():
        assert options == {**still, 'train_cfg.max_iters': '2', 'randomness.seed': '1'}


@pytest.mark.slow
def test_a_run_and_its_repetition(bench, tiny_run, monkeypatch):
    """Weights, probe and table; the same command again does nothing that is done."""
    for method in ('contrawarping_muscle', 'random'):
        bench.run_method(method, 0, tiny_run)
    folder = tiny_run.work_dir / 'drawn'
    weights = [
        load_checkpoint_file(folder / f'{method}_seed0/pretraining/backbone.pth')['state_dict']
        for method in ('contrawarping_muscle', 'random')
    ]
    name = 'backbone.layer1.0.conv1.weight'
    assert not torch.equal(weights[0][name], weights[1][name])
    statistics = weights[1]['backbone.bn1.running_mean']
    assert statistics.abs().max() > 0  # those of the faces
    probe = bench.read_predictions(folder / 'random_seed0', 'probe')
    assert (probe['predicted'] >= 0).all() and set(probe['labels']) <= set(range(8))
    score = float(bench.macro_f1(bench.count_confusions(probe).sum(0)))
    table = bench.report(folder, 1)
    assert f'| random weights | 1 | {score:.2f} |' in table
    assert '| SimSiam | 0 | not run |' in table
    assert table.count('ContraWarping, muscle warp - random weights') == 1
    monkeypatch.setattr(bench, 'run', lambda *args: pytest.fail('trained again'))
    monkeypatch.setattr(bench, 'probe', lambda *args: pytest.fail('probed again'))
    bench.run_method('random', 0, tiny_run)
