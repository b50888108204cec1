"""Compose videos whose faces, boxes and time stamps are known.

A :class:`Scene` is a list of pictures with the box of every person: :func:`compose` pastes faces
along paths, :func:`cross`, :func:`leave_and_return`, :func:`stay` are paths, :func:`cut` joins two
scenes. :func:`write_video` encodes pictures; :func:`rotate` sets the display matrix of a file.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

sys.path.insert(0, str(Path(__file__).parents[1] / 'demo'))
import face  # noqa: E402

SHARED = Path(__file__).parents[2] / 'shared'  # optional: real videos and faces
CROPS = SHARED / 'affwild2_mini/cropped_aligned'
ATTACHED_PICTURE = 0x400  # disposition of FFmpeg
CLIPS = ('1', '15', '22', '29', '36', '43', '50', '57')  # show other persons each


@dataclass
class Scene:
    """Pictures with the true faces.

    Attributes:
        images (list[ndarray]): T pictures, (H, W, 3) uint8 RGB.
        box (ndarray): (T, P, 4) left, top, right and bottom of the pasted face of each person, NaN
            where the person is absent.
        visible (ndarray): (T, P) share of the face that no other face covers and that is inside of
            the picture; 0 where the person is absent.
    """

    images: list[np.ndarray]
    box: np.ndarray
    visible: np.ndarray


def load_real_faces(count: int) -> list[np.ndarray]:
    """Return grey faces of different persons, (112, 112, 3) uint8; skip if there are none."""
    if not CROPS.is_dir():
        pytest.skip('no affwild2_mini beside the repository')
    paths = [min((CROPS / clip).iterdir()) for clip in CLIPS[:count]]
    return [np.asarray(Image.open(path).convert('RGB')) for path in paths]


def draw_faces(count: int, size: int = 112, seed: int = 0) -> list[np.ndarray]:
    """Return cartoon faces of different persons, (size, size, 3) uint8."""
    rng = np.random.default_rng(seed)
    view = face.View(0, 0, 0, 0.8, 0, 0, 0, 0, 1, (1, 1, 1), 0, 0, 90)
    faces = []
    for _ in range(count):
        wall = face.draw_background(2 * size, rng)
        picture = face.draw_face(face.Identity.draw(rng), face.encode_actions(), view, wall)
        faces.append(np.asarray(picture.resize((size, size), Image.Resampling.BOX)))
    return faces


def find_video(name: str) -> Path:
    """Return the path of a real video; skip if it is not available."""
    path = SHARED / 'videos' / name
    if not path.is_file():
        pytest.skip('no videos beside the repository')
    return path


def stay(frames: int, x: float, y: float, side: float) -> np.ndarray:
    """Return the path of a face that stays; paths are (T, 3): centre x and y, side in pixels."""
    return np.tile(np.array([x, y, side], float), (frames, 1))


def move(frames: int, start: Sequence[float], end: Sequence[float]) -> np.ndarray:
    """Return the path of a face that moves from one (x, y, side) to another."""
    return np.linspace(start, end, frames)


def cross(frames: int, width: int, height: int, side: float) -> list[np.ndarray]:
    """Return the paths of two people who cross, the second in front of the first."""
    left, right, y = 0.2 * width, 0.8 * width, 0.5 * height
    return [
        move(frames, (left, y, side), (right, y, side)),
        move(frames, (right, y, side), (left, y, side)),
    ]


def leave_and_return(path: np.ndarray, first: int, last: int) -> np.ndarray:
    """Return a path without the frames from ``first`` to ``last``, in which the face is absent."""
    path = path.copy()
    path[first : last + 1] = np.nan
    return path


def compose(
    faces: Sequence[np.ndarray],
    paths: Sequence[np.ndarray],
    size: tuple[int, int] = (320, 240),
    seed: int = 0,
) -> Scene:
    """Paste faces along paths in front of a still wall. Later faces are in front."""
    width, height = size
    wall = face.draw_background(max(size), np.random.default_rng(seed)).crop((0, 0, width, height))
    frames, persons = len(paths[0]), len(paths)
    box = np.full((frames, persons, 4), np.nan)
    visible = np.zeros((frames, persons))
    images = []
    for t in range(frames):
        picture, owner = wall.copy(), np.full((height, width), -1)
        areas = {}
        for p, path in enumerate(paths):
            if np.isnan(path[t]).any():
                continue
            x, y, side = path[t]
            left, top, side = round(x - side / 2), round(y - side / 2), round(side)
            box[t, p] = left, top, left + side, top + side
            mask = _oval(side)
            picture.paste(Image.fromarray(faces[p]).resize((side, side)), (left, top), mask)
            cover = Image.new('L', size)
            cover.paste(mask, (left, top))
            owner[np.asarray(cover) > 127] = p
            areas[p] = (np.asarray(mask) > 127).sum()
        for p, area in areas.items():
            visible[t, p] = (owner == p).sum() / area
        images.append(np.asarray(picture))
    return Scene(images, box, visible)


def _oval(side: int) -> Image.Image:
    mask = Image.new('L', (side, side))
    edge = 0.04 * side
    ImageDraw.Draw(mask).ellipse((edge, -0.1 * side, side - edge, 1.08 * side), fill=255)
    return mask.filter(ImageFilter.GaussianBlur(side / 50))


def cut(*scenes: Scene) -> Scene:
    """Join scenes. Person p of one scene is person p of the next."""
    return Scene(
        [image for scene in scenes for image in scene.images],
        np.concatenate([scene.box for scene in scenes]),
        np.concatenate([scene.visible for scene in scenes]),
    )


def make_pictures(
    frames: int, width: int = 64, height: int = 48, seed: int = 0
) -> list[np.ndarray]:
    """Return smooth coloured pictures that move from frame to frame, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 6, 3)
    y, x = np.mgrid[:height, :width]
    wave = x[..., None] / width * 5 + y[..., None] / height * 3 + phase
    return [np.uint8(127.5 + 100 * np.sin(wave + 0.2 * t)) for t in range(frames)]


