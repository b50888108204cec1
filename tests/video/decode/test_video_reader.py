"""Test reading of videos against PyAV's own time stamps and pictures."""

import json
import shutil
import subprocess
import sys
from fractions import Fraction

import av
import numpy as np
import pytest
from compose_video import find_video, make_pictures, rotate, write_sound, write_video
from PIL import Image

from abaw_mm.errors import DamagedVideoError, MissingPackageError, UserError
from abaw_mm.video.decode import VideoReader, video_reader

MILLISECOND = Fraction(1, 1000)
UNEVEN = [0, 1, 700, 701, 5000, 5512, 6024, 6536, 7048, 12000, 12001, 20000]
FORMATS = dict(  # file name: arguments of write_video
    plain=('a.mp4', {}),
    uneven=('a.mp4', dict(stamps=UNEVEN)),
    late=(
        'a.mp4',
        dict(stamps=[s + 50_000 for s in UNEVEN], container_options={'movie_timescale': '15360'}),
    ),
    no_b_frames=('a.mp4', dict(options={'bf': '0'})),
    quicktime=('a.mov', dict(sound='pcm_s16le')),
    one_frame=('a.mp4', dict(stamps=[0])),
    fragments=('a.mp4', dict(container_options={'movflags': 'frag_keyframe+empty_moov'})),
    matroska=('a.mkv', dict(time_base=MILLISECOND, sound='aac')),
    webm=(
        'a.webm',
        dict(codec='libvpx-vp9', time_base=MILLISECOND, options={'deadline': 'realtime'}),
    ),
    vp8=('a.webm', dict(codec='libvpx', time_base=MILLISECOND, options={'auto-alt-ref': '1'})),
    mpeg_ts=('a.ts', dict(time_base=Fraction(1, 90000), sound='aac')),
    avi=('a.avi', dict(codec='mpeg4', time_base=Fraction(1, 30))),
    ntsc=('a.avi', dict(codec='mpeg4', time_base=Fraction(1001, 30000))),
    ten_bit=('a.mp4', dict(codec='libx265', pix_fmt='yuv420p10le')),
    full_range=('a.mov', dict(codec='mjpeg', pix_fmt='yuvj420p')),
    interlaced=('a.mp4', dict(options={'flags': '+ildct+ilme'})),
    gif=('a.gif', dict(codec='gif', pix_fmt='rgb8', time_base=Fraction(1, 100))),
)


def read_by_av(path):
    """Return times and pictures by PyAV's plain loop."""
    with av.open(str(path)) as container:
        stream = container.streams.best('video')
        frames = [frame for frame in container.decode(stream)]
        times = [float(frame.pts * stream.time_base) for frame in frames]
        return times, [frame.to_ndarray(format='rgb24') for frame in frames]


def read(reader):
    """Return numbers, times and pictures."""
    frames = list(reader)
    return [f.index for f in frames], [f.time for f in frames], [f.image for f in frames]


@pytest.mark.parametrize('name', FORMATS)
def test_times_and_pictures_are_those_of_the_container(name, tmp_path):
    file, options = FORMATS[name]
    path = tmp_path / file
    written = write_video(path, make_pictures(12), **options)
    times, images = read_by_av(path)
    reader = VideoReader(path)
    indices, got_times, got_images = read(reader)
    assert got_times == times and indices == list(range(len(written)))
    np.testing.assert_array_equal(got_images, images)
    assert (reader.width, reader.height) == (64, 48)
    if name not in ('mpeg_ts', 'fragments', 'gif'):  # these formats start at another time
        assert got_times == written


@pytest.mark.parametrize(
    'name, frames, size',
    [
        ('WolfgangLanger_Pexels.mp4', 472, (640, 360)),
        ('single_face.mp4', 72, (640, 360)),
        ('face_noface.mov', 169, (960, 540)),
        ('no_face.mp4', 95, (960, 540)),
    ],
)
def test_real_videos_have_no_error_of_time(name, frames, size):
    path = find_video(name)
    with av.open(str(path)) as container:
        stream = container.streams.best('video')
        expected = [
            (
                i,
                float(frame.pts * stream.time_base),
                hash(frame.to_ndarray(format='rgb24').data.tobytes()),
            )
            for i, frame in enumerate(container.decode(stream))
        ]
    reader = VideoReader(path)
    got = [(frame.index, frame.time, hash(frame.image.tobytes())) for frame in reader]
    assert got == expected and len(got) == frames and (reader.width, reader.height) == size


