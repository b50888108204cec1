"""Test the videos that are written: time stamps, sound, interruptions."""

import errno
from contextlib import suppress
from fractions import Fraction

import av
import numpy as np
import pytest
from compose_video import find_video, make_pictures, write_video

from abaw_mm.errors import DamagedVideoError, FileAccessError, InvalidValueError
from abaw_mm.video.decode import VideoReader
from abaw_mm.video.drawn_video import DrawnVideo

UNEVEN = [0, 1, 700, 701, 5000, 5512, 6024, 6536, 7048, 12000, 12001, 20000, 33333, 40000]
SOURCES = dict(  # file name: arguments of write_video
    plain=('a.mp4', dict(sound='aac')),
    uneven=('a.mp4', dict(stamps=UNEVEN, sound='aac')),
    late=(
        'a.mp4',
        dict(stamps=[s + 20_001 for s in UNEVEN], container_options={'movie_timescale': '15360'}),
    ),
    mp3=('a.mp4', dict(sound='mp3')),
    pcm=('a.mov', dict(sound='pcm_s16le')),
    opus=('a.webm', dict(codec='libvpx-vp9', time_base=Fraction(1, 1000), sound='libopus')),
    mpeg_ts=('a.ts', dict(time_base=Fraction(1, 90000), sound='aac')),
    ntsc=('a.avi', dict(codec='mpeg4', time_base=Fraction(1001, 30000))),
    one_frame=('a.mp4', dict(stamps=[0])),
)


def copy(reader, out, stop=None, step=1):
    """Write the frames of a video again."""
    with DrawnVideo(out, like=reader) as video:
        for frame in reader:
            video.write(frame.time, frame.image[::step, ::step])
            if frame.index == stop:
                raise KeyboardInterrupt


