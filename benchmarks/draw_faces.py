#!/usr/bin/env python
"""Draw faces without labels for pre-training: many identities, a few frames of each.

    python benchmarks/draw_faces.py data/faces_drawn --identities 10000 --frames 5

The faces are those of ``demo/make_demo_data.py``: expressions, head pose, light and speech vary
independently of identity. The same seed gives the same bytes. Finished identities are not drawn
again, so that an interrupted call continues.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

from abaw_mm.files import atomic_write
from abaw_mm.progress import show_progress
from abaw_mm.structures.tasks import EXPRESSIONS

sys.path.insert(0, str(Path(__file__).parents[1] / 'demo'))
from face import Identity, apply_camera, draw_background, draw_face  # noqa: E402
from film import Clip, simulate_actions, simulate_views  # noqa: E402
from make_demo_data import SUPERSAMPLING  # noqa: E402

STREAM = 2  # of random numbers; the demo's clips use 0 and 1
STEP = 12  # frames between two faces of an identity, longer than an expression lasts


def draw_identity(folder: Path, number: int, frames: int, size: int, seed: int) -> None:
    """Draw the faces of one identity."""
    rng = np.random.default_rng([seed, STREAM, number])
    identity = Identity.draw(rng)
    segments = tuple(rng.choice(len(EXPRESSIONS), frames).tolist())
    clip = Clip(f'{number}', 'train', number, segments)
    action, _ = simulate_actions(clip, identity, STEP * frames, rng)
    views = list(simulate_views(STEP * frames, rng))
    background = draw_background(SUPERSAMPLING * size, rng)
    for at in range(frames):
        frame = STEP * at + STEP // 2
        drawing = draw_face(identity, action[frame], views[frame], background)
        with atomic_write(folder / f'{number:06d}_{at}.jpg') as draft:
            face = apply_camera(drawing, views[frame], size, rng)
            face.save(draft, format='JPEG', quality=views[frame].quality)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('out_dir', type=Path)
    parser.add_argument('--identities', type=int, default=10000)
    parser.add_argument('--frames', type=int, default=5, help='faces per identity')
    parser.add_argument('--size', type=int, default=112, help='side of a face, in pixels')
    parser.add_argument('--seed', type=int, default=0)
    args = parser.parse_args()
    with show_progress('identities', print) as update:
        for number in range(args.identities):
            folder = args.out_dir / f'{number // 1000:03d}'
            folder.mkdir(parents=True, exist_ok=True)
            if not (folder / f'{number:06d}_{args.frames - 1}.jpg').is_file():
                draw_identity(folder, number, args.frames, args.size, args.seed)
            update(number + 1, args.identities)


if __name__ == '__main__':
    main()
