#!/usr/bin/env python
"""Draw faces with sound of which no single stream shows all classes.

    python demo/make_demo_sound.py data/demo_sound

The layout is that of Aff-Wild2, with a video of each clip in ``videos``. Anger and Fear have the
same pictures, a smile, and a low or a high tone. Sadness and Surprise have the same noise, and a
mouth that opens and closes slowly or fast: their single pictures have the same distribution, only
their order differs. Neutral is a closed mouth, Other an open one, so that a model of single
pictures learns to see the mouth. All clips show one face and every class, in a light and a head
pose of the clip. Scores on this data say nothing about real faces. The same seed draws the same
pictures; encoders may write other bytes.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image

from abaw_mm.cli import CommandParser, report_errors
from abaw_mm.datasets.annotations import HEADER, LIST_HEADER
from abaw_mm.errors import FileAccessError
from abaw_mm.structures.tasks import EXPRESSIONS
from face import Identity, apply_camera, draw_background, draw_face, encode_actions
from film import simulate_views

ANNOTATIONS = 'annotations/EXPR_Recognition_Challenge'
SPLITS = {'train': 'Train_Set', 'val': 'Validation_Set', 'test': None}
SOUND_PAIR = ('Anger', 'Fear')  # differ by the sound only
MOTION_PAIR = ('Sadness', 'Surprise')  # differ by the order of the pictures only
MOUTH = {'Neutral': 0.0, 'Other': 1.0}  # of the classes that do not move
PITCH = {'Anger': (250, 400), 'Fear': (1000, 1600)}  # of the tone, in Hz
PERIOD = {'Sadness': (16, 22), 'Surprise': (5, 7)}  # of the mouth, in frames
RATE = 25  # frames per second
SAMPLES = 16000  # per second
BORDER = 5  # frames on either side of a change that are not labelled
SUPERSAMPLING = 2


@dataclass(frozen=True)
class Clip:
    """What a clip shows and sounds like."""

    label: np.ndarray  # (F, ) -1 around a change
    smile: np.ndarray  # (F, ) 0 or 1
    mouth: np.ndarray  # (F, ) from closed, 0, to open, 1
    sound: np.ndarray  # (S, ) float32


def simulate_clip(frames: int, rng: np.random.Generator) -> Clip:
    """Simulate a clip that shows each class once, in random order."""
    shown = rng.permutation([*SOUND_PAIR, *MOTION_PAIR, *MOUTH])
    starts = np.linspace(0, frames, len(shown) + 1).astype(int)
    label, smile, mouth = np.empty(frames, int), np.zeros(frames), np.full(frames, 0.5)
    sound = 0.02 * rng.standard_normal(frames * SAMPLES // RATE)
    for name, start, end in zip(shown, starts, starts[1:], strict=False):
        label[start:end] = EXPRESSIONS.index(name)
        if name in PERIOD:
            cycles = np.arange(end - start) / rng.uniform(*PERIOD[name]) + rng.random()
            mouth[start:end] += 0.5 * np.sin(2 * np.pi * cycles)
        elif name in MOUTH:
            mouth[start:end] = MOUTH[name]
        else:
            smile[start:end] = 1
            at = np.arange(start * SAMPLES // RATE, end * SAMPLES // RATE)
            pitch = rng.uniform(*PITCH[name])
            sound[at] += 0.3 * np.sin(2 * np.pi * pitch * at / SAMPLES + rng.uniform(0, 2 * np.pi))
    for change in starts[1:-1]:
        label[change - BORDER : change + BORDER] = -1
    return Clip(label, smile, mouth + 0.03 * rng.standard_normal(frames), sound.astype(np.float32))


def draw_clip(
    clip: Clip, identity: Identity, size: int, rng: np.random.Generator
) -> list[Image.Image]:
    """Draw the pictures of a clip, size x size pixels."""
    background = draw_background(SUPERSAMPLING * size, rng)
    view = next(simulate_views(1, rng))
    pictures = []
    for smile, mouth in zip(clip.smile, clip.mouth, strict=True):
        shown = encode_actions(lip_pull=smile, cheek_raise=0.8 * smile, jaw_drop=mouth)
        action = np.asarray(identity.rest) + shown
        drawing = draw_face(identity, action, view, background)
        pictures.append(apply_camera(drawing, view, size, rng))
    return pictures


def write_video(path: Path, pictures: Sequence[Image.Image], sound: np.ndarray) -> None:
    """Encode pictures and sound as an mp4."""
    with av.open(str(path), 'w') as container:
        video = container.add_stream('libx264', rate=RATE)
        video.width, video.height, video.pix_fmt = *pictures[0].size, 'yuv420p'
        audio = container.add_stream('aac', rate=SAMPLES, layout='mono')
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_image(picture)))
        container.mux(video.encode())
        for first in range(0, len(sound), 1024):
            frame = av.AudioFrame.from_ndarray(sound[None, first : first + 1024], 'fltp', 'mono')
            frame.sample_rate, frame.pts, frame.time_base = SAMPLES, first, Fraction(1, SAMPLES)
            container.mux(audio.encode(frame))
        container.mux(audio.encode())


def make_demo_sound(root: Path, counts: dict[str, int], frames: int, size: int, seed: int) -> None:
    """Draw the whole data set into ``root``, an existing folder."""
    (root / 'videos').mkdir()
    identity = Identity.draw(np.random.default_rng([seed, 0]))
    rows, number = [LIST_HEADER], 0
    for split, folder in SPLITS.items():
        for _ in range(counts[split]):
            number += 1
            name = f'video{number}'
            rng = np.random.default_rng([seed, number])
            clip = simulate_clip(frames, rng)
            pictures = draw_clip(clip, identity, size, rng)
            (root / 'cropped_aligned' / name).mkdir(parents=True)
            for at, picture in enumerate(pictures, start=1):
                picture.save(root / 'cropped_aligned' / name / f'{at:05d}.jpg', quality=90)
            write_video(root / 'videos' / f'{name}.mp4', pictures, clip.sound)
            if folder:
                target = root / ANNOTATIONS / folder / f'{name}.txt'
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text('\n'.join([HEADER, *map(str, clip.label)]) + '\n')
            else:
                rows += [f'{name}/{at:05d}.jpg,' for at in range(1, frames + 1)]
    (root / 'test_set_format.txt').write_text('\n'.join(rows) + '\n')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(__doc__)
    parser.add_argument('root', type=Path, help='new or empty folder, such as data/demo_sound')
    for split, default in (('train', 24), ('val', 12), ('test', 2)):
        parser.add_argument(
            f'--{split}-clips', type=int, default=default, help=f'number; default: {default}'
        )
    parser.add_argument('--frames', type=int, default=200, help='per clip; default: 200')
    parser.add_argument('--size', type=int, default=64, help='side in pixels; default: 64')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args(argv)
    for name, low in (
        ('train_clips', 1),
        ('val_clips', 1),
        ('test_clips', 0),
        ('frames', 80),
        ('size', 32),
        ('seed', 0),
    ):
        if getattr(args, name) < low:
            flag = '--' + name.replace('_', '-')
            parser.error(f'{flag}: got {getattr(args, name)}, expected {low} or more')
    if args.size % 2:
        parser.error(f'--size: got {args.size}, expected an even number for the videos')
    return args


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Draw the data set, whole or not at all."""
    args = parse_args(argv)
    root = Path(os.path.abspath(args.root))
    if root.exists():
        raise FileAccessError(f'{args.root} exists, expected a new folder; choose another')
    counts = {split: getattr(args, f'{split}_clips') for split in SPLITS}
    root.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{root.name}.', dir=root.parent) as folder:
        draft = Path(folder) / 'draft'  # the temporary folder itself is closed to other users
        draft.mkdir()
        make_demo_sound(draft, counts, args.frames, args.size, args.seed)
        draft.rename(root)
    print(f'{args.root}: {sum(counts.values())} clips of {args.frames} frames with sound')
    return 0


if __name__ == '__main__':
    sys.exit(main())
