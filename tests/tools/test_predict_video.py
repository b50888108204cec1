"""Test the command on videos of two drawn persons: its files, a second run, and how it ends."""

import csv
import json

import av
import numpy as np
import pytest
from compose_video import compose, draw_faces, make_pictures, stay, write_video
from PIL import Image
from small_model import write_small_model

from abaw_mm.apis.inference.video_inferencer import VideoExpressionInferencer
from abaw_mm.datasets.crops.crop_folder import CropFolder, list_crops
from abaw_mm.evaluation import Predictions
from abaw_mm.video.align import align
from abaw_mm.video.track.tracks_file import read_tracks

pytest.importorskip('facenet_pytorch')

STAMPS = [0, 512, 1024, 2048, 2560, 3000, 4096, 4608, 5120, 6144, 7168, 7680]  # 1/15360 s


@pytest.fixture(scope='module')
def model(request, tmp_path_factory):
    repo, folder = request.path.parents[2], tmp_path_factory.mktemp('model')
    return write_small_model(repo, folder, folder, 'res18_srp_affwild2')


@pytest.fixture(scope='module')
def video(tmp_path_factory):
    """A video of eight frames with two persons, and four without a face."""
    paths = [stay(8, 80, 120, 120), stay(8, 230, 120, 140)]
    images = [*compose(draw_faces(2, seed=1), paths).images, *make_pictures(4, 320, 240)]
    path = tmp_path_factory.mktemp('video') / 'two.mp4'
    write_video(path, images, STAMPS, options={'g': '1', 'bf': '0'})
    return path


@pytest.fixture(scope='module')
def done(load_tool, model, video, tmp_path_factory):
    """Run the command once with all outputs."""
    out = tmp_path_factory.mktemp('out')
    args = [*model, video, '--out', out, '--draw', '--crops', '--report']
    assert load_tool('predict_video.py').main([*map(str, args)]) == 0
    return out


def read_table(path):
    with open(path, newline='', encoding='utf-8') as file:
        return list(csv.DictReader(file))


def read_frames(path):
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format='rgb24') for frame in container.decode(video=0)]


def read_times(path):
    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def test_table_and_predictions_hold_the_same_faces(done, video):
    predictions, tracks = Predictions.read(done / 'two.npz'), read_tracks(done / 'two_tracks.json')
    assert predictions.clips == ['two_left', 'two_right']
    assert predictions.count_by_clip().tolist() == [8, 8]
    times = [float(time) for time in read_times(video)]
    rows = read_table(done / 'two.csv')
    assert [row['frame'] for row in rows if row['success'] == '0'] == ['8', '9', '10', '11']
    faces = [row for row in rows if row['success'] == '1']
    assert len(faces) == 16
    for row in rows:
        assert row['input'] == str(video)
        assert float(row['timestamp']) == pytest.approx(times[int(row['frame'])], abs=5e-7)
    for row in faces:
        clip = tracks.clips[int(row['face_id'])]
        clip_id = predictions.clips.index(clip)
        at = predictions.search(clip_id, [int(row['frame']) + 1])[0]
        score = [float(row[name.lower()]) for name in predictions.classes]
        np.testing.assert_allclose(score, predictions['pred_score'][at], atol=1e-6)
        assert row['label'] == predictions.classes[predictions['pred_label'][at]].lower()
        assert float(row['confidence']) == max(score)


def test_crops_are_the_aligned_faces(done, video):
    crops = list_crops([CropFolder(done / 'cropped_aligned')], ['two_left', 'two_right'])
    assert crops.count_by_clip().tolist() == [8, 8]
    frames, tracks = read_frames(video), read_tracks(done / 'two_tracks.json')
    for clip, number, points in zip(tracks.clip, tracks.frame_no, tracks['points'], strict=True):
        path = done / f'cropped_aligned/{clip}/{number:05d}.jpg'
        crop = np.asarray(Image.open(path), np.float32)
        assert abs(crop - align(frames[number - 1], points)).mean() < 2  # grey levels, of JPEG


def test_drawn_video_keeps_the_time_stamps(done, video):
    assert read_times(done / 'two_drawn.mp4') == read_times(video)


def test_report_names_each_person_and_step(done):
    page = (done / 'two.html').read_text(encoding='utf-8')
    search = 'mtcnn, at least 40 pixels high, searched every 8 frames'
    for text in ('two_left', 'two_right', '4 frames without a face', 'data:image', search):
        assert text in page


def test_edited_tracks_are_used(done, model, video, tmp_path, run_tool, monkeypatch):
    content = json.loads((done / 'two_tracks.json').read_text())
    (face,) = [face for face in content['faces'] if face['name'] == 'two_right']
    content['faces'] = [face | {'name': 'anna', 'frames': face['frames'][:5]}]
    (tmp_path / 'two_tracks.json').write_text(json.dumps(content))
    monkeypatch.setattr(VideoExpressionInferencer, '_build_tracker', None)
    status, _, error = run_tool('predict_video.py', *model, video, '--out', tmp_path)
    assert status == 0, error
    again, before = Predictions.read(tmp_path / 'two.npz'), Predictions.read(done / 'two.npz')
    assert again.clips == ['anna'] and len(again) == 5
    np.testing.assert_allclose(
        again['pred_score'], before['pred_score'][before.rows_of(1)][:5], atol=2e-3
    )
    assert sum(row['success'] == '0' for row in read_table(tmp_path / 'two.csv')) == 7
    status, _, error = run_tool(
        'predict_video.py', *model, video, '--out', tmp_path, '--min-face', 50
    )
    assert status == 1 and '--min-face has no effect' in error and 'delete the file' in error