def test_times_equal_those_of_ffprobe(tmp_path):
    if shutil.which('ffprobe') is None:
        pytest.skip('no ffprobe')
    path = tmp_path / 'a.mp4'
    write_video(path, make_pictures(12), stamps=UNEVEN)
    command = 'ffprobe -v error -select_streams v -show_entries frame=pts_time -of json'
    output = subprocess.run([*command.split(), path], capture_output=True, check=True).stdout
    expected = [float(frame['pts_time']) for frame in json.loads(output)['frames']]
    np.testing.assert_allclose([frame.time for frame in VideoReader(path)], expected, atol=1e-6)


def test_odd_sizes_are_read(tmp_path):
    path = tmp_path / 'a.mp4'
    write_video(path, make_pictures(3, 63, 47), pix_fmt='yuv444p')
    reader = VideoReader(path)
    np.testing.assert_array_equal(read(reader)[2], read_by_av(path)[1])
    assert (reader.width, reader.height) == (63, 47)


ORIENTATIONS = {  # matrix of the container: what a player shows
    ((1, 0), (0, 1)): lambda image: image,
    ((0, 1), (-1, 0)): lambda image: np.rot90(image, -1),  # a phone that is held upright
    ((-1, 0), (0, -1)): lambda image: np.rot90(image, 2),
    ((0, -1), (1, 0)): lambda image: np.rot90(image),
    ((-1, 0), (0, 1)): np.fliplr,
    ((1, 0), (0, -1)): np.flipud,
    ((0, 1), (1, 0)): lambda image: image.transpose(1, 0, 2),
    ((0, -1), (-1, 0)): lambda image: np.rot90(image, 2).transpose(1, 0, 2),
}


@pytest.mark.parametrize('matrix', ORIENTATIONS)
def test_rotations_and_flips_are_applied(matrix, tmp_path):
    path = tmp_path / 'a.mp4'
    write_video(path, make_pictures(3))
    stored = read_by_av(path)[1]
    rotate(path, matrix)
    reader = VideoReader(path)
    images = read(reader)[2]
    np.testing.assert_array_equal(images, [ORIENTATIONS[matrix](image) for image in stored])
    assert images[0].shape == (reader.height, reader.width, 3)


@pytest.mark.parametrize(
    'aspect, size', [((4, 3), (85, 48)), ((8, 9), (64, 54)), ((1, 1), (64, 48))]
)
def test_pixels_become_square(aspect, size, tmp_path):
    path = tmp_path / 'a.mp4'
    write_video(path, make_pictures(2), aspect=Fraction(*aspect))
    reader = VideoReader(path)
    assert (reader.width, reader.height) == size
    assert read(reader)[2][1].shape == (size[1], size[0], 3)


@pytest.mark.parametrize('default, size', [(0, (32, 24)), (1, (96, 64)), (None, (96, 64))])
def test_default_or_largest_of_several_streams_is_read(default, size, tmp_path):
    path = tmp_path / 'a.mkv'
    pictures = [make_pictures(4, 32, 24), make_pictures(4, 96, 64)]
    write_video(
        path,
        pictures[1],
        time_base=MILLISECOND,
        more_streams=pictures[:1],
        default=default,
        container_options={'default_mode': 'passthrough'},
    )
    reader = VideoReader(path)
    assert (reader.width, reader.height) == size
    assert {image.shape for image in read(reader)[2]} == {(size[1], size[0], 3)}


def test_frames_that_an_edit_list_cuts_do_not_count():
    path = find_video('no_face.mp4')
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert (len(packets), sum(1 for _ in VideoReader(path))) == (98, 95)


