"""Decode a video file."""

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from abaw_mm.errors import DamagedVideoError, InvalidValueError
from abaw_mm.files import explain_damage
from abaw_mm.video.import_av import import_av
from abaw_mm.video.video_frame import VideoFrame

EXPECTED, FIX = 'a video', 'give a file that a video player can show'
STRICT = {'err_detect': 'explode'}  # a damaged frame is an error, not an approximate picture
LOOKAHEAD = 32  # packets after the damage that are searched for frames to show before it
ATTACHED_PICTURE = 0x400  # AV_DISPOSITION_ATTACHED_PIC: cover of a song
MAX_ASPECT = 8  # of a pixel; headers with more are damaged


class _Damage(Exception):
    """Decoding cannot go on. ``in_codec``: some frame is damaged, perhaps not the next one."""

    def __init__(self, reason: str, in_codec: bool = False) -> None:
        super().__init__(reason)
        self.in_codec = in_codec


class VideoReader:
    """Read the frames of a video file in the order of presentation.

    Each iteration decodes the file from its beginning. Memory does not grow with the length of the
    video.

    **Time.** The time of a frame is its presentation time stamp times the time base of the stream,
    which ``ffprobe`` prints as ``pts_time``. A stream that starts at 1.4 s, as MPEG-TS streams do,
    starts at 1.4 s here. Edit lists are applied as in players: frames that they cut do not count. A
    frame without a presentation time stamp has its decoding time stamp, as in FFmpeg. Times
    increase: a frame whose stamp is missing or does not increase follows the frame before at the
    mean rate.

    **Pictures.** Rotations and flips of the container are applied. Pixels that are not square are
    stretched to squares, as in players. Interlaced frames are not split. If the resolution changes
    within the video, frames are scaled to the size of the first. Of several video streams, the one
    that FFmpeg ranks best is read.

    **Damage.** Frames before the damage are read; then :class:`~abaw_mm.errors.DamagedVideoError`
    is raised. Damage that neither container nor codec notices remains unnoticed.

    Args:
        path: The file.
        start (float, optional): Leave out frames before this time, in seconds. Frame numbers do not
            depend on it.
        end (float, optional): Stop before the first frame at or after this time, in seconds.

    Attributes:
        width (int): Width of the pictures in pixels.
        height (int): Height of the pictures in pixels.
        time_base (Fraction): Unit of the stream's time stamps in seconds.
        rate (Fraction): Mean frames/s, as the container says or FFmpeg guesses.
        duration (float | None): Length in seconds, if the container says it.

    Raises:
        ImportError: If PyAV is not installed.
        FileNotFoundError: If the file does not exist.
        OSError: If it is a folder or access is denied.
        ValueError: If it is not a video or no frame can be decoded. While iterating: if it is
            damaged, or has no frame between ``start`` and ``end``.
    """

    def __init__(
        self, path: str | os.PathLike, start: float | None = None, end: float | None = None
    ) -> None:
        _check_range(start, end)
        self.path = Path(path)
        self.start, self.end = start, end
        with self._open() as (container, stream):
            self.time_base = stream.time_base
            self.rate = stream.average_rate or stream.guessed_rate or Fraction(25)
            self.duration = _read_length(stream)
            if self.duration is None and container.duration:
                self.duration = container.duration / 1e6
            self._num_frames = stream.frames
            aspect = stream.sample_aspect_ratio or Fraction(1)
        self._options, first = STRICT, self._read_first_frame(STRICT)
        if first is None:  # FFmpeg finds damage in every frame of some files that players show
            self._options, first = {}, self._read_first_frame({})
        if first is None:
            raise InvalidValueError(
                f'{path}: got no frame that can be decoded, expected {EXPECTED}; {FIX}'
            )
        self._matrix = read_rotation(first)
        self._size = square_pixels(first.width, first.height, aspect)
        self.width, self.height = self._size if self._matrix[0, 0] else self._size[::-1]
        self._first_time = self._next_time(first, None)

    @property
    def num_frames(self) -> int | None:
        """Number of frames between start and end, estimated, for progress bars."""
        if self.start is None and self.end is None and self._num_frames:
            return self._num_frames
        if self.duration is None:
            return None
        stop = self._first_time + self.duration
        stop = stop if self.end is None else min(stop, self.end)
        return max(1, round((stop - max(self._first_time, self.start or 0)) * self.rate))

    def __iter__(self) -> Iterator[VideoFrame]:
        found, time = False, self._first_time
        for index, (time, frame) in enumerate(self._read_timed()):
            if self.end is not None and time >= self.end:
                break
            if self.start is None or time >= self.start:
                found = True
                yield VideoFrame(index, time, self._convert(frame))
        if not found:
            raise InvalidValueError(
                f'{self.path}: got no frame from {self.start} to {self.end} s, expected times from '
                f'{self._first_time:.3f} s on, the last read is {time:.3f} s; correct start and end'
            )

    def read_times(self) -> Iterator[float]:
        """Yield the time of every frame of the video in seconds, whatever start and end.

        Frames are decoded, since containers may list frames that players do not show.
        """
        for time, _ in self._read_timed():
            yield time

    @contextmanager
    def _open(self) -> Iterator[tuple[Any, Any]]:
        """Open the container and choose a stream."""
        av = import_av()
        with explain_damage(self.path, EXPECTED, FIX):
            try:
                container = av.open(f'file:{self.path}')
            except av.error.FFmpegError as error:
                if isinstance(error, OSError) or not error.strerror:
                    raise
                raise ValueError(error.strerror) from error
        with container:
            picture = container.format.name == 'image2' or container.format.name.endswith('_pipe')
            stream = container.streams.best('video')
            if picture or stream is None or stream.disposition & ATTACHED_PICTURE:
                raise InvalidValueError(
                    f'{self.path}: got {"a picture" if picture else "no video stream"}, expected '
                    f'{EXPECTED}; {FIX}'
                )
            yield container, stream

    def _read_first_frame(self, options: dict[str, str]) -> Any:
        """Return the first frame, or None if none can be decoded."""
        try:
            return next(self._decode(options, is_parallel=False), None)
        except _Damage:
            return None

    def _read_timed(self) -> Iterator[tuple[float, Any]]:
        """Yield the time and PyAV's frame of every frame."""
        count, time = 0, None
        for is_parallel in (True, False):
            try:
                for frame in islice(self._decode(self._options, is_parallel), count, None):
                    time = self._next_time(frame, time)
                    count += 1
                    yield time, frame
            except _Damage as error:
                if is_parallel and error.in_codec:
                    continue  # decode again, one frame at a time, to know which frame it is
                raise DamagedVideoError(self.path, count, time or 0.0, str(error)) from error
            return

    def _next_time(self, frame: Any, before: float | None) -> float:
        stamp = frame.dts if frame.pts is None else frame.pts
        time = None if stamp is None else float(stamp * self.time_base)
        if before is None:
            return time or 0.0
        return before + float(1 / self.rate) if time is None or time <= before else time

    def _decode(self, options: dict[str, str], is_parallel: bool) -> Iterator[Any]:
        """Yield PyAV's frames before the damage, then raise _Damage.

        Frames before the first that can be decoded are left out, as in a recording that starts
        between two key frames. With ``is_parallel`` several frames are decoded at once.
        """
        av_error = import_av().error.FFmpegError
        with self._open() as (container, stream):
            codec = stream.codec_context
            codec.options = options
            codec.thread_type = 'AUTO' if is_parallel else 'NONE'
            packets, length = container.demux(stream), _Length(container, stream)
            packet, has_started = None, False
            try:
                while (packet := _read_packet(packets, av_error)) is not None:
                    try:
                        length.check(packet)
                        for frame in _decode_packet(packet, av_error):
                            if options and frame.is_corrupt:
                                raise _Damage('a frame is damaged', in_codec=True)
                            has_started = True
                            yield frame
                    except _Damage:
                        if has_started:
                            raise
            except _Damage as damage:
                if not (is_parallel and damage.in_codec):
                    last_dts = None if length.first_dts is None else length.last_dts
                    yield from _flush(codec, packet, packets, last_dts, av_error)
                raise

    def _convert(self, frame: Any) -> np.ndarray:
        """Return the picture as it is to be shown, (H, W, 3) uint8 RGB."""
        width, height = self._size
        image = frame.to_ndarray(format='rgb24', width=width, height=height)
        return turn(image, self._matrix)