def test_damage_is_reported_after_the_frames_before_it(model, video, tmp_path, run_tool):
    path = tmp_path / 'cut.mkv'
    write_video(path, read_frames(video), options={'g': '1', 'bf': '0'})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    status, _, error = run_tool('predict_video.py', *model, path, video, '--out', tmp_path)
    assert status == 1 and f'{path}: got a damaged or truncated video' in error
    rows = read_table(tmp_path / 'cut.csv')
    frames = {int(row['frame']) for row in rows}
    assert frames == set(range(max(frames) + 1)) and 2 < len(frames) < 12
    assert f'for {len(frames)} frames' in error
    assert len(read_table(tmp_path / 'two.csv')) == 20  # the other video is complete


def test_interrupted_run_leaves_whole_files(model, video, tmp_path, run_tool, monkeypatch):
    batches = []

    def interrupt(self, crops):
        batches.append(len(crops))
        if len(batches) == 2:
            raise KeyboardInterrupt
        return np.full((len(crops), 8), 1 / 8, np.float32)

    monkeypatch.setattr('abaw_mm.apis.inference.crop_scorer.CropScorer.__call__', interrupt)
    args = (*model, video, '--out', tmp_path, '--batch-size', 6, '--draw', '--crops')
    status, _, _ = run_tool('predict_video.py', *args)
    assert status == 130
    assert len(Predictions.read(tmp_path / 'two.npz')) == 6 == len(read_table(tmp_path / 'two.csv'))
    assert len(read_frames(tmp_path / 'two_drawn.mp4')) == 3
    assert len(list((tmp_path / 'cropped_aligned').rglob('*.jpg'))) == 6
    assert not [path for path in tmp_path.rglob('.*')]
    assert not (tmp_path / 'two_tracks.json').exists()  # the next run finds the faces again


@pytest.mark.parametrize(
    ('args', 'status', 'message'),
    [
        (['missing.mp4'], 1, 'missing.mp4'),
        (['{video}', '--detector', 'haar'], 1, "--detector: got 'haar', expected mtcnn or"),
        (['{video}', '--min-face', 3], 1, 'got min_face=3, expected at least 12'),
        (['{video}', '--smooth', 'box'], 2, 'expected METHOD:WIDTH, such as box:1.0s'),
        (['{video}', '--start', 3, '--end', 2], 1, 'expected more than start'),
        (['{video}', '--template', 'none.json'], 1, 'none.json'),
        (['{video}', '--batch-size', 0], 1, '--batch-size: got 0, expected 1 to 4096'),
        (['{video}', '--batch-size', 10**8], 1, 'expected 1 to 4096'),
        (['{video}', '--end', 0], 1, 'got no frame before 0 s, expected times from 0.000 s'),
        (['{video}', '--out', '{video}'], 1, 'expected a folder that can be written to'),
        (['x' * 195 + '.mp4'], 1, 'expected a name of at most 194 bytes before the suffix'),
        (['a\\b.mp4'], 1, 'without backslash or control character'),
        (['{video}', '{video}'], 1, 'expected different names'),
    ],
)
def test_wrong_arguments_are_named(model, video, tmp_path, run_tool, args, status, message):
    args = [str(arg).format(video=video) for arg in args]
    got, _, error = run_tool('predict_video.py', *model, '--out', tmp_path / 'out', *args)
    assert got == status and message in error and 'Traceback' not in error
    assert not (tmp_path / 'out').exists()


def test_camera_needs_no_video(load_tool):
    args = load_tool('predict_video.py').parse_args(['config.py', 'model.pth', '--camera', '1'])
    assert args['camera'] == 1 and 'videos' not in args


def test_persons_with_names_of_another_video_keep_its_crops(model, video, tmp_path, run_tool):
    """A video that cannot be written does not keep the others from it."""
    short = tmp_path / 'short.mp4'
    write_video(short, make_pictures(2, 320, 240), [0, 512])
    names = [tmp_path / name for name in ('take.mp4', 'take_left.mp4', 'other.mp4')]
    for name in names:
        name.write_bytes(video.read_bytes())
    one = compose(draw_faces(1, seed=1), [stay(12, 160, 120, 140)]).images
    write_video(names[1], one, STAMPS, options={'g': '1', 'bf': '0'})
    args = [*model, names[0], short, *names[1:], '--out', tmp_path / 'out', '--start', 0.05]
    status, _, error = run_tool('predict_video.py', *args, '--crops')
    assert status == 1 and f"{names[1]}: got 'take_left' as names of persons" in error
    assert f'{short}: got no frame at or after 0.05 s' in error
    crops = sorted(path.name for path in (tmp_path / 'out/cropped_aligned').iterdir())
    assert crops == ['other_left', 'other_right', 'take_left', 'take_right']
    assert not (tmp_path / 'out/take_left.csv').exists()


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (['--start', 0.1], 'got frame 4 at'),
        (['--end', 0.2], 'got the end, expected frame 7 at'),
    ],
)
def test_tracks_of_another_part_are_refused_and_kept(
    done, model, video, tmp_path, run_tool, args, message
):
    path = tmp_path / 'two_tracks.json'
    path.write_bytes((done / 'two_tracks.json').read_bytes())
    status, _, error = run_tool('predict_video.py', *model, video, '--out', tmp_path, *args)
    assert status == 1 and message in error and '--start and --end' in error
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_edited_tracks_stay_as_they_are(done, model, video, tmp_path, run_tool):
    path = tmp_path / 'two_tracks.json'
    path.write_bytes((done / 'two_tracks.json').read_bytes() + b'\n')
    args = (*model, video, '--out', tmp_path, '--faces', 'largest')
    status, _, error = run_tool('predict_video.py', *args)
    assert status == 0, error
    assert path.read_bytes() == (done / 'two_tracks.json').read_bytes() + b'\n'
    assert len(Predictions.read(tmp_path / 'two.npz').clips) == 1
