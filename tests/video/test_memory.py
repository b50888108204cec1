"""Test that memory does not grow with the length of a video."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from compose_video import make_pictures, write_video

DRAW = """
import sys
from pathlib import Path
import numpy as np
from abaw_mm.video.decode import VideoReader
from abaw_mm.video.draw.face_drawer import FaceDrawer
from abaw_mm.video.draw.timeline import Timeline
from abaw_mm.video.drawn_video import DrawnVideo
reader = VideoReader(sys.argv[1])
time = np.array(list(reader.read_times()))
timeline = Timeline(time, np.arange(len(time))[None] // 30 % 8)
drawer = FaceDrawer(reader.width, reader.height, list('abcdefgh'), ['one'], timeline)
with DrawnVideo(sys.argv[2], like=reader) as video:
    for frame in reader:
        box = np.array([[10.0, 20, 90, 110]])
        video.write(frame.time, drawer.draw(frame.image, frame.time, [0], box, np.eye(8)[:1]))
print(len(time), Path('/proc/self/status').read_text())
"""


def measure_peak(video, out):
    """Decode and draw a video in another process; return its frames and its peak in MB."""
    command = [sys.executable, '-c', DRAW, video, out]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    frames, peak = int(output.split()[0]), re.search(r'VmHWM:\s+(\d+) kB', output)
    return frames, int(peak[1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path('/proc/self/status').exists(), reason='needs /proc')
def test_ten_minutes_need_no_more_memory_than_ten_seconds(tmp_path):
    peaks = []
    for seconds in (10, 600):
        path = tmp_path / f'{seconds}.mp4'
        pictures = make_pictures(20, 160, 120) * (seconds // 10)
        write_video(path, pictures, rate=2, sound='aac', options={'preset': 'ultrafast'})
        frames, peak = measure_peak(path, tmp_path / 'drawn.mp4')
        assert frames == 2 * seconds
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 50  # the pixels of 1,200 frames take 69 MB
    print('peak memory in MB:', peaks)