def test_frames_have_the_size_of_the_first_and_times_increase(tmp_path):
    """Two recordings in one MPEG-TS: stamps start again, and the size changes."""
    names = [tmp_path / 'a.ts', tmp_path / 'b.ts']
    for path, width in zip(names, (64, 96), strict=True):
        write_video(path, make_pictures(6, width), time_base=Fraction(1, 90000))
    joined = tmp_path / 'joined.ts'
    joined.write_bytes(names[0].read_bytes() + names[1].read_bytes())
    frames = []
    try:
        for frame in VideoReader(joined):
            frames.append(frame)
    except DamagedVideoError:  # a packet is missing where they meet
        pass
    assert len(frames) >= 6 and {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert np.all(np.diff([frame.time for frame in frames]) > 0)


SEEKABLE = dict(  # file name: arguments of write_video, and whether packets give the numbers
    uneven=('a.mp4', dict(stamps=np.cumsum([300, 900] * 75).tolist(), options={'g': '30'}), True),
    open_gop=(
        'a.mp4',
        dict(codec='libx265', options={'x265-params': 'open-gop=1:keyint=30:log-level=none'}),
        True,
    ),
    matroska=('a.mkv', dict(time_base=MILLISECOND, options={'g': '30'}), True),
    webm=(
        'a.webm',
        dict(
            codec='libvpx-vp9', time_base=MILLISECOND, options={'g': '30', 'deadline': 'realtime'}
        ),
        True,
    ),
    mpeg_ts=('a.ts', dict(time_base=Fraction(1, 90000), options={'g': '30'}), False),
    avi=('a.avi', dict(codec='mpeg4', time_base=Fraction(1, 30)), False),
)


@pytest.mark.parametrize('name', SEEKABLE)
def test_numbers_and_pictures_do_not_depend_on_the_start(name, tmp_path, monkeypatch):
    file, options, uses_key = SEEKABLE[name]
    path = tmp_path / file
    write_video(path, make_pictures(150), **options)
    keys = []

    def find_key_frame(*args):
        keys.append(find(*args))
        return keys[-1]

    find = video_reader.find_key_frame
    monkeypatch.setattr(video_reader, 'find_key_frame', find_key_frame)
    indices, times, images = read(VideoReader(path))
    for first, last in ((0, 3), (70, 80), (119, 120), (148, 150)):
        end = times[last] if last < 150 else None
        part = read(VideoReader(path, start=times[first], end=end))
        assert part[:2] == (indices[first:last], times[first:last])
        np.testing.assert_array_equal(part[2], images[first:last])
    assert [key is not None for key in keys] == [False, uses_key, uses_key, uses_key]


def test_start_of_a_stream_whose_packets_are_not_frames_is_found_by_decoding(tmp_path, monkeypatch):
    """The numbers from packets are compared with the frames that are decoded before the start."""
    path = tmp_path / 'a.mp4'
    write_video(path, make_pictures(90), options={'g': '30'})
    whole = read(VideoReader(path))

    def find_wrong_key(*args):
        key = find(*args)
        return type(key)(key.index - 1, [key.stamps[0] - 1, *key.stamps], key.check)

    find = video_reader.find_key_frame
    monkeypatch.setattr(video_reader, 'find_key_frame', find_wrong_key)
    part = read(VideoReader(path, start=whole[1][80]))
    assert part[:2] == (whole[0][80:], whole[1][80:])


def test_number_of_frames_is_estimated_for_progress_bars(tmp_path):
    path = tmp_path / 'a.mkv'  # does not store it
    write_video(path, make_pictures(60), time_base=MILLISECOND)
    assert VideoReader(path).num_frames == 60
    assert VideoReader(path, start=1, end=1.5).num_frames == 15
    assert VideoReader(path, start=1).duration == 2


@pytest.mark.parametrize('suffix', ['.mp4', '.mkv', '.ts'])
def test_truncated_video_gives_every_frame_before_the_damage(suffix, tmp_path):
    path = tmp_path / f'a{suffix}'
    base = {'.mp4': Fraction(1, 15360), '.mkv': MILLISECOND, '.ts': Fraction(1, 90000)}[suffix]
    faststart = {'movflags': 'faststart'} if suffix == '.mp4' else None
    write_video(path, make_pictures(40), time_base=base, container_options=faststart)
    times, images = read(VideoReader(path))[1:]
    content, counts = path.read_bytes(), []
    for size in np.linspace(100, len(content) - 1, 40).astype(int):
        path.write_bytes(content[:size])
        frames, error = [], None
        try:
            for frame in VideoReader(path):
                frames.append(frame)
        except DamagedVideoError as caught:
            error = caught
            assert error.num_frames == len(frames) and error.time == frames[-1].time
            assert f'{len(frames)} frames, up to {frames[-1].time:.3f} s' in str(error)
        except UserError as caught:
            error = caught
            assert not frames
        assert [frame.time for frame in frames] == times[: len(frames)]
        np.testing.assert_array_equal(
            [f.image for f in frames] or images[:0], images[: len(frames)]
        )
        if suffix != '.ts' and len(frames) < 40:
            assert error is not None
        counts.append(len(frames))
    assert np.all(np.diff(counts) >= 0) and counts[-1] >= 37


def test_frames_that_a_truncated_transport_stream_loses_are_reported(tmp_path):
    path = tmp_path / 'a.ts'
    write_video(path, make_pictures(30, 640, 360), time_base=Fraction(1, 90000))
    content, losses = path.read_bytes(), 0
    for size in np.linspace(len(content) // 2, len(content) - 1, 8).astype(int):
        path.write_bytes(content[:size])
        with av.open(str(path)) as container:
            stored = sum(packet.size > 0 for packet in container.demux(video=0))
        frames = VideoReader(path)
        try:
            assert sum(1 for _ in frames) == stored
        except DamagedVideoError:
            losses += 1
    assert losses


def test_frames_before_a_damaged_packet_are_read(tmp_path):
    """The whole file is there, so that only the codec can notice it."""
    path = tmp_path / 'a.mp4'
    write_video(path, make_pictures(60), options={'g': '250'})
    images = read(VideoReader(path))[2]
    with av.open(str(path)) as container:
        packets = [p for p in container.demux(video=0) if p.size]
        damaged = packets[30]
        data = bytearray(path.read_bytes())
        data[damaged.pos + 8 : damaged.pos + damaged.size] = bytes(damaged.size - 8)
        touched = min(packet.pts for packet in packets[30:])
        before = sum(packet.pts < touched for packet in packets)
    path.write_bytes(data)
    frames = []
    with pytest.raises(DamagedVideoError) as caught:
        for frame in VideoReader(path):
            frames.append(frame)
    assert len(frames) == before == caught.value.num_frames
    np.testing.assert_array_equal([frame.image for frame in frames], images[:before])
    with pytest.raises(DamagedVideoError) as caught:  # the numbers are those of the whole video
        list(VideoReader(path, start=frames[-2].time))
    assert caught.value.num_frames == before


@pytest.mark.parametrize(
    'content, found',
    [
        (None, 'no such file'),
        ('folder', 'cannot be read (Is a directory)'),
        (b'', 'Invalid data found'),
        (b'frame,label\n1,2\n' * 99, 'Invalid data found'),
        ('picture', 'a picture'),
        ('sound', 'no video stream'),
        ('cover', 'no video stream'),
    ],
)
def test_what_is_no_video_is_named_in_one_line(content, found, tmp_path):
    path = tmp_path / 'a.mp4'
    if content == 'folder':
        path.mkdir()
    elif content == 'picture':
        path = tmp_path / 'a.jpg'
        Image.new('RGB', (32, 32)).save(path)
    elif content in ('sound', 'cover'):
        write_sound(path, has_cover=content == 'cover')
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as caught:
        VideoReader(path)
    message = str(caught.value)
    assert found in message and message.startswith(f'{path}: ') and '\n' not in message
    assert 'expected a video' in message


def test_range_without_a_frame_is_named(tmp_path):
    path = tmp_path / 'a.mp4'
    write_video(path, make_pictures(30))
    with pytest.raises(UserError, match=r'got no frame at or after 5 s.*the last.*0\.967 s'):
        list(VideoReader(path, start=5))
    with pytest.raises(UserError, match='end: got 1 s, expected more than start, 2 s'):
        VideoReader(path, start=2, end=1)
    with pytest.raises(UserError, match='start: got nan'):
        VideoReader(path, start=float('nan'))


def test_missing_pyav_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'av', None)
    with pytest.raises(MissingPackageError, match=r'pip install abaw_mm\[video\]'):
        VideoReader(tmp_path / 'a.mp4')