class _Length:
    """Compare the packets of a stream with the length that the header gives."""

    def __init__(self, container: Any, stream: Any) -> None:
        length = _read_length(stream)
        self.expected = float('-inf')
        if length is not None and container.format.name.startswith(('mov', 'matroska', 'avi')):
            half = float(1 / (stream.average_rate or 25)) / 2  # a frame, for rounding
            is_end = not stream.duration  # Matroska has the time of the end
            start = float((stream.start_time or 0) * stream.time_base) if is_end else 0.0
            self.expected = length - start - half
        self.time_base = stream.time_base
        self.first_dts: int | None = None
        self.last_dts = 0
        self.before = 0  # packets before the first decoding time stamp
        self.duration = 0

    def check(self, packet: Any) -> None:
        """Raise _Damage if a packet is incomplete, or is the end and packets are missing."""
        if packet.is_corrupt:
            raise _Damage('a packet is incomplete')
        if not packet.size:  # the end
            count = 1 + self.before
            span = 0 if self.first_dts is None else self.last_dts - self.first_dts
            if (span + count * self.duration) * self.time_base < self.expected:
                raise _Damage(f'the end is missing, expected {self.expected:.2f} s')
        elif packet.dts is None:
            self.before += self.first_dts is None
        else:
            self.first_dts = packet.dts if self.first_dts is None else self.first_dts
            self.last_dts = packet.dts
            self.duration = packet.duration or 0


