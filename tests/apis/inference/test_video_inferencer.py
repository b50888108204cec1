"""Test that a video gets the scores of its aligned faces, whatever ends it and however it is read.

The reference decodes all frames, aligns the faces that the tracks name, and scores them at once.
"""

from dataclasses import replace

import av
import numpy as np
import pytest
from compose_video import compose, draw_faces, make_pictures, stay, write_video
from small_model import write_small_model

from abaw_mm.apis.inference import write_video_result
from abaw_mm.apis.inference.crop_scorer import CropScorer
from abaw_mm.apis.inference.video_inferencer import VideoExpressionInferencer
from abaw_mm.errors import DamagedVideoError, InvalidValueError
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.postprocessing.seconds import Seconds
from abaw_mm.video.align import align

pytest.importorskip('facenet_pytorch')

STAMPS = [0, 512, 1024, 2048, 2560, 3000, 4096, 4608, 5120, 6144, 7168, 7680, 9000, 10000]


@pytest.fixture(scope='module')
def model(request, tmp_path_factory):
    repo = request.path.parents[3]
    folder = tmp_path_factory.mktemp('model')
    config, checkpoint = write_small_model(repo, folder, folder, 'res18_srp_affwild2')
    with open(config, 'a') as file:
        file.write('model.update(mixed_precision=False)\n')
    return config, checkpoint


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """A video of ten frames with two persons, the left one smaller, and four without a face."""
    faces = draw_faces(2, seed=1)
    paths = [stay(10, 80, 120, 100), stay(10, 230, 120, 140)]
    images = [*compose(faces, paths).images, *make_pictures(4, 320, 240)]
    path = tmp_path_factory.mktemp('video') / 'two.mp4'
    write_video(path, images, STAMPS, options={'g': '1', 'bf': '0'})
    return path


@pytest.fixture(scope='module')
def inferencer(model):
    return VideoExpressionInferencer(*model, show_progress=False)


@pytest.fixture(scope='module')
def result(inferencer, video):
    return inferencer(video)['predictions'][0]


def decode(path):
    with av.open(str(path)) as container:
        return [
            (float(frame.pts * frame.time_base), frame.to_ndarray(format='rgb24'))
            for frame in container.decode(video=0)
        ]


def score_faces(model, path, tracks):
    """Score the faces of tracks one by one."""
    scorer, frames = CropScorer(*model), decode(path)
    crops = [
        align(frames[number - 1][1], points)
        for number, points in zip(tracks.frame_no, tracks['points'], strict=True)
    ]
    return np.concatenate([scorer(crop[None]) for crop in crops])


def test_faces_have_the_times_of_the_container_and_the_scores_of_their_crops(model, video, result):
    times = [time for time, _ in decode(video)]
    assert result.tracks.time.tolist() == times
    assert result.tracks.clips == ['two_left', 'two_right'] or result.tracks.clips == [
        'two_right',
        'two_left',
    ]
    assert result.tracks.count_by_clip().tolist() == [10, 10]
    want = score_faces(model, video, result.tracks)
    rows = result.predictions.find(result.tracks)
    np.testing.assert_allclose(result.predictions['pred_score'][rows], want, atol=1e-6)
    assert np.ptp(want, axis=0).max() > 0.01
    np.testing.assert_array_equal(result.predictions['time'][rows], result.tracks.face_time)
    assert result.predictions.classes[4] == 'Happiness' and result.stopped_by is None


@pytest.mark.parametrize('batch_size', [1, 7, 1000])
def test_size_of_a_batch_changes_nothing(inferencer, video, result, batch_size):
    other = inferencer(video, batch_size=batch_size)['predictions'][0]
    np.testing.assert_array_equal(other.tracks['box'], result.tracks['box'])
    np.testing.assert_allclose(
        other.predictions['pred_score'], result.predictions['pred_score'], atol=1e-6
    )


def test_stream_yields_every_frame_with_its_picture(inferencer, video, result):
    frames = list(inferencer.stream(video))
    for scored, (time, image) in zip(frames, decode(video), strict=True):
        assert scored.frame.time == time
        np.testing.assert_array_equal(scored.frame.image, image)
    assert [len(scored.faces) for scored in frames] == [2] * 10 + [0] * 4
    assert [scored.score.shape for scored in frames] == [(2, 8)] * 10 + [(0, 8)] * 4
    boxes = np.concatenate([scored.faces.box for scored in frames])
    assert sorted(boxes.tolist()) == sorted(result.tracks['box'].tolist())


def test_part_of_a_video_keeps_numbers_and_times(inferencer, video, result):
    part = inferencer(video, start=0.06, end=0.4)['predictions'][0]
    times = [time for time, _ in decode(video) if 0.06 <= time < 0.4]
    assert part.tracks.time.tolist() == times and part.tracks.first_frame == 3
    rows = result.predictions.find(part.predictions)
    assert len(rows) == 2 * len(times) and np.all(rows >= 0)
    np.testing.assert_array_equal(result.predictions['time'][rows], part.predictions['time'])
    found = result.tracks['box'][result.tracks.find(part.tracks)]
    np.testing.assert_allclose(part.tracks['box'], found, atol=10)  # followed from another frame


