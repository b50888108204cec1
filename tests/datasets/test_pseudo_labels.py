"""Annotation files with pseudo-labels, and the datasets that read them."""

import json
import logging

import numpy as np
import pytest
from mmengine.logging import MMLogger

from abaw_mm.datasets import AffWild2Dataset, ClipFeatureDataset
from abaw_mm.datasets.pseudo_labels import count_pseudo_labels, list_unlabelled, write_pseudo_labels
from abaw_mm.errors import InvalidValueError
from abaw_mm.structures import FrameTable

ANN = 'annotations/EXPR_Recognition_Challenge'


@pytest.fixture
def filled(tiny):
    """Fill some of the seven lines labelled -1 of the training set."""
    frames = FrameTable.from_rows(
        ['1-30-1280x720', 'face clip 3', 'face clip 3', 'face clip 3', 'video10_left'],
        [3, 3, 7, 8, 1],
        label=np.array([6, 1, 2, -1, 5]),
    )
    out = tiny / ANN / 'Train_Set_pseudo'
    assert write_pseudo_labels(tiny / ANN / 'Train_Set', out, frames, dict(config='x')) == 3
    return tiny


def test_only_lines_labelled_minus_1_change(filled):
    train, pseudo = filled / ANN / 'Train_Set', filled / ANN / 'Train_Set_pseudo'
    assert {p.name for p in pseudo.iterdir()} == {
        *(p.name for p in train.iterdir()),
        'pseudo_labels.json',
    }
    expected = {('1-30-1280x720', 3): '6', ('face clip 3', 3): '1', ('face clip 3', 7): '2'}
    for path in train.iterdir():
        old, new = path.read_text().split('\n'), (pseudo / path.name).read_text().split('\n')
        assert len(old) == len(new)
        for number, (before, after) in enumerate(zip(old, new, strict=True)):
            assert after == expected.get((path.stem, number), before)
    provenance = json.loads((pseudo / 'pseudo_labels.json').read_text())
    lines = {'1-30-1280x720': 1, 'face clip 3': 2, 'video10_left': 0}
    assert provenance == dict(config='x', lines=lines)
    assert count_pseudo_labels([pseudo]) == 3 and count_pseudo_labels([train]) == 0
    assert count_pseudo_labels([pseudo, train], ['1-30-1280x720']) == 1


def test_line_ends_blanks_and_byte_order_mark_are_kept(tiny):
    header = b'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'
    folder = tiny / 'odd'
    folder.mkdir()
    (folder / 'a.txt').write_bytes(b'\xef\xbb\xbf' + header + b'\r\n-1\r\n 3\r\n-1 \r\n\r\n')
    frames = FrameTable.from_rows(['a', 'a'], [0, 2], label=np.array([7, 0]))
    write_pseudo_labels(folder, tiny / 'out', frames, {}, start_index=0)
    expected = b'\xef\xbb\xbf' + header + b'\r\n7\r\n 3\r\n0 \r\n\r\n'
    assert (tiny / 'out/a.txt').read_bytes() == expected


@pytest.mark.parametrize('cached', [False, True])
def test_a_training_set_uses_and_counts_them(filled, caplog, cached):
    def train(name, **kwargs):
        dataset = AffWild2Dataset(data_root=str(filled), ann_file=f'{ANN}/{name}', **kwargs)
        dataset.full_init()
        return dataset

    official = train('Train_Set').frames
    if cached:
        train('Train_Set_pseudo')
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        frames = train('Train_Set_pseudo').frames
    logger.removeHandler(caplog.handler)
    assert '46 lines, 3 pseudo-labels, 4 unlabelled (-1)' in caplog.text
    added = frames.take(official.find(frames) < 0)
    assert added.name_frames() == ['1-30-1280x720/3', 'face clip 3/3', 'face clip 3/7']
    assert added['label'].tolist() == [6, 1, 2]
    assert len(frames) == len(official) + 3
    with pytest.raises(ValueError, match='3 lines with pseudo-labels in a set that is scored'):
        train('Train_Set_pseudo', test_mode=True)


def test_a_set_of_features_uses_and_counts_them(filled, make_features, caplog):
    make_features(filled / 'features', filled)
    kwargs = dict(data_root=str(filled), feature_dir=str(filled / 'features'), window=8)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    with caplog.at_level(logging.INFO):
        dataset = ClipFeatureDataset(ann_file=f'{ANN}/Train_Set_pseudo', **kwargs)
    logger.removeHandler(caplog.handler)
    assert '(3 lines are pseudo-labels)' in caplog.text
    assert np.bincount(dataset.frames['label'], minlength=8)[[6, 1, 2]].tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match='ClipFeatureDataset: got 3 lines with pseudo-labels'):
        ClipFeatureDataset(ann_file=f'{ANN}/Train_Set_pseudo', test_mode=True, **kwargs)


def test_user_errors(filled):
    train, pseudo = filled / ANN / 'Train_Set', filled / ANN / 'Train_Set_pseudo'
    frames = FrameTable.from_rows(['video10_left'], [1], label=np.array([5]))
    with pytest.raises(ValueError, match='no class for any of 7 lines labelled -1'):
        write_pseudo_labels(train, filled / 'x', frames, {})
    with pytest.raises(ValueError, match='got annotations with pseudo-labels, expected the off'):
        write_pseudo_labels(pseudo, filled / 'x', frames, {})
    frames = FrameTable.from_rows(['face clip 3'], [2], label=np.array([5]))
    with pytest.raises(OSError, match='already exists'):
        write_pseudo_labels(train, pseudo, frames, {})
    assert not list(filled.glob('**/*.part')) and not (filled / 'x').exists()
    (pseudo / 'pseudo_labels.json').write_text('{"lines": 3}')
    with pytest.raises(ValueError, match='got no number of lines for each clip'):
        count_pseudo_labels([pseudo])
    assert len(list_unlabelled(train)) == 7


@pytest.mark.parametrize(
    ('header', 'line', 'track'),
    [
        ('valence,arousal', '-5,-5', 'VA'),
        ('AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26', ','.join(['-1'] * 12), 'AU'),
    ],
)
def test_annotations_of_other_tracks_are_refused(tmp_path, header, line, track):
    (tmp_path / 'a.txt').write_text(f'{header}\n{line}\n')
    with pytest.raises(InvalidValueError, match=f'of the {track} track, expected expressions'):
        list_unlabelled(tmp_path)
