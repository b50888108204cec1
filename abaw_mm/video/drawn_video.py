"""Write pictures as a video with the time stamps and the sound of another one."""

import logging
import os
from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from mmengine.logging import print_log

from abaw_mm.errors import InvalidValueError
from abaw_mm.files import atomic_write
from abaw_mm.video.import_av import import_av

QUALITY = {'crf': '20', 'preset': 'veryfast'}  # of x264
SUFFIXES = ('.mp4', '.mov')  # formats that keep exact time stamps
BT709 = 1  # FFmpeg's number of the colours of HD video
TV_RANGE = 1  # FFmpeg's number of levels from 16 to 235
LAYOUTS = {1: 'mono', 2: 'stereo'}  # of sound that only says how many channels it has
MAX_LEAD = 2.0  # seconds until the first picture; players show nothing before it
MAX_TAIL = 2.0  # seconds of the last picture; else the sound after it is left out


class Source(Protocol):
    """What gives the times and the sound: a VideoReader or a CameraReader."""

    time_base: Fraction
    rate: Fraction

    @property
    def duration(self) -> float | None:
        """Length in seconds, if it is known."""

    @property
    def path(self) -> Path | None:
        """The file, None for a camera."""

    @property
    def end(self) -> float | None:
        """Time in seconds from which on frames are left out."""


class DrawnVideo:
    """Write a video with the time stamps and the sound of a source.

    Time stamps are exact, also at variable rates. Only if the first picture is later than 2 s, as
    with ``start`` or in broadcasts, it is shown at 0, and the others and the sound as much earlier.

    Sound is copied without encoding it again, up to the end of the source or to the last picture if
    that is earlier. Sound whose codec the format cannot hold is left out with a warning.

    Use it as a context manager. The file appears when the block ends. If the block ends by an error
    or Ctrl-C, the file is a whole video of the pictures until then. There is no file without a
    picture.

    Args:
        out: The file to write, ``.mp4`` or ``.mov``.
        like (VideoReader | CameraReader): The source. A camera has no sound.

    Raises:
        ImportError: If PyAV is not installed.
        OSError: If the file cannot be written.
        ValueError: If the file has another suffix.

    Example:
        >>> with DrawnVideo('drawn.mp4', like=reader) as video:  # doctest: +SKIP
        ...     for frame in reader:
        ...         video.write(frame.time, draw(frame.image))
    """

    def __init__(self, out: str | os.PathLike, like: Source) -> None:
        self.out = Path(out)
        self.like = like
        if self.out.suffix not in SUFFIXES:
            raise InvalidValueError(
                f'{out}: got the suffix {self.out.suffix!r}, expected {" or ".join(SUFFIXES)}'
            )
        self._av = import_av()
        self._stack = ExitStack()  # the draft and the open files
        self._container: Any = None
        self._sound: Iterator[Any] = iter(())
        self._packet: Any = None  # of the sound, the next to write
        self._shift = Fraction(0)
        self._first_time = self._last_time = 0.0

    def __enter__(self) -> 'DrawnVideo':
        return self

    def write(self, time: float, image: np.ndarray) -> None:
        """Append a picture.

        Args:
            time (float): Presentation time in seconds, later than that of the picture before.
            image (ndarray): (H, W, 3) uint8 RGB. All pictures have one size.
        """
        image = _make_even(image)
        if self._container is None:
            self._start(time, image.shape)
        frame = self._av.VideoFrame.from_ndarray(image, format='rgb24')
        frame = frame.reformat(format='yuv420p', dst_colorspace=BT709)
        frame.pts = round(time / self.like.time_base - self._shift / self.like.time_base)
        frame.time_base = self.like.time_base
        self._copy_sound(time)
        self._container.mux(self._video.encode(frame))
        self._last_time = time

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._stack:
            if self._container is not None:
                is_whole = kind is None and self._is_near_end()
                self._copy_sound(float('inf') if is_whole else self._last_time)
                self._container.mux(self._video.encode(None))

    def _is_near_end(self) -> bool:
        """Return whether the last picture is one of the last of the source."""
        if self.like.duration is None:
            return self.like.end is None
        return self._last_time > self._first_time + self.like.duration - MAX_TAIL

    def _start(self, time: float, shape: tuple[int, ...]) -> None:
        """Open the files."""
        time_base = self.like.time_base
        self._first_time = time
        if time > MAX_LEAD:
            self._shift = round(time / time_base) * time_base
        draft = self._stack.enter_context(atomic_write(self.out))
        # By default the start is rounded to milliseconds.
        options = {'movie_timescale': str(time_base.denominator)}
        self._container = self._av.open(f'file:{draft}', 'w', options=options)
        self._stack.callback(self._container.close)
        codec = 'libx264' if 'libx264' in self._av.codecs_available else 'mpeg4'
        self._video = self._container.add_stream(codec, rate=self.like.rate, options=QUALITY)
        context = self._video.codec_context
        context.height, context.width = shape[:2]
        context.pix_fmt = 'yuv420p'
        context.time_base = time_base
        context.colorspace = context.color_primaries = context.color_trc = BT709
        context.color_range = TV_RANGE
        if self.like.path is not None:
            self._sound = self._read_sound(self.like.path)
            self._stack.callback(self._sound.close)
            self._packet = next(self._sound, None)

    def _read_sound(self, path: Path) -> Generator[Any, None, None]:
        """Yield the packets of the source's sound, for the file that is written."""
        with self._av.open(f'file:{path}') as source:
            stream = source.streams.best('audio')
            if stream is None:
                return
            codec, layout = stream.codec_context.codec.canonical_name, stream.codec_context.layout
            problem = ''
            if codec not in self._container.supported_codecs:
                problem = codec
            elif layout.name.endswith('channels') and layout.nb_channels not in LAYOUTS:
                problem = f'{layout.name} whose places are unknown'
            if problem:
                print_log(
                    f'{self.out}: the sound of {path} is left out, since {self.out.suffix} cannot '
                    f'hold {problem}',
                    logger='current',
                    level=logging.WARNING,
                )
                return
            copy = self._container.add_stream_from_template(stream)
            if layout.name.endswith('channels'):  # AVI and Matroska do not say which ones
                copy.codec_context.layout = LAYOUTS[layout.nb_channels]
            shift, last = round(self._shift / stream.time_base), None
            with suppress(self._av.error.FFmpegError):  # damaged: keep the sound until there
                for packet in source.demux(stream):
                    if packet.dts is None or packet.is_corrupt:
                        continue  # the end, or damaged
                    if last is not None and packet.dts <= last:
                        return  # another recording begins, which the format cannot hold
                    last = packet.dts
                    packet.pts -= shift
                    packet.dts -= shift
                    if not shift or packet.pts >= 0:
                        packet.stream = copy
                        yield packet

    def _copy_sound(self, until: float) -> None:
        """Copy the sound that starts at or before a time of the source."""
        until -= float(self._shift)
        while self._packet is not None and self._packet.pts * self._packet.time_base <= until:
            self._container.mux(self._packet)
            self._packet = next(self._sound, None)


def _make_even(image: np.ndarray) -> np.ndarray:
    """Repeat the last row and column where their number is odd, which the codec cannot store."""
    height, width = image.shape[:2]
    if height % 2 or width % 2:
        image = np.pad(image, ((0, height % 2), (0, width % 2), (0, 0)), mode='edge')
    return np.ascontiguousarray(image)