def read_sound(path):
    """Return time and bytes of the packets."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        packets = [p for p in container.demux(container.streams.audio[0]) if p.dts is not None]
        return [(p.pts * p.time_base, bytes(p)) for p in packets]


@pytest.mark.parametrize('name', SOURCES)
def test_times_and_sound_are_those_of_the_source(name, tmp_path):
    file, options = SOURCES[name]
    path, out = tmp_path / file, tmp_path / 'drawn.mp4'
    write_video(path, make_pictures(14), **options)
    copy(VideoReader(path), out)
    source, drawn = list(VideoReader(path)), list(VideoReader(out))
    assert [frame.time for frame in drawn] == [frame.time for frame in source]
    sound, kept = read_sound(path), read_sound(out)
    header = 7 if name == 'mpeg_ts' else 0  # of each packet (ADTS), which mp4 stores once
    assert [data for _, data in kept] == [data[header:] for _, data in sound]
    assert bool(sound) == ('sound' in options)
    np.testing.assert_allclose(  # mp4 stores them in samples, WebM in milliseconds
        [float(at) for at, _ in kept], [float(at) for at, _ in sound], rtol=0, atol=1 / 44100
    )
    errors = [
        np.abs(a.image - np.float32(b.image)).mean() for a, b in zip(source, drawn, strict=True)
    ]
    assert max(errors) < 6  # x264 is lossy


def test_real_video_of_uneven_rate_and_late_sound_keeps_both(tmp_path):
    path, out = find_video('face_noface.mov'), tmp_path / 'drawn.mp4'
    reader = VideoReader(path, end=3.2)
    copy(reader, out, step=4)
    times = [frame.time for frame in reader]
    assert [frame.time for frame in VideoReader(out)] == times
    sound = read_sound(path)
    assert sound[0][0] > 2.4
    assert read_sound(out) == [packet for packet in sound if packet[0] <= times[-1]]


def test_colours_are_those_of_the_pictures(tmp_path):
    path, out = tmp_path / 'a.mp4', tmp_path / 'drawn.mp4'
    colours = [(200, 30, 40), (30, 160, 50), (40, 60, 200), (230, 220, 60), (128, 128, 128)]
    picture = np.repeat(np.array(colours, np.uint8), 64, axis=0)[None].repeat(64, axis=0)
    write_video(path, [picture] * 5)
    reader = VideoReader(path)
    with DrawnVideo(out, like=reader) as video:
        for frame in reader:
            video.write(frame.time, picture)
    with av.open(str(out)) as container:
        decoded = next(container.decode(video=0))
        assert (decoded.colorspace, decoded.color_range) == (1, 1)  # BT.709, TV range
    got = next(iter(VideoReader(out))).image[32, 32::64].astype(int)
    np.testing.assert_allclose(got, colours, atol=5)


def test_part_begins_at_zero_and_ends_with_its_sound(tmp_path):
    path, out = tmp_path / 'a.mp4', tmp_path / 'drawn.mp4'
    write_video(path, make_pictures(180), sound='aac')
    reader = VideoReader(path, start=3, end=5)
    copy(reader, out)
    times = np.array([frame.time for frame in reader])
    np.testing.assert_allclose([f.time for f in VideoReader(out)], times - times[0], atol=1e-9)
    whole = dict((data, at) for at, data in read_sound(path))
    sound = read_sound(out)
    assert {round(float(whole[data] - at), 3) for at, data in sound} == {3.0}
    assert 1.9 < sound[-1][0] <= 2


def test_interrupted_video_is_whole(tmp_path):
    path, out = tmp_path / 'a.mp4', tmp_path / 'drawn.mp4'
    write_video(path, make_pictures(300), sound='aac')
    reader = VideoReader(path)
    with pytest.raises(KeyboardInterrupt):
        copy(reader, out, stop=59)
    assert [frame.time for frame in VideoReader(out)] == [f.time for f in VideoReader(path, end=2)]
    assert 1.9 < read_sound(out)[-1][0] <= 2
    assert [p.name for p in sorted(tmp_path.iterdir())] == ['a.mp4', 'drawn.mp4']


def test_pictures_that_end_early_end_the_sound(tmp_path):
    path, out = tmp_path / 'a.mp4', tmp_path / 'drawn.mp4'
    write_video(path, make_pictures(300), sound='aac')
    reader = VideoReader(path)
    with DrawnVideo(out, like=reader) as video:
        for frame, _ in zip(reader, range(60), strict=False):
            video.write(frame.time, frame.image)
    assert 1.9 < read_sound(out)[-1][0] <= 2


def test_no_file_is_left_without_pictures_or_on_a_full_disk(tmp_path, monkeypatch):
    path, out = tmp_path / 'a.mp4', tmp_path / 'drawn.mp4'
    write_video(path, make_pictures(3))
    reader = VideoReader(path)
    with pytest.raises(ZeroDivisionError), DrawnVideo(out, like=reader):
        raise ZeroDivisionError
    with pytest.raises(FileAccessError, match='cannot be written'):
        with DrawnVideo(out, like=reader) as video:
            video.write(0, next(iter(reader)).image)
            video._video = FullDisk()
    assert [p.name for p in tmp_path.iterdir()] == ['a.mp4']


class FullDisk:
    def encode(self, frame):
        raise OSError(errno.ENOSPC, 'No space left on device')


def test_sound_that_mp4_cannot_hold_is_left_out(tmp_path, logged_warnings):
    path, out = tmp_path / 'a.avi', tmp_path / 'drawn.mp4'
    write_video(path, make_pictures(10), codec='mpeg4', time_base=Fraction(1, 30), sound='adpcm_ms')
    copy(VideoReader(path), out)
    assert len(list(VideoReader(out))) == 10 and not read_sound(out)
    assert len(logged_warnings) == 1 and 'cannot hold adpcm_ms' in logged_warnings[0]


@pytest.mark.parametrize(
    ('file', 'options'),
    [
        ('a.avi', dict(codec='mjpeg', pix_fmt='yuvj420p', time_base=Fraction(1, 30))),
        ('a.mkv', dict(time_base=Fraction(1, 1000))),
    ],
)
def test_stereo_sound_without_the_order_of_its_channels_is_kept(tmp_path, file, options):
    path, out = tmp_path / file, tmp_path / 'drawn.mp4'
    write_video(path, make_pictures(10), sound='pcm_s16le', **options)
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.layout.name == '2 channels'
    copy(VideoReader(path), out)
    sound = read_sound(path)
    assert b''.join(data for _, data in read_sound(out)) == b''.join(data for _, data in sound)


def test_joined_recordings_keep_their_pictures_and_the_sound_of_the_first(tmp_path):
    path, joined, out = tmp_path / 'a.ts', tmp_path / 'joined.ts', tmp_path / 'drawn.mp4'
    write_video(path, make_pictures(14), time_base=Fraction(1, 90000), sound='aac')
    joined.write_bytes(2 * path.read_bytes())
    frames = []
    with DrawnVideo(out, like=VideoReader(joined)) as video, suppress(DamagedVideoError):
        for frame in VideoReader(joined):
            video.write(frame.time, frame.image)
            frames.append(frame.time)
    np.testing.assert_allclose([f.time for f in VideoReader(out)], frames, atol=1e-4)
    assert 0 < len(read_sound(out)) <= len(read_sound(path))


def test_other_suffixes_are_refused(tmp_path):
    path = tmp_path / 'a.mp4'
    write_video(path, make_pictures(1))
    with pytest.raises(InvalidValueError, match="got the suffix '.avi', expected .mp4 or .mov"):
        DrawnVideo(tmp_path / 'b.avi', like=VideoReader(path))
