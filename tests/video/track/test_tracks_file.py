"""Test the file of tracks: what is written is read, edits count, errors name their place."""

import json

import numpy as np
import pytest

from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.video.track.face_tracks import FaceTracks
from abaw_mm.video.track.tracks_file import read_tracks, write_tracks


@pytest.fixture
def tracks() -> FaceTracks:
    rng = np.random.default_rng(0)
    return FaceTracks(
        ['é left', 'right'],
        np.array([0, 0, 0, 1, 1], np.int32),
        np.array([5, 6, 9, 7, 8], np.int32),
        dict(
            box=np.sort(rng.normal(100, 90, (5, 2, 2)), axis=1).reshape(5, 4).astype(np.float32),
            points=rng.normal(100, 90, (5, 5, 2)).astype(np.float32),
            score=rng.uniform(0.5, 1, 5).astype(np.float32),
        ),
        time=np.arange(6) * 1001 / 30000 + 0.1,
        first_frame=5,
        size=(640, 360),
    )


def edit(path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize('count', [5, 3, 0])
def test_round_trip_is_exact(tmp_path, tracks, count):
    tracks = tracks.take(slice(count)).select_clips(tracks.clips[: (count + 2) // 3])
    write_tracks(tmp_path / 't.json', tracks)
    read = read_tracks(tmp_path / 't.json')
    assert read.clips == tracks.clips
    assert (read.size, read.first_frame) == (tracks.size, tracks.first_frame)
    np.testing.assert_array_equal(read.time, tracks.time)
    np.testing.assert_array_equal(read.key, tracks.key)
    for name, column in tracks.columns.items():
        assert read[name].dtype == column.dtype and read[name].shape == column.shape
        np.testing.assert_array_equal(read[name], column)


def test_edits_rename_merge_and_drop(tmp_path, tracks):
    path = tmp_path / 't.json'
    write_tracks(path, tracks)
    edit(path, lambda c: c['faces'][0].update(name='Ann'))
    assert read_tracks(path).clips == ['Ann', 'right']
    edit(path, lambda c: c['faces'][1].update(name='Ann'))
    merged = read_tracks(path)
    assert merged.clips == ['Ann'] and merged.frame_no.tolist() == [5, 6, 7, 8, 9]
    np.testing.assert_array_equal(merged['box'], tracks['box'][[0, 1, 3, 4, 2]])
    edit(path, lambda c: c['faces'].pop(0))
    assert read_tracks(path).frame_no.tolist() == [7, 8]


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda c: c.pop('time'), 'the file: got .*, expected the keys size, first_frame'),
        (lambda c: c.update(size=[640]), 'size: got .*, expected width and height'),
        (lambda c: c.update(size=[640, '360']), 'size: got .*, expected a whole number'),
        (lambda c: c.update(time=[0, 2, 1]), 'time: got .*, expected times that increase'),
        (lambda c: c.update(faces={}), 'faces: got .*, expected a list'),
        (lambda c: c['faces'][1].update(name='a/b'), r'faces\[1\].name: got the clip name'),
        (lambda c: c['faces'][1].update(name=3), r'faces\[1\].name: got the clip name'),
        (lambda c: c['faces'][1].update(id=3), r'faces\[1\]: got .*the keys name, frames'),
        (lambda c: c['faces'].append(7), r'faces\[2\]: got .7.'),
        (
            lambda c: c['faces'][0]['frames'][2].update(frame=11),
            r'frames\[2\].frame: got .*5 to 10',
        ),
        (lambda c: c['faces'][0]['frames'][2].update(frame=6), r'frames\[2\].frame: got .6.*once'),
        (lambda c: c['faces'][0]['frames'][2].update(frame=6.5), 'expected a whole number'),
        (lambda c: c['faces'][0]['frames'][2].update(box=[1, 2, 3]), 'box: got .*4 numbers'),
        (lambda c: c['faces'][0]['frames'][2].update(box=[1, 2, 3, None]), 'finite numbers'),
        (lambda c: c['faces'][0]['frames'][2].update(points=[[1], [2, 3]]), 'finite numbers'),
        (lambda c: c['faces'][0]['frames'][2].update(box=[1e39, 2, 2e39, 4]), 'up to 1000000'),
        (lambda c: c['faces'][0]['frames'][2].update(box=[3, 2, 1, 4]), 'box: got .*left, top'),
        (lambda c: c['faces'][0]['frames'][2].update(points=[[5, 5]] * 5), 'different points'),
        (lambda c: c['faces'][0]['frames'][2].update(score='0.9'), 'score: got .*finite numbers'),
        (lambda c: c['faces'][0]['frames'][2].update(score=float('nan')), 'finite numbers'),
    ],
)
def test_wrong_file_is_one_line_with_the_place(tmp_path, tracks, change, message):
    path = tmp_path / 't.json'
    write_tracks(path, tracks)
    edit(path, change)
    with pytest.raises(InvalidValueError, match=message) as error:
        read_tracks(path)
    assert '\n' not in str(error.value) and str(path) in str(error.value)


def test_merged_tracks_that_overlap_are_refused(tmp_path, tracks):
    path = tmp_path / 't.json'
    write_tracks(path, tracks)
    edit(path, lambda c: c['faces'][1]['frames'][0].update(frame=6))
    edit(path, lambda c: c['faces'][1].update(name='é left'))
    with pytest.raises(InvalidValueError, match="each frame once for 'é left'"):
        read_tracks(path)


def test_damaged_or_missing_file(tmp_path):
    (tmp_path / 't.json').write_text('{"size": ')
    with pytest.raises(InvalidValueError, match='damaged or wrong file'):
        read_tracks(tmp_path / 't.json')
    with pytest.raises(MissingFileError, match='delete it to find the faces again'):
        read_tracks(tmp_path / 'none.json')
