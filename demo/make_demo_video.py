#!/usr/bin/env python
"""Draw a short video of two cartoon faces whose expressions change.

    python demo/make_demo_video.py data/demo_video.mp4

The faces are those of make_demo_data.py, in front of one wall. The same seed, Pillow and NumPy draw
the same pictures; x264 may encode them to other bytes. Scores on the video say nothing about real
faces.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
from PIL import Image

from abaw_mm.cli import CommandParser, report_errors
from abaw_mm.files import atomic_write
from abaw_mm.structures.tasks import EXPRESSIONS
from face import Identity, draw_background, draw_face
from film import Clip, simulate_actions, simulate_views

SIZE = (480, 270)  # width and height, in pixels
FACE = 240  # side of the square that a face is drawn into, in pixels
SCALE = 0.7  # of the heads, so that they fit into the squares
RATE = 24  # frames per second
SUPERSAMPLING = 2
SHOWN = ('Happiness', 'Neutral', 'Surprise', 'Anger', 'Sadness', 'Other')


def draw_person(number: int, seed: int, frames: int) -> Iterator[tuple]:
    """Yield what ``draw_face`` needs for each frame of a person: identity, actions and view."""
    rng = np.random.default_rng([seed, 1, number])
    segments = [EXPRESSIONS.index(name) for name in rng.permutation(SHOWN)]
    clip = Clip(f'person{number}', 'test', number, tuple(segments))
    identity = Identity.draw(rng)
    actions, _ = simulate_actions(clip, identity, frames, rng)
    for action, view in zip(actions, simulate_views(frames, rng), strict=True):
        yield identity, action, replace(view, scale=SCALE * view.scale)


def draw_frames(seconds: float, people: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the pictures of the video, (H, W, 3) uint8."""
    width, height = (SUPERSAMPLING * side for side in SIZE)
    side = SUPERSAMPLING * FACE
    wall = draw_background(max(width, height), np.random.default_rng([seed, 2]))
    wall = wall.crop((0, 0, width, height))
    top = height - side
    lefts = [(2 * i + 1) * width // (2 * people) - side // 2 for i in range(people)]
    persons = [draw_person(i, seed, round(seconds * RATE)) for i in range(people)]
    for drawn in zip(*persons, strict=True):
        scene = wall.copy()
        for left, (identity, action, view) in zip(lefts, drawn, strict=True):
            behind = scene.crop((left, top, left + side, top + side))
            scene.paste(draw_face(identity, action, view, behind), (left, top))
        yield np.asarray(scene.resize(SIZE, Image.Resampling.BOX))


def write_video(path: Path, pictures: Iterator[np.ndarray]) -> None:
    """Write an mp4 atomically."""
    with atomic_write(path) as draft, av.open(str(draft), 'w', format='mp4') as container:
        stream = container.add_stream('libx264', rate=RATE)
        stream.width, stream.height, stream.pix_fmt = *SIZE, 'yuv420p'
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format='rgb24')))
        container.mux(stream.encode())


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(__doc__)
    parser.add_argument('out', type=Path, help='file to write, such as data/demo_video.mp4')
    parser.add_argument('--seconds', type=float, default=10, help='duration; default: 10')
    parser.add_argument('--people', type=int, default=2, choices=(1, 2), help='default: 2')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args(argv)
    if not 2 <= args.seconds <= 600:
        parser.error(f'--seconds: got {args.seconds:g}, expected 2 to 600')
    if args.seed < 0:
        parser.error(f'--seed: got {args.seed}, expected 0 or more')
    if args.out.suffix != '.mp4':
        parser.error(f'out: got {str(args.out)!r}, expected a file that ends in .mp4')
    return args


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Draw the video."""
    args = parse_args(argv)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    write_video(args.out, draw_frames(args.seconds, args.people, args.seed))
    print(f'{args.out}: {args.seconds:g} s, people: {args.people}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
