"""Read the frames of a video file."""

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from copy import copy
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from abaw_mm.errors import DamagedVideoError, InvalidValueError
from abaw_mm.files import explain_damage
from abaw_mm.video.decode.decode_frames import (
    LENIENT,
    STRICT,
    Damage,
    PacketCheck,
    decode_frames,
    read_length,
)
from abaw_mm.video.decode.find_key_frame import KeyFrame, find_key_frame
from abaw_mm.video.decode.frame_clock import FrameClock
from abaw_mm.video.decode.turn_picture import read_rotation, square_pixels, turn_picture
from abaw_mm.video.import_av import import_av
from abaw_mm.video.video_frame import VideoFrame

EXPECTED, FIX = 'a video', 'give a file that a video player can show'
# Options of the codec, and whether several frames are decoded at once. The second pass finds where
# damage is that the codec reported, the third gets the frames that the codec then dropped.
PASSES = ((STRICT, True), (STRICT, False), (LENIENT, False))
DEFAULT, ATTACHED_PICTURE = 1, 0x400  # AV_DISPOSITION_DEFAULT, ..._ATTACHED_PIC: a cover


class VideoReader:
    """Read the frames of a video file in the order of presentation.

    Each iteration decodes the file from its beginning. Memory does not grow with the length of the
    video.

    **Time.** The time of a frame is its presentation time stamp times the time base of the stream,
    which ``ffprobe`` prints as ``pts_time``. A stream that starts at 1.4 s, as MPEG-TS streams do,
    starts at 1.4 s here. Edit lists are applied as in players: frames that they cut do not count.
    Times increase; :class:`~abaw_mm.video.decode.frame_clock.FrameClock` says what happens where
    stamps are missing, repeat or go back.

    **Pictures.** Rotations and flips of the container are applied. Pixels that are not square are
    stretched to squares, as in players. Interlaced frames are not split. If the resolution changes
    within the video, frames are scaled to the size of the first. Of several video streams, the
    default one is read, else the one with the most pixels.

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
            self.duration = read_length(stream)
            self._is_avi = container.format.name == 'avi'
            if self.duration is None and container.duration:
                self.duration = container.duration / 1e6
            self._num_frames = stream.frames
            aspect = stream.sample_aspect_ratio or Fraction(1)
        self._options, first = STRICT, self._read_first_frame(STRICT)
        if first is None:  # FFmpeg finds damage in every frame of some files that players show
            self._options, first = LENIENT, self._read_first_frame(LENIENT)
        if first is None:
            raise InvalidValueError(
                f'{path}: got no frame that can be decoded, expected {EXPECTED}; {FIX}'
            )
        self._matrix = read_rotation(first)
        self._size = square_pixels(first.width, first.height, aspect)
        self.width, self.height = self._size if self._matrix[0, 0] else self._size[::-1]
        self._first_time = self._make_clock().read(first)

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
        for index, time, frame in self._read_from_start():
            if self.end is not None and time >= self.end:
                break
            if self.start is None or time >= self.start:
                found = True
                yield VideoFrame(index, time, self._convert(frame))
        if not found:
            raise InvalidValueError(
                f'{self.path}: got no frame{_describe_part(self.start, self.end)}, expected times '
                f'from {self._first_time:.3f} s on, the last read is {time:.3f} s; correct start '
                'and end'
            )

    def read_times(self) -> Iterator[float]:
        """Yield the time of every frame of the video in seconds, whatever start and end.

        Frames are decoded, since containers may list frames that players do not show.
        """
        for _, time, _ in self._read_timed():
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
            kind, stream = container.format.name, _choose_stream(container)
            found = ''
            if kind == 'image2' or kind.endswith('_pipe'):
                found = 'a picture'
            elif stream is None:
                found = 'no video stream'
            elif stream.codec_context is None:
                found = 'an unknown codec'
            if found:
                raise InvalidValueError(f'{self.path}: got {found}, expected {EXPECTED}; {FIX}')
            yield container, stream

    def _read_first_frame(self, options: dict[str, str]) -> Any:
        """Return the first frame, or None if none can be decoded."""
        self._options = options
        try:
            return next(self._decode(options, is_parallel=False), None)
        except Damage:
            return None

    def _read_from_start(self) -> Iterator[tuple[int, float, Any]]:
        """Yield number, time and PyAV's frame of the frames, at the latest from ``start`` on."""
        key = None
        if self.start is not None:
            with self._open() as (container, stream):
                key = find_key_frame(container, stream, self.start)
        frames = self._read_timed(key)
        if key is not None:
            stamps = []
            with suppress(DamagedVideoError):  # raised again below
                stamps = [frame.pts for _, _, frame in islice(frames, len(key.stamps))]
            if stamps != key.stamps:  # packets are not frames after all
                frames = self._read_timed()
        yield from frames

    def _read_timed(self, key: KeyFrame | None = None) -> Iterator[tuple[int, float, Any]]:
        """Yield number, time and PyAV's frame of all frames, or of those from a key frame on."""
        first = 0 if key is None else key.index
        index, time, clock = first, 0.0, self._make_clock()
        damage = Damage('')
        for options, is_parallel in PASSES if self._options is STRICT else PASSES[-1:]:
            is_rest = options is not self._options  # of what was decoded before the damage
            try:
                frames = self._decode(options, is_parallel, key)
                for frame in islice(frames, index - first, None):
                    if is_rest and (frame.pts is None or frame.pts >= damage.stop):
                        break
                    time = clock.read(frame)
                    yield index, time, frame
                    index += 1
                if not is_rest:
                    return
            except Damage as error:
                damage = damage if is_rest else error
                if not error.in_codec:
                    break
        raise DamagedVideoError(self.path, index, time, str(damage)) from damage

    def _make_clock(self) -> FrameClock:
        return FrameClock(self.time_base, self.rate, self._is_avi)

    def _decode(
        self, options: dict[str, str], is_parallel: bool, key: KeyFrame | None = None
    ) -> Iterator[Any]:
        """Yield PyAV's frames before the damage, then raise Damage."""
        with self._open() as (container, stream):
            check = PacketCheck(container, stream)
            if key is not None:
                check = copy(key.check)
                container.seek(key.stamps[0], stream=stream)
            for frame in decode_frames(container, stream, check, options, is_parallel):
                if key is None or frame.pts is None or frame.pts >= key.stamps[0]:
                    yield frame

    def _convert(self, frame: Any) -> np.ndarray:
        """Return the picture as it is to be shown, (H, W, 3) uint8 RGB."""
        width, height = self._size
        image = frame.to_ndarray(format='rgb24', width=width, height=height)
        return turn_picture(image, self._matrix)


def _choose_stream(container: Any) -> Any:
    """Return the default video stream, else the one with the most pixels; None without any."""

    def rank(stream: Any) -> tuple[bool, int]:
        pixels = stream.width * stream.height if stream.codec_context else 0
        return _has_disposition(stream, DEFAULT), pixels

    streams = [s for s in container.streams.video if not _has_disposition(s, ATTACHED_PICTURE)]
    return max(streams, key=rank, default=None)


def _describe_part(start: float | None, end: float | None) -> str:
    parts = ('at or after', start), ('before', end)
    return ' and'.join(f' {word} {time:g} s' for word, time in parts if time is not None)


def _has_disposition(stream: Any, flag: int) -> bool:
    return bool(stream.disposition.value & flag)


def _check_range(start: float | None, end: float | None) -> None:
    for name, value in (('start', start), ('end', end)):
        if value is not None and not math.isfinite(value):
            raise InvalidValueError(f'{name}: got {value}, expected a time in seconds')
    if start is not None and end is not None and end <= start:
        raise InvalidValueError(f'end: got {end} s, expected more than start, {start} s')