def test_largest_person_is_kept(inferencer, video, result):
    largest = inferencer(video, faces='largest')['predictions'][0]
    assert largest.tracks.clips == ['two_right'] == largest.predictions.clips
    rows = result.predictions.find(largest.predictions)
    np.testing.assert_allclose(
        largest.predictions['pred_score'], result.predictions['pred_score'][rows], atol=1e-6
    )
    with pytest.raises(InvalidValueError, match="--faces: got 'some', expected all or largest"):
        inferencer(video, faces='some')


def test_smoothing_uses_the_times(inferencer, video, result):
    smoothing = Postprocess(method='box', width=Seconds(0.2))
    smooth = inferencer(video, smoothing=smoothing)['predictions'][0].predictions
    raw, want = result.predictions, []
    for clip, time in zip(raw.clip, raw['time'], strict=True):
        near = (raw.clip == clip) & (abs(raw['time'] - time) <= 0.1 + 1e-6)
        want.append(raw['pred_score'][near].mean(axis=0))
    np.testing.assert_allclose(smooth['pred_score'], want, atol=1e-6)
    assert smooth.steps == ('smooth box 0.2s',)


def test_recorded_tracks_are_used_without_a_search(inferencer, video, result, monkeypatch):
    monkeypatch.setattr(inferencer, 'finder', None)
    names = replace(result.tracks, clips=['ann', 'bob'])
    again = inferencer(video, tracks=names)['predictions'][0]
    assert again.tracks.clips == ['ann', 'bob'] == again.predictions.clips
    first = result.predictions.clips.index(result.tracks.clips[0])
    np.testing.assert_allclose(
        again.predictions['pred_score'][:10],
        result.predictions['pred_score'][result.predictions.rows_of(first)],
        atol=1e-6,
    )
    with pytest.raises(InvalidValueError, match='as in its recorded tracks'):
        inferencer(video, tracks=replace(names, time=names.time + 0.01))
    with pytest.raises(InvalidValueError, match='as in its recorded tracks'):
        inferencer(video, tracks=replace(names, time=names.time[:-1]))


def test_damaged_video_gives_the_frames_before_the_damage(inferencer, video, tmp_path):
    path = tmp_path / 'two.mkv'
    with av.open(str(video)) as source, av.open(str(path), 'w') as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    result = inferencer(path)['predictions'][0]
    path.write_bytes(path.read_bytes()[: int(0.6 * path.stat().st_size)])
    part = inferencer(path)['predictions'][0]
    assert isinstance(part.stopped_by, DamagedVideoError)
    frames = part.stopped_by.num_frames
    assert 3 < frames < 10 and len(part.tracks.time) == frames
    assert part.tracks.count_by_clip().tolist() == [frames, frames]
    rows = result.predictions.find(part.predictions)
    np.testing.assert_allclose(
        part.predictions['pred_score'], result.predictions['pred_score'][rows], atol=1e-6
    )


def test_interrupted_run_keeps_what_was_scored(inferencer, video, result, monkeypatch):
    scorer, calls = inferencer.scorer, []

    class Interrupted:
        classes, sha256, config = scorer.classes, scorer.sha256, scorer.config

        def __call__(self, crops):
            calls.append(len(crops))
            if len(calls) == 3:
                raise KeyboardInterrupt
            return scorer(crops)

    monkeypatch.setattr(inferencer, 'scorer', Interrupted())
    part = inferencer(video, batch_size=4)['predictions'][0]
    assert isinstance(part.stopped_by, KeyboardInterrupt)
    assert len(part.tracks.time) == 4 and len(part.predictions) == 8
    rows = result.predictions.find(part.predictions)
    np.testing.assert_allclose(
        part.predictions['pred_score'], result.predictions['pred_score'][rows], atol=1e-6
    )


def test_video_without_a_face_has_no_rows(inferencer, tmp_path):
    write_video(tmp_path / 'empty.mp4', make_pictures(5, 320, 240))
    result = inferencer(tmp_path / 'empty.mp4')['predictions'][0]
    assert len(result.tracks.time) == 5 and len(result.tracks) == len(result.predictions) == 0


def test_call_draws_and_writes(inferencer, video, tmp_path, monkeypatch):
    shown = []

    class Window:
        def __init__(self, title):
            shown.append(title)

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def write(self, time, image):
            shown.append(time)

    monkeypatch.setattr(write_video_result, 'LiveWindow', Window)
    out = inferencer(video, show=True, vis_out_dir=tmp_path / 'vis', pred_out_dir=tmp_path / 'pred')
    times = [time for time, _ in decode(video)]
    assert shown == ['two.mp4', *times]
    assert out['visualization'] == [tmp_path / 'vis/two_drawn.mp4']
    assert [time for time, _ in decode(tmp_path / 'vis/two_drawn.mp4')] == times
    written = Predictions.read(tmp_path / 'pred/two.npz')
    np.testing.assert_array_equal(
        written['pred_score'], out['predictions'][0].predictions['pred_score']
    )
