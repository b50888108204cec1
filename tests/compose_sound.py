"""Compose videos whose sound and time stamps are known."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def make_burst(seconds: float, start: float, rate: int = 16000, length: float = 0.1) -> np.ndarray:
    """Return silence with a tone of 1 kHz from ``start`` on, (S, ) float32."""
    samples = np.zeros(round(seconds * rate), np.float32)
    time = np.arange(round(length * rate)) / rate
    first = round(start * rate)
    samples[first : first + len(time)] = 0.5 * np.sin(2 * np.pi * 1000 * time)
    return samples


def write_sound_video(
    path: Path,
    samples: np.ndarray | None,
    rate: int = 16000,
    codec: str = 'pcm_f32le',
    times: Sequence[float] = (),
    start: float = 0.0,
    gap: tuple[int, float] | None = None,
) -> Path:
    """Encode small pictures and a sound.

    Args:
        path: The file. Its suffix gives the format; Matroska holds unchanged samples.
        samples: (S, ) float32, (2, S) for two channels, or None for no sound.
        rate: Samples per second.
        codec: Encoder of the sound.
        times: Time of each picture in seconds.
        start: Time of the first sample in seconds.
        gap: Sample after which the time stamps jump, and by how many seconds.
    """
    with av.open(str(path), 'w') as container:
        video = container.add_stream('mpeg4', rate=25)
        video.width, video.height, video.pix_fmt = 32, 32, 'yuv420p'
        video.codec_context.time_base = Fraction(1, 1000)
        sound = None
        if samples is not None:
            samples = np.atleast_2d(samples)
            layout = 'mono' if len(samples) == 1 else 'stereo'
            sound = container.add_stream(codec, rate=rate, layout=layout)
        container.start_encoding()
        if sound is not None:
            _write_samples(container, sound, samples, rate, start, gap)
        for time in times:
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format='rgb24')
            frame.pts, frame.time_base = round(time * 1000), Fraction(1, 1000)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def _write_samples(container, stream, samples, rate, start, gap) -> None:
    size = stream.codec_context.frame_size or 1000
    for first in range(0, samples.shape[1], size):
        part = np.ascontiguousarray(samples[:, first : first + size])
        frame = av.AudioFrame.from_ndarray(part, 'fltp', stream.layout.name)
        frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
        frame.pts = first + round(start * rate)
        if gap and first >= gap[0]:
            frame.pts += round(gap[1] * rate)
        for converted in av.AudioResampler(stream.format, stream.layout, rate).resample(frame):
            container.mux(stream.encode(converted))
    container.mux(stream.encode(None))
