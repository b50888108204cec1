#!/usr/bin/env python
"""Draw a replacement for Aff-Wild2: cartoon faces in the official folder layout.

    python demo/make_demo_data.py data/demo

Aff-Wild2 needs a signed agreement; this data set needs nothing and shows that everything runs.
Faces move slowly from one expression to the next, as in video, while head pose, light and speech
vary independently. Every clip shows another face and several expressions, so that neither the
clip, its colours nor the frame number reveals the class (docs/notes/demo_data_cues.md). Scores on
this data say nothing about Aff-Wild2. The same seed, Pillow and NumPy give the same bytes, whatever
the number of workers.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from abaw_mm.cli import CommandParser, report_errors
from abaw_mm.datasets.annotations import HEADER, LIST_HEADER
from abaw_mm.errors import InvalidValueError
from abaw_mm.structures.tasks import EXPRESSIONS
from face import Identity, apply_camera, draw_background, draw_face
from film import Clip, draw_missing_frames, simulate_actions, simulate_views
from tracks import (
    annotate,
    list_multi_task_rows,
    write_clip_files,
    write_lists,
    write_multi_task_file,
)

FREQUENCY = (0.28, 0.05, 0.045, 0.045, 0.18, 0.13, 0.07, 0.20)  # share of segments, by class
ANNOTATIONS = 'annotations/EXPR_Recognition_Challenge'
SPLIT_FOLDERS = {'train': 'Train_Set', 'val': 'Validation_Set'}  # the test split has no labels
NAMES = (  # forms of clip names in the database, and one with spaces
    'demo clip {}',
    'video{}_5_left',
    '{}-24-1920x1080',
    '{}',
    'video{}_right',
    'video{}',
    '{}-30-1280x720-2',
)
SEGMENTS_PER_CLIP = 6
MIN_CLIPS_PER_CLASS = 4  # the F1 of a class that only one or two faces show is mostly noise
SUPERSAMPLING = 3
LIMITS = dict(  # lowest and highest value of each argument
    seed=(0, 2**32 - 1),
    train_clips=(1, 9999),
    val_clips=(1, 9999),
    test_clips=(0, 9999),
    frames=(40, 50000),
    size=(32, 512),
    workers=(1, 256),
)


@dataclass(frozen=True)
class Settings:
    """Everything that determines the bytes of a demo set."""

    seed: int
    train_clips: int
    val_clips: int
    test_clips: int
    frames: int
    size: int


def plan_clips(settings: Settings) -> list[Clip]:
    """Plan the clips of all splits and the expressions that each of them shows.

    The segments of a split are dealt like cards, class by class: every clip gets about the same
    number of segments of each class, so that knowing the clip does not help to guess the class.
    """
    clips: list[Clip] = []
    for number, split in enumerate(('train', 'val', 'test')):
        count = getattr(settings, f'{split}_clips')
        rng = np.random.default_rng([settings.seed, 1, number])
        hands: list[list[int]] = [[] for _ in range(count)]
        for label, share in enumerate(FREQUENCY):
            wanted = max(round(share * count * SEGMENTS_PER_CLIP), min(count, MIN_CLIPS_PER_CLASS))
            for _ in range(wanted):
                # The clip with the fewest segments of this class; then with the fewest at all.
                turn = min(
                    (hand.count(label), len(hand), rng.random(), at)
                    for at, hand in enumerate(hands)
                )
                hands[turn[-1]].append(label)
        for hand in hands:
            index = len(clips)
            segments = tuple(rng.permutation(hand).tolist())
            clips.append(Clip(NAMES[index % len(NAMES)].format(index + 1), split, index, segments))
    return clips


def write_clip(clip: Clip, root: Path, settings: Settings) -> dict:
    """Draw one clip, write its frames and (except in the test split) its annotation file.

    Returns:
        dict: Counts of the clip, see :func:`summarise`.
    """
    rng = np.random.default_rng([settings.seed, 0, clip.index])
    frames = round(settings.frames * rng.uniform(0.7, 1.3))
    identity = Identity.draw(rng)
    action, labels = simulate_actions(clip, identity, frames, rng)
    missing = draw_missing_frames(frames, rng)
    background = draw_background(SUPERSAMPLING * settings.size, rng)
    folder = root / 'cropped_aligned' / clip.name
    folder.mkdir(parents=True)
    for at, view in enumerate(simulate_views(frames, rng)):
        if at not in missing:
            drawing = draw_face(identity, action[at], view, background)
            frame = apply_camera(drawing, view, settings.size, rng)
            frame.save(folder / f'{at + 1:05d}.jpg', quality=view.quality)
    if clip.split in SPLIT_FOLDERS:
        target = root / ANNOTATIONS / SPLIT_FOLDERS[clip.split] / f'{clip.name}.txt'
        target.write_text('\n'.join([HEADER, *map(str, labels)]) + '\n')
    mtl_rows = write_other_tracks(clip, root, settings, action, labels, missing)
    seen = np.delete(labels, sorted(missing))
    return dict(
        lines=frames,
        frames=len(seen),
        labelled=int((labels >= 0).sum()),
        labelled_with_frame=int((seen >= 0).sum()),
        per_class=np.bincount(seen[seen >= 0], minlength=len(EXPRESSIONS)),
        mtl_rows=mtl_rows,
    )


def write_other_tracks(
    clip: Clip,
    root: Path,
    settings: Settings,
    action: np.ndarray,
    labels: np.ndarray,
    missing: set[int],
) -> list[str]:
    """Write the annotation files of the VA and AU tracks; return the rows of the multi-task track.

    Their random numbers are of their own, so that they change nothing in the pictures.
    """
    if clip.split not in SPLIT_FOLDERS:
        return []
    rng = np.random.default_rng([settings.seed, 2, clip.index])
    values = annotate(action, labels, rng)
    write_clip_files(root, SPLIT_FOLDERS[clip.split], clip.name, values)
    return list_multi_task_rows(clip.name, values, missing, rng)


def summarise(settings: Settings, clips: list[Clip], counts: list[dict]) -> dict:
    """Return the content of ``facts.json``.

    ``per_class`` counts labelled lines that have a frame.
    """
    facts: dict = dict(
        what='abaw_mm demo data: drawn faces, no person and no frame of Aff-Wild2',
        settings=asdict(settings),
    )
    for split in ('train', 'val', 'test'):
        own = [count for clip, count in zip(clips, counts, strict=True) if clip.split == split]
        keys = ['lines', 'frames'] + ['labelled', 'labelled_with_frame'] * (split in SPLIT_FOLDERS)
        facts[split] = dict(clips=len(own), **{key: sum(c[key] for c in own) for key in keys})
        if split in SPLIT_FOLDERS:
            facts[split]['per_class'] = sum(count['per_class'] for count in own).tolist()
    return facts


def make_demo_data(root: Path, settings: Settings, workers: int) -> dict:
    """Draw the whole data set into ``root``, an existing folder, and return its facts."""
    for part in SPLIT_FOLDERS.values():
        (root / ANNOTATIONS / part).mkdir(parents=True)
    clips = plan_clips(settings)
    write = partial(write_clip, root=root, settings=settings)
    if workers == 1:
        counts = list(map(write, clips))
    else:
        with ProcessPoolExecutor(workers) as pool:
            counts = list(pool.map(write, clips))
    rows = [
        f'{clip.name}/{line:05d}.jpg,'
        for clip, count in zip(clips, counts, strict=True)
        if clip.split == 'test'
        for line in range(1, count['lines'] + 1)
    ]
    (root / 'test_set_format.txt').write_text('\n'.join([LIST_HEADER, *rows]) + '\n')
    write_lists(root, rows)
    for split, part in SPLIT_FOLDERS.items():
        own = [c['mtl_rows'] for clip, c in zip(clips, counts, strict=True) if clip.split == split]
        write_multi_task_file(root, part, [row for rows in own for row in rows])
    facts = summarise(settings, clips, counts)
    (root / 'facts.json').write_text(json.dumps(facts, indent=1) + '\n')
    return facts


def is_complete(target: Path, settings: Settings) -> bool:
    """Return whether ``target`` holds the demo set of these settings already.

    Raises:
        InvalidValueError: If the folder holds anything else.
    """
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return False
    try:
        found = json.loads((target / 'facts.json').read_text())['settings']
    except (OSError, ValueError, KeyError, TypeError):
        found = 'other files'
    if found == asdict(settings):
        return True
    raise InvalidValueError(
        f'{target}: got {found}, expected no folder, an empty one or the demo set of '
        f'{asdict(settings)}; name another OUT_DIR, or move the folder away'
    )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = CommandParser(__doc__)
    parser.add_argument('out_dir', type=Path, help='folder to create, such as data/demo')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--train-clips', type=int, default=24)
    parser.add_argument('--val-clips', type=int, default=8)
    parser.add_argument('--test-clips', type=int, default=3)
    parser.add_argument('--frames', type=int, default=120, help='mean number of lines per clip')
    parser.add_argument('--size', type=int, default=112, help='side of a frame, in pixels')
    parser.add_argument('--workers', type=int, default=os.cpu_count() or 1, help='processes')
    args = parser.parse_args(argv)
    for name, (low, high) in LIMITS.items():
        if not low <= getattr(args, name) <= high:
            flag = '--' + name.replace('_', '-')
            parser.error(f'{flag}: got {getattr(args, name)}, expected {low} to {high}')
    return args


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    target = Path(os.path.abspath(args.out_dir))  # '.' has no name of its own
    settings = Settings(
        args.seed, args.train_clips, args.val_clips, args.test_clips, args.frames, args.size
    )
    if is_complete(target, settings):
        print(f'{args.out_dir} already holds this demo set (facts.json); nothing to do')
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f'.{target.name}.', dir=target.parent) as folder:
        draft = Path(folder) / 'draft'  # the temporary folder itself is closed to other users
        draft.mkdir()
        facts = make_demo_data(draft, settings, args.workers)
        draft.rename(target)
    counts = ', '.join(
        f'{facts[split]["frames"]} frames of {facts[split]["clips"]} {split} clips'
        for split in ('train', 'val', 'test')
    )
    print(f'{args.out_dir}: drew {counts}')
    return 0


if __name__ == '__main__':
    sys.exit(report_errors(main)())
