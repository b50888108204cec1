"""Features of sound, from videos to a folder of features."""

import json
import subprocess
import sys

import numpy as np
import pytest
from compose_sound import make_burst, write_sound_video
from conftest import write_clip

from abaw_mm.apis import extract_audio_features
from abaw_mm.audio import read_sound
from abaw_mm.audio.log_mel import LogMel
from abaw_mm.datasets import ClipFeatureDataset, FeatureFolder
from abaw_mm.structures import FrameTable

TOOL = 'extract_audio_features.py'
MODULE = 'abaw_mm.apis.features.extract_audio_features'
STEPS = np.tile([0.02, 0.06, 0.03, 0.05], 25)  # a variable frame rate
TIMES = np.round(np.cumsum(STEPS) - STEPS[0], 3)  # 100 frames in 4 s


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Videos and the features of a visual stream of five clips."""
    root = tmp_path_factory.mktemp('audio')
    videos = root / 'videos'
    videos.mkdir()
    write_sound_video(videos / 'video45.mkv', make_burst(4, 2.5), times=TIMES)
    write_sound_video(videos / 'b.avi', make_burst(4, 1.0, 44100), 44100, 'ac3', TIMES)
    write_sound_video(videos / 'silent.mkv', None, times=TIMES)
    numbers = {
        'b': np.arange(1, 101),
        'gone': np.arange(1, 5),
        'silent': np.arange(1, 9),
        'video45': np.arange(1, 103),  # two more than the video has
        'video45_left': np.arange(40, 90, 3),
    }
    folder = FeatureFolder.start(
        root / 'visual', dict(config='c', sha256='s', layer='l', dim=2, data_root='/d')
    )
    for clip in folder.plan(FrameTable.from_clips(numbers)):
        folder.write(clip, np.ones((len(numbers[clip]), 2), np.float32))
    return root, numbers


def extract(made, out, **options):
    root, _ = made
    return extract_audio_features(root / 'videos', root / out, frames=root / 'visual', **options)


@pytest.fixture(scope='module')
def folder(made):
    return extract(made, 'logmel')


def test_rows_are_means_around_the_time_of_the_frame(made, folder):
    root, numbers = made
    rows, times = LogMel()(read_sound(root / 'videos/video45.mkv'))
    for clip in ('video45', 'video45_left'):
        got = folder.read(clip)
        assert folder.frame_numbers(clip).tolist() == numbers[clip].tolist()
        for row, number in enumerate(numbers[clip]):
            if number <= 100:
                near = np.abs(times - TIMES[number - 1]) <= 0.5
                np.testing.assert_allclose(got[row], rows[near].mean(0), rtol=1e-3, atol=1e-3)


def test_burst_is_heard_in_the_frames_around_it(folder):
    """Frame numbers times a mean rate would miss the border by up to 20 ms."""
    loudness = folder.read('video45')[:100].astype(float).max(1)
    heard = loudness > loudness.min() + 0.5
    assert heard[(TIMES > 2.02) & (TIMES < 3.08)].all()
    assert not heard[(TIMES < 1.98) | (TIMES > 3.12)].any()


def test_clips_without_video_or_sound_are_masked_and_counted(made, folder, monkeypatch):
    lines = []
    monkeypatch.setattr(f'{MODULE}.print_log', lambda line, **_: lines.append(line))
    extract(made, 'logmel')
    for clip in ('gone', 'silent'):
        assert len(folder.frame_numbers(clip)) == 0 and folder.read(clip).shape == (0, 80)
    folder.check(folder.index.clips)
    assert lines == [
        f'{folder.path}: 80 features per frame, 219 frames of 3 of 5 clips; masked, without a '
        "video: 1 ('gone'); masked, without sound: 1 ('silent')"
    ]


def test_tool_writes_the_same_files(made, folder, run_tool):
    root, _ = made
    status, _, err = run_tool(
        TOOL, root / 'videos', '--out', root / 'tool', '--frames', root / 'visual'
    )
    assert status == 0, err
    for path in [folder.path / 'meta.json', folder.path / 'index.npz', folder.array_path('b')]:
        assert (root / 'tool' / path.relative_to(folder.path)).read_bytes() == path.read_bytes()


@pytest.mark.slow
def test_two_processes_share_the_videos_and_write_the_same_files(made, folder, repo):
    root, _ = made
    tool, launch = (str(repo / 'tools' / name) for name in (TOOL, 'launch.py'))
    words = [root / 'videos', '--frames', root / 'visual', '--out', root / 'two']
    done = subprocess.run(
        [sys.executable, launch, '--standalone', '--nproc_per_node=2', tool]
        + [*map(str, words), '--launcher', 'pytorch'],
        capture_output=True,
        text=True,
        timeout=300,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output
    assert 'b.avi: 100 frames; video 1 of 1' in output  # the first process logs its share
    assert output.count('masked, without sound: 1') == 1
    files = [path for path in folder.path.rglob('*.*') if path.name != '.lock']
    assert len(files) == 7  # clips, index and record
    for path in files:
        assert (root / 'two' / path.relative_to(folder.path)).read_bytes() == path.read_bytes()


def test_masked_clips_join_a_visual_stream(made, folder):
    root, _ = made
    write_clip(root / 'data', 'Train_Set', 'silent', [0, 1, 2, 3, -1, 5, 6, 7])
    write_clip(root / 'data', 'Train_Set', 'video45_left', [4] * 90)
    dataset = ClipFeatureDataset(
        dict(video=str(root / 'visual'), audio=str(folder.path)),
        str(root / 'data/annotations/EXPR_Recognition_Challenge/Train_Set'),
        window=128,
    )
    items = {item['clip']: item for item in map(dataset.__getitem__, range(len(dataset)))}
    silent, left = items['silent'], items['video45_left']
    assert silent['seen']['video'].sum() == 8 and not silent['seen']['audio'].any()
    assert left['seen']['video'].equal(left['seen']['audio']) and left['seen']['audio'].sum() == 17
    np.testing.assert_array_equal(
        left['inputs']['audio'][left['seen']['audio']], folder.read('video45_left')
    )


def test_record_names_feature_and_alignment(made, folder):
    meta = json.loads((folder.path / 'meta.json').read_text())
    assert (meta['config'], meta['dim'], meta['data_root']) == (
        'logmel',
        80,
        str((made[0] / 'videos').resolve()),
    )
    assert meta['data_preprocessor'] == dict(type='align_to_frames', radius=0.5, start_index=1)


def test_interrupted_run_continues_with_the_missing_clips(made, folder, monkeypatch):
    first = extract(made, 'again')
    before = {path: path.stat().st_mtime_ns for path in (first.path / 'clips').iterdir()}
    lost = first.array_path('b')
    lost.unlink()
    read = []
    monkeypatch.setattr(
        f'{MODULE}.read_sound',
        lambda path: read.append(path.name) or read_sound(path),
    )
    extract(made, 'again')
    assert read == ['b.avi']
    np.testing.assert_array_equal(first.read('b'), folder.read('b'))
    del before[lost]
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())


def test_video_that_arrives_later_replaces_the_mask(made, tmp_path):
    root, numbers = made
    (tmp_path / 'b.mkv').write_bytes((root / 'videos/video45.mkv').read_bytes())
    options = dict(frames=root / 'visual', out=tmp_path / 'out')
    assert len(extract_audio_features(tmp_path, **options).frame_numbers('gone')) == 0
    (tmp_path / 'gone.mkv').write_bytes((tmp_path / 'b.mkv').read_bytes())
    assert len(extract_audio_features(tmp_path, **options).frame_numbers('gone')) == 4


def test_crops_of_a_config_give_the_clips(made, repo, tmp_path, run_tool):
    root, _ = made
    data = tmp_path / 'affwild2'
    write_clip(data, 'Train_Set', 'video45', [0] * 9, missing=(2, 5))
    write_clip(data, 'Validation_Set', 'b_right', [1] * 4)
    options = [f'{name}_dataloader.dataset.data_root={data}' for name in ('train', 'val', 'test')]
    status, _, err = run_tool(
        TOOL,
        root / 'videos',
        *('--out', tmp_path / 'out', '--config', repo / 'configs/res18_srp_demo.py'),
        *('--work-dir', tmp_path / 'log', '--cfg-options', *options),
    )
    assert status == 0, err
    folder = FeatureFolder.open(tmp_path / 'out')
    assert folder.frame_numbers('video45').tolist() == [1, 3, 4, 6, 7, 8, 9]
    assert folder.read('b_right').shape == (4, 80)


def test_wrong_arguments_leave_no_folder(made, tmp_path):
    root, _ = made
    for options, message in (
        (dict(), 'got both --frames and --config, or neither'),
        (dict(frames=root / 'visual', feature='mfcc'), "--feature: got 'mfcc'"),
        (dict(frames=root / 'visual', feature='speech'), '--checkpoint: got None with --feature'),
        (dict(frames=root / 'visual', checkpoint='x'), "--checkpoint: got 'x' with --feature"),
    ):
        with pytest.raises(ValueError, match=message):
            extract_audio_features(root / 'videos', tmp_path / 'new', **options)
    assert not (tmp_path / 'new').exists()


def test_another_video_of_the_same_name_is_rejected(made, tmp_path):
    root, _ = made
    write_sound_video(tmp_path / 'b.mkv', make_burst(4, 2.5), times=TIMES[:20])
    with pytest.raises(ValueError, match="b.mkv for clip 'b': got frame numbers up to 100"):
        extract_audio_features(tmp_path, tmp_path / 'out', frames=root / 'visual')


def test_frames_before_the_damage_of_a_video_suffice(made, tmp_path):
    root, _ = made
    video = tmp_path / 'video45.mkv'
    samples = make_burst(4, 2.5)
    write_sound_video(video, samples, times=TIMES)
    data = video.read_bytes()
    video.write_bytes(data[:-900])  # the last pictures and the index
    folder = extract_audio_features(tmp_path, tmp_path / 'out', frames=root / 'visual')
    assert np.isfinite(folder.read('video45_left')).all()
