"""Read the sound of a video as samples with the time of the first."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from abaw_mm.errors import InvalidValueError
from abaw_mm.files import explain_damage
from abaw_mm.video.import_av import import_av

RATE = 16000  # samples per second, which speech models are trained on
# One channel: the mean of all channels. Gaps between time stamps become silence.
RESAMPLING = f'{RATE}:async=1:ochl=mono:osf=flt:rematrix_maxval=1.0'
EXPECTED, FIX = 'a video with sound', 'give a file that a video player can play'


@dataclass(frozen=True)
class Sound:
    """The sound of a video, one channel of 16000 samples per second.

    Attributes:
        samples (ndarray): (S, ) float32, mostly in -1 to 1.
        start (float): Presentation time of the first sample in seconds, on the clock of the times
            of frames.
    """

    samples: np.ndarray
    start: float


def has_sound(path: str | os.PathLike) -> bool:
    """Return whether a video has a sound stream; only the header is read.

    Raises:
        ImportError: If PyAV is not installed.
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a video.
    """
    with _open(path) as (_, stream):
        return stream is not None


def read_sound(path: str | os.PathLike) -> Sound:
    """Read the sound of a video.

    Of several sound streams, the one that FFmpeg ranks best is read. Channels are averaged.
    FFmpeg's resampler converts to 16 kHz; it fills gaps in the time stamps with silence, so that a
    sample's index gives its time.

    Args:
        path: The file.

    Raises:
        ImportError: If PyAV is not installed.
        FileNotFoundError: If the file does not exist.
        ValueError: If it is not a video, is damaged, or has no sound that can be decoded.
    """
    av_error = import_av().error.FFmpegError
    parts: list[np.ndarray] = []
    start = 0.0
    with _open(path) as (container, stream):
        if stream is not None:
            try:
                for frame in _resample(container, stream):
                    if not parts and frame.pts is not None:
                        start = float(frame.pts * frame.time_base)
                    parts.append(frame.to_ndarray()[0])
            except av_error as error:
                raise InvalidValueError(
                    f'{path}: got a damaged sound after {sum(map(len, parts)) / RATE:.2f} s '
                    f'({error.strerror or type(error).__name__}); get the file again, re-encode '
                    'it to skip the damage, or move it away to mask its clips'
                ) from error
    if not parts:
        raise InvalidValueError(
            f'{path}: got no sound that can be decoded, expected {EXPECTED}; get the file again, '
            'or move it away to mask its clips'
        )
    return Sound(np.concatenate(parts), start)


@contextmanager
def _open(path: str | os.PathLike) -> Iterator[tuple[Any, Any]]:
    """Open a container and choose its sound stream, None if it has none."""
    av = import_av()
    with explain_damage(path, EXPECTED, FIX):
        try:
            container = av.open(f'file:{os.fspath(path)}')
        except av.error.FFmpegError as error:
            if isinstance(error, OSError) or not error.strerror:
                raise
            raise ValueError(error.strerror) from error
    with container:
        yield container, container.streams.best('audio')


def _resample(container: Any, stream: Any) -> Iterator[Any]:
    """Yield PyAV's frames of the sound at 16 kHz, one channel, float32."""
    graph = None
    for frame in container.decode(stream):
        if graph is None:  # some containers do not say what the decoder returns
            graph = _build_graph(frame)
        graph.push(frame)
        yield from _pull(graph)
    if graph is not None:
        graph.push(None)
        yield from _pull(graph)


def _build_graph(frame: Any) -> Any:
    """Build FFmpeg's resampler for frames like the given one."""
    graph = import_av().filter.Graph()
    source = graph.add_abuffer(
        sample_rate=frame.sample_rate,
        format=frame.format.name,
        layout=frame.layout.name,
        time_base=frame.time_base,
    )
    resampler, sink = graph.add('aresample', RESAMPLING), graph.add('abuffersink')
    graph.link_nodes(source, resampler, sink).configure()
    return graph


def _pull(graph: Any) -> Iterator[Any]:
    av = import_av()
    while True:
        try:
            yield graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):  # needs more frames, or is done
            return