def write_video(
    path: Path,
    images: Sequence[np.ndarray],
    stamps: Sequence[int] | None = None,
    time_base: Fraction = Fraction(1, 15360),
    codec: str = 'libx264',
    pix_fmt: str = 'yuv420p',
    sound: str | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rate: Fraction | int = 30,
    more_streams: Sequence[Sequence[np.ndarray]] = (),
    aspect: Fraction | None = None,
    default: int | None = None,
) -> list[float]:
    """Encode pictures and return their times in seconds.

    Args:
        path: The file. Its suffix gives the format.
        images: (H, W, 3) uint8 RGB.
        stamps: Presentation time stamps in units of ``time_base``. Defaults to those of ``rate``.
        codec: Name of the encoder.
        pix_fmt: Format of the encoded pictures, such as ``yuv420p10le``.
        sound: Encoder of a sine, such as ``aac``.
        options: Options of the encoder, such as ``{'bf': '0'}``.
        container_options: Options of the format, such as ``{'movflags': 'faststart'}``.
        rate: Mean frames/s.
        more_streams: Pictures of further video streams, written before the first.
        aspect: Width of a pixel by its height.
        default: Number of the video stream that is the default one.
    """
    if stamps is None:
        stamps = [round(t / rate / time_base) for t in range(len(images))]
    with av.open(str(path), 'w', options=container_options or {}) as container:
        streams = []
        for pictures in (*more_streams, images):
            stream = container.add_stream(codec, rate=rate, options=options or {})
            context = stream.codec_context
            context.height, context.width = pictures[0].shape[:2]
            context.pix_fmt, context.time_base = pix_fmt, time_base
            if aspect:
                context.sample_aspect_ratio = aspect
            if more_streams:
                stream.disposition = int(len(streams) == default)
            streams.append((stream, pictures))
        tone = container.add_stream(sound, rate=48000) if sound else None
        container.start_encoding()
        if tone:
            _write_tone(container, tone, float(stamps[-1] * time_base) + 1 / float(rate))
        for stream, pictures in streams:
            for stamp, image in zip(stamps, pictures, strict=False):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format='rgb24')
                frame.pts, frame.time_base = stamp, time_base
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return [float(stamp * time_base) for stamp in stamps]


def write_sound(path: Path, has_cover: bool = False) -> None:
    """Write a file of sound, with or without a picture as its cover."""
    with av.open(str(path), 'w') as container:
        tone = container.add_stream('aac', rate=48000)
        cover = container.add_stream('mjpeg', rate=1) if has_cover else None
        if cover:
            cover.width = cover.height = 32
            cover.pix_fmt, cover.disposition = 'yuvj420p', ATTACHED_PICTURE
        container.start_encoding()
        _write_tone(container, tone, 0.5)
        if cover:
            picture = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format='rgb24')
            container.mux(cover.encode(picture))
            container.mux(cover.encode(None))


def _write_tone(container: Any, stream: Any, seconds: float) -> None:
    samples = np.sin(np.arange(round(48000 * seconds)) * 0.06).astype(np.float32) / 4
    size = stream.codec_context.frame_size or 1024
    for start in range(0, len(samples), size):
        part = samples[None, start : start + size]
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), 'fltp', 'mono')
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        for resampled in av.AudioResampler(stream.format, stream.layout, 48000).resample(frame):
            container.mux(stream.encode(resampled))
    container.mux(stream.encode(None))


def rotate(path: Path, matrix: Sequence[Sequence[int]]) -> None:
    """Set the display matrix of the first track of an mp4, such as ``[[0, 1], [-1, 0]]``.

    A point (x, y) of the stored picture is shown at ``(a x + c y, b x + d y)`` for
    ``[[a, b], [c, d]]``.
    """
    data = bytearray(path.read_bytes())
    start = data.index(b'tkhd') + 4 + 40  # of version 0
    (a, b), (c, d) = matrix
    values = np.array([a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30], '>i4')
    data[start : start + 36] = values.tobytes()
    path.write_bytes(data)
