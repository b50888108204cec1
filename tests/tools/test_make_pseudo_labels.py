"""tools/dataset_converters/make_pseudo_labels.py, from the list to a training set."""

import json

import numpy as np
import pytest

from abaw_mm.datasets import EXPRESSIONS, AffWild2Dataset
from abaw_mm.datasets.annotations import read_annotation_folder
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.pseudo_labels import choose_pseudo_labels

TOOL = 'dataset_converters/make_pseudo_labels.py'


@pytest.fixture
def train(tiny, run_tool):
    """Write the list of frames labelled -1, and predictions of those with a crop."""
    train = tiny / 'annotations/EXPR_Recognition_Challenge/Train_Set'
    status, out, _ = run_tool(TOOL, train, '--list', tiny / 'list.txt')
    assert status == 0 and 'list.txt: 7 frames of 2 clips' in out
    dataset = AffWild2Dataset(data_root=str(tiny), ann_file='list.txt', test_mode=True)
    dataset.full_init()
    frames = dataset.frames.sort()
    label = np.arange(len(frames)) % 8
    score = np.full((len(frames), 8), 0.02)
    score[np.arange(len(frames)), label] = np.linspace(0.5, 0.86, len(frames))
    score /= score.sum(1, keepdims=True)
    Predictions(
        frames.clips,
        frames.clip_id,
        frames.frame_no,
        dict(gt_label=np.full(len(frames), -1), pred_label=label, pred_score=score),
        sha256='ab',
        config='res18',
        steps=('smooth box 5',),
    ).write(tiny / 'p.npz')
    return train


def test_frames_above_the_threshold_are_labelled(tiny, train, run_tool):
    p = Predictions.read(tiny / 'p.npz')
    threshold = float(np.median(p.confidence))
    flags = ('--predictions', tiny / 'p.npz', '--threshold', threshold)
    status, out, error = run_tool(TOOL, train, *flags, '--out', tiny / 'pseudo')
    assert status == 0, error
    kept = np.flatnonzero(p.confidence >= threshold)
    assert f'{len(kept)} of 7 lines labelled -1 have a pseudo-label' in out
    assert f'{7 - len(p)} have no prediction, {len(p) - len(kept)} one below' in out
    expected = read_annotation_folder(train)
    for row in kept:
        expected[p.clip[row]][p.frame_no[row] - 1] = p['pred_label'][row]
    found = read_annotation_folder(tiny / 'pseudo')
    for clip, label in expected.items():
        np.testing.assert_array_equal(found[clip], label)
    provenance = json.loads((tiny / 'pseudo/pseudo_labels.json').read_text())
    assert provenance['sha256'] == 'ab' and provenance['steps'] == ['smooth box 5']
    assert provenance['threshold'] == threshold and sum(provenance['lines'].values()) == len(kept)
    counts = np.bincount(p['pred_label'][kept], minlength=8).tolist()
    assert provenance['classes'] == dict(zip(EXPRESSIONS, counts, strict=True))


def test_debiasing_equals_subtraction_of_the_mean_in_logits(make_noisy):
    p = make_noisy(4)
    score = p['pred_score'] * np.linspace(1, 4, 8)  # classes with different frequencies
    score /= score.sum(1, keepdims=True)
    logit = np.log(score) - 0.5 * np.log(score.mean(0))
    expected = np.exp(logit) / np.exp(logit).sum(1, keepdims=True)
    frames = p.with_columns(pred_score=score, pred_label=score.argmax(1))
    label = choose_pseudo_labels(frames, 0.4, 0.5)
    kept = expected.max(1) >= 0.4
    np.testing.assert_array_equal(label, np.where(kept, expected.argmax(1), -1))
    assert 0 < kept.sum() < len(p)
    assert not np.array_equal(label, choose_pseudo_labels(frames, 0.4))


@pytest.mark.parametrize(
    ('flags', 'status', 'message'),
    [
        ([], 2, 'expected --list FILE, or --predictions FILE and --out DIR'),
        (['--predictions', 'p.npz'], 2, 'expected --list FILE'),
        (['--predictions', 'p.npz', '--out', 'x', '--threshold', 2], 1, 'got --threshold 2.0 and'),
        (['--predictions', 'p.npz', '--out', 'x', '--threshold', 1], 1, 'or lower --threshold'),
    ],
)
def test_user_errors(tiny, train, run_tool, monkeypatch, flags, status, message):
    monkeypatch.chdir(tiny)
    got, _, error = run_tool(TOOL, train, *flags)
    assert got == status and message in error
    assert not (tiny / 'x').exists()
