"""Decode the frames of a stream up to its damage."""

import re
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any

from abaw_mm.video.import_av import import_av

STRICT = {'err_detect': 'explode'}  # options of a codec: damage is an error
LENIENT: dict[str, str] = {}
LOOKAHEAD = 32  # packets after the damage that are searched for frames to show before it
NOTHING = -(1 << 63)  # time stamp before all others
KNOWN_LENGTH = ('mov', 'matroska', 'avi')  # formats whose headers say the length of streams


class Damage(Exception):
    """A stream is damaged.

    Args:
        reason (str): What is wrong, for a message.
        in_codec (bool): Whether the codec found it. If several frames are decoded at once, it may
            be any of them.

    Attributes:
        stop (int): The presentation time stamps of all frames that the damage may have touched are
            at least this one.
    """

    def __init__(self, reason: str, in_codec: bool = False) -> None:
        super().__init__(reason)
        self.in_codec = in_codec
        self.stop = NOTHING


class PacketCheck:
    """Check that packets are whole, and that none is missing at the end.

    Args:
        container: PyAV's container.
        stream: Its stream.
    """

    def __init__(self, container: Any, stream: Any) -> None:
        self.last_dts: int | None = None  # decoding time stamp of the last packet
        self._first_dts = 0
        self._skipped = 0  # packets before the first with a decoding time stamp
        self._duration = 0
        self._longest_step = 0  # between two decoding time stamps
        self._is_mpegts = container.format.name == 'mpegts'
        self._time_base = stream.time_base
        self._expected = float('-inf')
        length = read_length(stream)
        if length is not None and container.format.name.startswith(KNOWN_LENGTH):
            half = float(1 / (stream.average_rate or 25)) / 2  # of a frame, for rounding
            is_end = not stream.duration  # Matroska: when it ends
            start = float((stream.start_time or 0) * stream.time_base) if is_end else 0.0
            self._expected = length - start - half

    def __call__(self, packet: Any) -> None:
        """Check the next packet.

        Raises:
            Damage: If it is incomplete, or is the end of the stream and packets are missing.
        """
        if packet.is_corrupt:
            raise Damage('a packet is incomplete')
        if not packet.size:  # the end
            self._check_end()
            return
        self._duration = packet.duration or 0
        if packet.dts is None:
            self._skipped += self.last_dts is None
        else:
            if self.last_dts is None:
                self._first_dts = packet.dts
            else:
                self._longest_step = max(self._longest_step, packet.dts - self.last_dts)
            self.last_dts = packet.dts

    def check_gap(self, before: int | None, pts: int | None) -> None:
        """Check the time between two of the frames that a codec gives at the end.

        An MPEG-TS does not say its length. If it is cut between two packets, a frame may be missing
        before one that was stored earlier.

        Raises:
            Damage: If it is an MPEG-TS and a frame is missing.
        """
        if self._is_mpegts and before is not None and pts is not None:
            if 2 * (pts - before) > 3 * self._longest_step > 0:
                raise Damage('the end is missing')

    def _check_end(self) -> None:
        duration = self._duration or self._longest_step  # FFmpeg 7 does not know all durations
        if not duration:
            return
        span = (1 + self._skipped) * duration
        span += 0 if self.last_dts is None else self.last_dts - self._first_dts
        if span * self._time_base < self._expected:
            raise Damage('the end is missing')


def decode_frames(
    container: Any,
    stream: Any,
    check: PacketCheck,
    options: dict[str, str],
    is_parallel: bool,
) -> Iterator[Any]:
    """Yield the frames of a stream that are before its damage.

    Frames before the first that can be decoded are left out, as in a recording that starts between
    two key frames.

    Args:
        container: PyAV's container.
        stream: Its stream.
        check (PacketCheck): Check of the packets.
        options (dict): Options of the codec.
        is_parallel (bool): Whether several frames are decoded at once.

    Yields:
        av.VideoFrame: The frames in the order of presentation.

    Raises:
        Damage: After the last frame before the damage.
    """
    stream.codec_context.options = options
    stream.codec_context.thread_type = 'AUTO' if is_parallel else 'NONE'
    packets = container.demux(stream)
    before = None
    last_pts = NOTHING
    packet, early, has_started = None, None, False
    try:
        while True:
            packet = None
            packet = read_packet(packets)
            if packet is None and early is not None and not has_started:
                raise early
            if packet is None:
                if is_parallel and before is not None and before < last_pts:
                    # Codecs that decode several frames at once drop the last ones in silence.
                    raise Damage('frames at the end are missing', in_codec=True)
                return
            try:
                check(packet)
                if packet.pts is not None and not packet.is_discard:
                    last_pts = max(last_pts, packet.pts)
                for frame in _decode_packet(packet):
                    if frame.is_corrupt:
                        raise Damage('a frame is damaged', in_codec=True)
                    if not packet.size:
                        check.check_gap(before, frame.pts)
                    before = frame.pts
                    has_started = True
                    yield frame
            except Damage as damage:
                if has_started:
                    raise
                early = damage
    except Damage as damage:
        if not (is_parallel and damage.in_codec):
            damage.stop = _find_stop(packet, packets, check.last_dts)
        if not damage.in_codec or options is LENIENT:  # a strict codec has dropped frames
            yield from _flush(stream.codec_context, damage.stop)
        raise


def read_packet(packets: Iterator[Any]) -> Any:
    """Return the next packet, which is empty at the end, or None after it.

    Raises:
        Damage: If the container is damaged.
    """
    try:
        return next(packets, None)
    except import_av().error.FFmpegError as error:
        raise Damage(_explain(error)) from error


def _decode_packet(packet: Any) -> list[Any]:
    try:
        return packet.decode()
    except import_av().error.FFmpegError as error:
        raise Damage(_explain(error), in_codec=True) from error


def _explain(error: Any) -> str:
    return error.strerror or type(error).__name__


def _find_stop(damaged: Any, packets: Iterator[Any], last_dts: int | None) -> int:
    """Return the first presentation time stamp that a packet after the damage may have.

    Packets come in decoding order. A frame is presented at or after its decoding time stamp, so
    frames that were not decoded are after the last decoding time stamp, or among the next packets.

    Args:
        damaged: The packet that was not decoded, or None.
        packets: Those after it.
        last_dts: Decoding time stamp of the last packet before the damage.
    """
    ahead = [] if damaged is None else [damaged]
    with suppress(import_av().error.FFmpegError):
        ahead.extend(islice(packets, LOOKAHEAD))
    ahead = [packet for packet in ahead if packet.size]
    stamps = [packet.pts for packet in ahead]
    dts = [packet.dts for packet in ahead if packet.dts is not None] or [last_dts]
    return NOTHING if None in stamps or None in dts else min([*stamps, max(dts) + 1])


def _flush(codec: Any, stop: int) -> Iterator[Any]:
    """Yield the frames that a codec holds and that are presented before a time stamp."""
    with suppress(import_av().error.FFmpegError):
        for frame in codec.decode(None):
            if frame.pts is None or frame.pts >= stop or frame.is_corrupt:
                return
            yield frame


def read_length(stream: Any) -> float | None:
    """Return the length of a stream in seconds, or None if the header does not say it."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    tag = re.match(r'(\d+):(\d\d):(\d\d\.\d+)', stream.metadata.get('DURATION', ''))  # Matroska
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None
