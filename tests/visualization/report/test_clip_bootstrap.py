"""Bootstrap over clips against sets that are drawn and scored one by one."""

import numpy as np
from sklearn.metrics import confusion_matrix, f1_score

from abaw_mm.evaluation.metrics.macro_f1 import f1_per_class, mean_f1, score_labels
from abaw_mm.structures import FrameTable
from abaw_mm.visualization.report.clip_bootstrap import confusion_per_clip, interval, resample_f1


def make_frames(seed=0, clips=5, frames=40, classes=4):
    """Make random labels and predictions; the last class is never labelled."""
    rng = np.random.default_rng(seed)
    total = clips * frames
    return FrameTable(
        [f'v{i}' for i in range(clips)],
        np.arange(clips).repeat(frames).astype(np.int32),
        np.tile(np.arange(frames), clips),
        dict(
            gt_label=rng.integers(0, classes - 1, total),
            pred_label=rng.integers(0, classes, total),
        ),
    )


def test_confusion_equals_scikit_learn():
    frames = make_frames()
    found = confusion_per_clip(frames, 4)
    for clip in range(5):
        rows = frames.clip_id == clip
        expected = confusion_matrix(
            frames['gt_label'][rows], frames['pred_label'][rows], labels=range(4)
        )
        np.testing.assert_array_equal(found[clip], expected)


def test_whole_clips_are_drawn():
    frames = make_frames()
    f1, support = resample_f1(confusion_per_clip(frames, 4), draws=20, seed=3)
    times = np.random.default_rng(3).multinomial(5, np.full(5, 1 / 5), 20)
    assert f1.shape == support.shape == (20, 4)
    for row, counts in enumerate(times):
        drawn = np.concatenate(
            [np.flatnonzero(frames.clip_id == clip) for clip in np.repeat(np.arange(5), counts)]
        )
        label, pred = frames['gt_label'][drawn], frames['pred_label'][drawn]
        expected = f1_score(label, pred, labels=range(4), average=None, zero_division=0)
        np.testing.assert_allclose(f1[row], expected)
        for absent in ('zero', 'skip'):
            score = score_labels(pred, label, list('abcd'), absent)['macro_f1']
            np.testing.assert_allclose(100 * mean_f1(f1[row], support[row], absent), score)


def test_interval_contains_95_percent():
    low, high = interval(np.arange(1001.0))
    assert (low, high) == (25, 975)


def test_different_clips_widen_the_interval():
    """Half of the clips are wrong; drawing frames instead of clips gives a narrow interval."""
    frames = make_frames(clips=10, frames=500, classes=2)
    pred = (frames.clip_id % 2).astype(int)
    frames = frames.with_columns(gt_label=np.zeros(5000, int), pred_label=pred)
    f1, _ = resample_f1(confusion_per_clip(frames, 2))
    low, high = interval(f1[:, 0])
    assert high - low > 0.4
    assert low < f1_per_class(frames['pred_label'], frames['gt_label'], 2)[0][0] < high
