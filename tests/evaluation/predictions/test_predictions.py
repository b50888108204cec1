"""Predictions: files are read as they were written, or refused with a reason."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from abaw_mm.datasets import EXPRESSIONS
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.predictions.class_balance import ClassBalance


def make_arrays(**changes):
    """Make the arrays of four frames of two clips; None removes an array."""
    score = np.full((4, 8), 0.05, np.float32)
    score[range(4), [0, 3, 7, 7]] = 0.65
    columns = dict(
        clip=np.array(['a', 'a', 'b c', 'b c']),
        frame_no=np.array([1, 3, 1, 2]),
        pred_score=score,
        classes=np.array(EXPRESSIONS),
    )
    return {name: x for name, x in {**columns, **changes}.items() if x is not None}


@pytest.fixture
def save(tmp_path):
    def save(**changes):
        np.savez(tmp_path / 'p.npz', **make_arrays(**changes))
        return tmp_path / 'p.npz'

    return save


def test_written_file_is_read_back(save, tmp_path):
    first = Predictions.read(
        save(
            gt_label=np.array([0, 1, -1, 7]),
            pred_label=np.array([0, 3, 7, 6]),
            steps=np.array(['hold 2']),
            sha256=np.array('ab'),
            config=np.array('res18'),
        )
    )
    first.write(tmp_path / 'again.npz')
    second = Predictions.read(tmp_path / 'again.npz')
    for p in (first, second):
        assert (p.clips, p.classes) == (['a', 'b c'], EXPRESSIONS)
        assert (p.sha256, p.config) == ('ab', 'res18')
        assert p.clip.tolist() == ['a', 'a', 'b c', 'b c']
        assert p['pred_label'].tolist() == [0, 3, 7, 6] and p['gt_label'].tolist() == [0, 1, -1, 7]
        assert p['pred_score'].dtype == np.float32
        np.testing.assert_array_equal(p['pred_score'], make_arrays()['pred_score'])


def test_times_are_kept_by_npz_and_csv(save, tmp_path):
    time = np.array([0.1, 1 / 3, 7.0, 7.0])
    Predictions.read(save(time=time)).write(tmp_path / 'again.npz')
    again = Predictions.read(tmp_path / 'again.npz')
    np.testing.assert_array_equal(again['time'], time)
    again.write(tmp_path / 'again.csv')
    with open(tmp_path / 'again.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['time'] for row in rows] == ['0.100000', '0.333333', '7.000000', '7.000000']
    assert list(rows[0])[:5] == ['clip', 'frame_no', 'time', 'gt_label', 'pred_label']


@pytest.mark.parametrize(
    ('time', 'message'),
    [
        (np.array([1.0, 0.5, 0, 0]), "got the time 0.500000 s for frame 3 of 'a' after 1.000000"),
        (np.array([1.0, np.nan, 0, 0]), 'expected finite float64 seconds'),
        (np.array(['a'] * 4), 'expected finite float64 seconds'),
        (np.zeros(3), 'got columns of different lengths'),
    ],
)
def test_invalid_times_are_refused(save, time, message):
    with pytest.raises(ValueError, match=message):
        Predictions.read(save(time=time))


@pytest.mark.parametrize('compressed', [True, False])
def test_flipped_bits_never_change_predictions_in_silence(save, tmp_path, compressed, count_flips):
    path = save(gt_label=np.array([0, 1, -1, 7]))
    first = Predictions.read(path)
    if compressed:
        first.write(path)

    def is_same(path):
        found = Predictions.read(path)
        return (
            found.clips == first.clips
            and found.classes == first.classes
            and np.array_equal(found.frame_no, first.frame_no)
            and all(np.array_equal(found[name], column) for name, column in first.columns.items())
        )

    refused, _, different = count_flips(path, is_same, 400)
    assert different == 0 and refused > 200


def test_minimal_file_in_any_order_is_sorted(save):
    p = Predictions.read(
        save(clip=np.array(['b c', 'a', 'b c', 'a']), frame_no=np.array([2, 3, 1, 1]))
    )
    assert p.clip.tolist() == ['a', 'a', 'b c', 'b c'] and p.frame_no.tolist() == [1, 3, 1, 2]
    assert p['pred_label'].tolist() == [7, 3, 7, 0] and p['gt_label'].tolist() == [-1] * 4
    assert (p.sha256, p.config) == ('', '')
    assert p.confidence.tolist() == pytest.approx([0.65] * 4)


def test_take_keeps_class_and_source(save):
    p = Predictions.read(save(sha256=np.array('ab'))).take(np.array([1, 3]))
    assert isinstance(p, Predictions) and p.sha256 == 'ab' and p.frame_no.tolist() == [3, 2]


def test_unsorted_frames_are_refused(save):
    with pytest.raises(ValueError, match='expected them sorted'):
        Predictions.read(save()).take(np.array([3, 1]))


NAN = make_arrays()['pred_score'].copy()
NAN[1, 2] = np.nan


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(classes=None), "expected 'classes' as well"),
        (dict(classes=np.array(EXPRESSIONS[:7])), r'scores of shape \(4, 8\) for 7 classes'),
        (dict(classes=np.array(['x'] * 8)), 'expected different names'),
        (dict(frame_no=np.array([1, 1, 1, 2])), r"frame 1 of 'a' twice \(1 such rows\)"),
        (dict(frame_no=np.array([1.0, 2, 1, 2])), 'frame_no of shape .* expected integers'),
        (dict(frame_no=np.array([1, 2, -1, 2])), 'negative frame numbers'),
        (dict(frame_no=np.array([1, 2])), "different lengths, {'clip': 4, 'frame_no': 2"),
        (dict(clip=np.array([1, 1, 2, 2])), 'expected names'),
        (dict(pred_score=NAN), r"nan.* for frame 3 of 'a' \(1 such frames\), expected finite"),
        (dict(pred_score=np.log(make_arrays()['pred_score'])), 'logits need a softmax'),
        (dict(pred_score=make_arrays()['pred_score'] * 2), "frame 1 of 'a', whose sum is 2"),
        (
            dict(pred_score=make_arrays()['pred_score'] * 3 - 0.25),
            'sum is 1 .4 such frames., expected prob',
        ),
        (dict(pred_score=np.ones(4)), r'pred_score of shape \(4,\)'),
        (dict(gt_label=np.array([0, 1, -2, 3])), "gt_label -2 for frame 1 of 'b c'"),
        (dict(pred_label=np.array([0, 1, 8, 3])), r'pred_label 8 .* expected 0\.\.7'),
        (dict(scores=np.array('logit')), "kind 'logit', expected 'probability'"),
        (
            dict(clip=np.array(['a', None, 'b', 'b'], object)),
            'Object arrays .* expected the plain arrays',
        ),
    ],
)
def test_invalid_arrays_are_refused(save, changes, message):
    with pytest.raises(ValueError, match=message) as error:
        Predictions.read(save(**changes))
    assert 'p.npz: ' in str(error.value) and 'tools/test.py' in str(error.value)


@pytest.mark.parametrize('content', [b'', b'text', 'half', 'npy'])
def test_damaged_file_is_refused(save, tmp_path, content):
    path = save()
    if content == 'half':
        content = path.read_bytes()[:400]
    if content == 'npy':
        np.save(tmp_path / 'x.npy', np.ones(3))
        content = (tmp_path / 'x.npy').read_bytes()
    path.write_bytes(content)
    with pytest.raises(ValueError, match='damaged or wrong file .* expected the plain arrays'):
        Predictions.read(path)


def test_pickle_and_missing_file_are_refused(tmp_path):
    (tmp_path / 'p.pkl').write_bytes(b'')
    with pytest.raises(ValueError, match='a pickle can run code'):
        Predictions.read(tmp_path / 'p.pkl')
    with pytest.raises(FileNotFoundError, match='no such file'):
        Predictions.read(tmp_path / 'p.npz')


def test_other_classes_are_refused(save):
    p = Predictions.read(save())
    p.check_classes()
    other = (*EXPRESSIONS[:6], 'Other', 'Surprise')
    with pytest.raises(ValueError, match='x.npz: .*class 6, Surprise instead of Other'):
        p.check_classes(other, 'x.npz')
    with pytest.raises(ValueError, match='expected 7.* class 7, Other instead of noth'):
        p.check_classes(EXPRESSIONS[:7])


@pytest.mark.parametrize('name', ['frame_no', 'pred_label', 'gt_label'])
@pytest.mark.parametrize('number', [2**31, 2**32, -(2**31) - 1, 2**63 + 5])
def test_numbers_beyond_int32_are_refused_not_wrapped(save, name, number):
    dtype = np.uint64 if number >= 2**63 else np.int64
    column = np.array([0, number, 7, 7], dtype)
    with pytest.raises(ValueError, match=rf'got {name} {number}, expected'):
        Predictions.read(save(**{name: column}))


def test_classes_of_another_origin_than_the_scores_are_refused(save):
    label = np.array([0, 3, 2, 7])
    message = "pred_label 2 for frame 1 of 'b c', whose highest score is that of class 7"
    with pytest.raises(ValueError, match=message):
        Predictions.read(save(pred_label=label))
    held = Predictions.read(save(pred_label=label, steps=np.array(['hold 5'])))
    assert held['pred_label'].tolist() == label.tolist() and held.steps == ('hold 5',)


def test_steps_and_balance_are_written_and_read(save, tmp_path):
    steps = ('mean of 2', 'tau 0.5', 'smooth box 50', 'hold 10')
    balance = ClassBalance(0.15, (1.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.5))
    p = replace(Predictions.read(save()), steps=steps, balance=balance, config='res18')
    p.write(tmp_path / 'again.npz')
    read = Predictions.read(tmp_path / 'again.npz')
    assert (read.steps, read.balance) == (steps, balance)
    assert read.source == f'res18, unknown checkpoint, {", ".join(steps)}'
    plain = Predictions.read(save())
    assert (plain.steps, plain.balance) == ((), None)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(steps=np.array(['hold 5', 'smooth box 3'])), 'each once and in this order'),
        (dict(steps=np.array(['hold 5', 'hold 5'])), 'each once and in this order'),
        (dict(steps=np.array(['hold x'])), "got the steps 'hold x'"),
        (dict(steps=np.array(['sharpen 3'])), "got the steps 'sharpen 3'"),
        (dict(balance=np.array('{"a": 1}')), 'got class_balance'),
        (dict(balance=np.array('0.15')), 'got class_balance'),
    ],
)
def test_invalid_steps_and_balance_are_refused(save, changes, message):
    with pytest.raises(ValueError, match=message):
        Predictions.read(save(**changes))
