"""The table of a video: a row per face and frame, which csv and pandas read."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.postprocessing.seconds import Seconds
from abaw_mm.video.table import build_predictions, write_table
from abaw_mm.video.track.face_tracks import FaceTracks

CLASSES = ('Neutral', 'Anger', 'Happiness')
TIME = np.array([0.0, 1 / 30, 0.0766664, 0.1, 2.5])
HEADER = (
    'input,frame,timestamp,face_id,success,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,'
    'FaceScore,neutral,anger,happiness,label,confidence'
)


@pytest.fixture
def tracks():
    """Two persons in five frames: z in the frames 1, 2, 5, a in 2 and 4; frame 3 shows no face."""
    box = np.array([[10, 20, 30, 45], [11, 20, 31.5, 45], [-3, 0, 7, 9], [50, 5, 60, 15.25]])
    return FaceTracks(
        ['z', 'a'],
        np.array([0, 0, 0, 1, 1], np.int32),
        np.array([1, 2, 5, 2, 4], np.int32),
        dict(
            box=np.concatenate([box, box[:1] + 1]).astype(np.float32),
            points=np.zeros((5, 5, 2), np.float32),
            score=np.array([1, 0.9, 0.8, 0.7, 0.625], np.float32),
        ),
        time=TIME,
        size=(640, 360),
    )


@pytest.fixture
def score():
    return np.random.default_rng(0).dirichlet(np.ones(3), 5).astype(np.float32)


def read(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def test_rows_and_columns(tracks, score, tmp_path):
    predictions = build_predictions(tracks, score, CLASSES)
    write_table(tmp_path / 'v.csv', 'video, 1.mp4', tracks, predictions)
    assert (tmp_path / 'v.csv').read_text().splitlines()[0] == HEADER
    rows = read(tmp_path / 'v.csv')
    assert [(row['frame'], row['face_id'], row['success']) for row in rows] == [
        ('0', '0', '1'),
        ('1', '0', '1'),
        ('1', '1', '1'),
        ('2', '', '0'),
        ('3', '1', '1'),
        ('4', '0', '1'),
    ]
    assert {row['input'] for row in rows} == {'video, 1.mp4'}
    face_of_row = [0, 1, 3, None, 4, 2]
    for row, face in zip(rows, face_of_row, strict=True):
        assert abs(float(row['timestamp']) - TIME[int(row['frame'])]) < 1e-6
        if face is None:
            assert not any(row[name] for name in HEADER.split(',')[5:]) and not row['face_id']
            continue
        left, top, right, bottom = tracks['box'][face]
        got = [float(row[f'FaceRect{x}']) for x in ('X', 'Y', 'Width', 'Height')]
        assert got == [left, top, right - left, bottom - top]
        assert float(row['FaceScore']) == pytest.approx(tracks['score'][face], abs=1e-6)
        probabilities = [float(row[name.lower()]) for name in CLASSES]
        np.testing.assert_allclose(probabilities, score[face], atol=1e-6)
        assert row['label'] == CLASSES[score[face].argmax()].lower()
        assert float(row['confidence']) == float(row[row['label']])


def test_smoothed_predictions_are_written(tracks, score, tmp_path):
    smooth = Postprocess(width=Seconds(0.1))(build_predictions(tracks, score, CLASSES))
    write_table(tmp_path / 'v.csv', 'v', tracks, smooth)
    rows = read(tmp_path / 'v.csv')
    near = score[[0, 1]].mean(axis=0)  # the frames 0 and 1 of z are 33 ms apart
    for row in rows[:2]:
        np.testing.assert_allclose([float(row[c.lower()]) for c in CLASSES], near, atol=1e-6)


def test_predictions_are_a_file_of_the_video(tracks, score, tmp_path):
    build_predictions(tracks, score, CLASSES, 'ab', 'res18').write(tmp_path / 'v.npz')
    p = Predictions.read(tmp_path / 'v.npz')
    assert p.clip.tolist() == ['a', 'a', 'z', 'z', 'z'] and p.frame_no.tolist() == [2, 4, 1, 2, 5]
    order = [3, 4, 0, 1, 2]
    np.testing.assert_array_equal(p['pred_score'], score[order])
    np.testing.assert_array_equal(p['time'], TIME[[1, 3, 0, 1, 4]])
    assert (p['gt_label'] == -1).all() and (p.sha256, p.config, p.classes) == (
        'ab',
        'res18',
        CLASSES,
    )


def test_a_video_without_a_face(tracks, tmp_path):
    none = tracks.take(slice(0))
    none = replace(none, clips=[])
    predictions = build_predictions(none, np.empty((0, 3), np.float32), CLASSES)
    write_table(tmp_path / 'v.csv', 'v', none, predictions)
    rows = read(tmp_path / 'v.csv')
    assert [row['frame'] for row in rows] == list('01234')
    assert {row['success'] for row in rows} == {'0'}
    predictions.write(tmp_path / 'v.npz')
    assert len(Predictions.read(tmp_path / 'v.npz')) == 0


def test_pandas_reads_the_table(tracks, score, tmp_path):
    pandas = pytest.importorskip('pandas')
    write_table(tmp_path / 'v.csv', 'v', tracks, build_predictions(tracks, score, CLASSES))
    table = pandas.read_csv(tmp_path / 'v.csv')
    assert ','.join(table.columns) == HEADER
    assert table.frame.tolist() == [0, 1, 1, 2, 3, 4] and table.neutral.isna().sum() == 1


@pytest.mark.parametrize(
    'classes', [('Frame', 'b', 'c'), ('a', 'label', 'c'), ('Happy', 'happy', 'c')]
)
def test_classes_that_cannot_be_columns_are_refused(tracks, score, tmp_path, classes):
    predictions = build_predictions(tracks, score, classes)
    with pytest.raises(
        ValueError, match=f"got the columns '{classes[1 if 'a' in classes else 0].lower()}' twice"
    ):
        write_table(tmp_path / 'v.csv', 'v', tracks, predictions)
    assert not list(tmp_path.iterdir())


def test_predictions_of_other_faces_are_refused(tracks, score, tmp_path):
    predictions = build_predictions(tracks, score, CLASSES)
    with pytest.raises(ValueError, match=r"got 4 predictions for 5 faces, none for 'a/2', expec"):
        write_table(tmp_path / 'v.csv', 'v', tracks, predictions.take(slice(1, None)))
    with pytest.raises(ValueError, match='got 5 predictions for 4 faces, expected one for each'):
        write_table(tmp_path / 'v.csv', 'v', tracks.take(slice(1, None)), predictions)


def test_part_of_a_video_keeps_its_frame_numbers(tracks, score, tmp_path):
    part = replace(tracks, frame_no=tracks.frame_no + 100, first_frame=101)
    predictions = build_predictions(part, score, CLASSES)
    write_table(tmp_path / 'part.csv', 'v', part, predictions)
    rows = read(tmp_path / 'part.csv')
    assert [row['frame'] for row in rows] == ['100', '101', '101', '102', '103', '104']
    assert [float(row['timestamp']) for row in rows] == [
        round(time, 6) for time in TIME[[0, 1, 1, 2, 3, 4]]
    ]
    np.testing.assert_array_equal(
        predictions['time'], build_predictions(tracks, score, CLASSES)['time']
    )
