"""Times of frames: exact where stamps are, and increasing where they are not."""

from fractions import Fraction
from types import SimpleNamespace

import pytest
from compose_video import make_pictures, write_video

from abaw_mm.video.decode import VideoReader
from abaw_mm.video.decode.frame_clock import FrameClock
from abaw_mm.video.drawn_video import DrawnVideo

BASE = Fraction(1, 1000)


def read(stamps, is_avi=False):
    """Return the times in milliseconds of frames with these stamps, at a mean of 25 frames/s."""
    clock = FrameClock(BASE, Fraction(25), is_avi)
    pairs = [stamp if isinstance(stamp, tuple) else (stamp, None) for stamp in stamps]
    times = [clock.read(SimpleNamespace(pts=pts, dts=dts)) for pts, dts in pairs]
    return [round(1000 * time, 6) for time in times]


@pytest.mark.parametrize(
    ('stamps', 'times'),
    [
        ([1400, 1433, 1467], [1400, 1433, 1467]),
        ([100, 100, 100, 167], [100, 101, 102, 167]),  # later frames keep their times
        ([0, 0, 17, 33, 50], [0, 1, 17, 33, 50]),  # faster than the mean rate
        ([0, None, None, 100], [0, 40, 80, 100]),
        ([None, None, 200], [0, 40, 200]),
        ([(None, 0), (None, 40), (90, 80)], [0, 40, 90]),  # decoding time stamps
        ([0, 500, 1000, 0, 500, 510], [0, 500, 1000, 1040, 1540, 1550]),  # another recording
        ([0, 40, 20, 120, 160], [0, 40, 80, 120, 160]),
    ],
)
def test_times_of_stamps(stamps, times):
    assert read(stamps) == times


def test_avi_is_timed_by_the_number_of_its_frames():
    stamps = [(1, 2), (4, 3), (3, 4), (5, 5), (2, 6), (8, None), (7, None)]
    assert read(stamps, is_avi=True) == [2, 3, 4, 5, 6, 46, 86]


def test_frames_of_an_avi_with_b_frames_are_equally_apart(tmp_path):
    path = tmp_path / 'a.avi'
    write_video(path, make_pictures(30), time_base=Fraction(1, 30), options={'bf': '3'})
    times = [frame.time for frame in VideoReader(path)]
    assert times == pytest.approx([times[0] + i / 30 for i in range(30)]) and times[0] <= 0.1


def test_repeated_milliseconds_of_a_screen_recording_shift_no_other_frame(tmp_path):
    path, stamps = tmp_path / 'a.mkv', [0, 33000, 67000, 100000, 100200, 100300, 167000, 200000]
    options = dict(time_base=Fraction(1, 1000000), options={'bf': '0'})
    write_video(path, make_pictures(8), stamps, **options)  # Matroska stores milliseconds
    times = [round(1000 * frame.time) for frame in VideoReader(path)]
    assert times == [0, 33, 67, 100, 101, 102, 167, 200]
    with DrawnVideo(tmp_path / 'drawn.mp4', like=VideoReader(path)) as video:
        for frame in VideoReader(path):
            video.write(frame.time, frame.image)
    drawn = [round(1000 * frame.time) for frame in VideoReader(tmp_path / 'drawn.mp4')]
    assert drawn == times