def _read_packet(packets: Iterator[Any], av_error: type[Exception]) -> Any:
    """Return the next packet, which is empty at the end, or None after it."""
    try:
        return next(packets, None)
    except av_error as error:
        raise _Damage(_explain(error)) from error


def _decode_packet(packet: Any, av_error: type[Exception]) -> list[Any]:
    try:
        return packet.decode()
    except av_error as error:
        raise _Damage(_explain(error), in_codec=True) from error


def _explain(error: Any) -> str:
    return error.strerror or type(error).__name__


def _flush(
    codec: Any,
    damaged: Any,
    packets: Iterator[Any],
    last_dts: int | None,
    av_error: type[Exception],
) -> Iterator[Any]:
    """Yield the frames that a codec holds and that precede every frame it did not get.

    Packets are in decoding order. A frame that is not decoded has a presentation time stamp of at
    least its decoding time stamp, which is after those of the packets read.

    Args:
        damaged: The packet that was not decoded, or None.
        packets: Those after it.
        last_dts: Decoding time stamp of the last packet that was decoded.
    """
    ahead = [] if damaged is None else [damaged]
    with suppress(av_error):
        ahead.extend(islice(packets, LOOKAHEAD))
    ahead = [packet for packet in ahead if packet.size]
    stamps = [packet.pts for packet in ahead]
    decoded_until = max((p.dts for p in ahead if p.dts is not None), default=last_dts)
    if decoded_until is None or None in stamps:
        return
    stop = min([*stamps, decoded_until + 1])
    frames = []
    with suppress(av_error):
        frames = codec.decode(None)
    for frame in frames:
        if frame.pts is None or frame.pts >= stop or frame.is_corrupt:
            return
        yield frame


def _check_range(start: float | None, end: float | None) -> None:
    for name, value in (('start', start), ('end', end)):
        if value is not None and not math.isfinite(value):
            raise InvalidValueError(f'{name}: got {value}, expected a time in seconds')
    if end is not None and end <= (start or 0):
        raise InvalidValueError(
            f'end: got {end} s, expected more than start, which is {start or 0} s'
        )


def _read_length(stream: Any) -> float | None:
    """Return the length of a stream in seconds, if the container says it."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = re.match(r'(\d+):(\d\d):(\d\d\.\d+)', stream.metadata.get('DURATION', ''))  # Matroska
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None


def square_pixels(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Return the size of a picture with square pixels; no side is shortened.

    Args:
        aspect (Fraction): Width of a pixel by its height.

    >>> square_pixels(720, 576, Fraction(16, 15)), square_pixels(1440, 1080, Fraction(4, 3))
    ((768, 576), (1920, 1080))
    """
    if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
        return width, height
    return (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))


def read_rotation(frame: Any) -> np.ndarray:
    """Return how a frame is turned to be shown: (2, 2) int of 0, 1 and -1.

    The matrix takes columns and rows of the stored picture to those of the shown one. Angles
    between right ones are rounded to right ones.
    """
    matrix = np.eye(3, dtype=np.int32)
    for data in frame.side_data:
        if data.type.name == 'DISPLAYMATRIX':
            matrix = np.frombuffer(bytes(data), np.int32, 9).reshape(3, 3)
    (a, b), (c, d) = matrix[:2, :2].tolist()
    if abs(a) >= abs(b):
        return np.array([[_sign(a), 0], [0, _sign(d)]])
    return np.array([[0, _sign(c)], [_sign(b), 0]])


def _sign(number: int) -> int:
    return -1 if number < 0 else 1


def turn(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Turn and flip a picture by the matrix of :func:`read_rotation`.

    >>> turn(np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([[0, -1], [1, 0]]))
    array([[3, 0],
           [4, 1],
           [5, 2]], dtype=uint8)
    """
    if not matrix[0, 0]:
        image = cv2.transpose(image)
    flips_x, flips_y = matrix.sum(1) < 0
    if flips_x or flips_y:
        image = cv2.flip(image, -1 if flips_x and flips_y else int(flips_x))
    return image
