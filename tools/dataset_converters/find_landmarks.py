#!/usr/bin/env python
"""Find eyes, nose and mouth in the faces of a folder, for the muscle warp of ContraWarping.

    python tools/dataset_converters/find_landmarks.py data/faces landmarks.json
    bash tools/dist_train.sh configs/res18_contrawarping_faces.py 1 \\
        --cfg-options train_dataloader.dataset.landmarks=landmarks.json

A face that is not found or cannot be read gets the median points of the others. See
docs/pretraining.md.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Sequence
from functools import cache, partial

import numpy as np

from abaw_mm.cli import CommandParser, report_errors
from abaw_mm.datasets import FaceFolderDataset
from abaw_mm.datasets.crops.load_face_crop import UnreadableFrameError, read_crop
from abaw_mm.errors import InvalidValueError
from abaw_mm.files import open_atomic
from abaw_mm.progress import show_progress
from abaw_mm.video.faces import POINTS
from abaw_mm.video.find.build_finder import build_finder
from abaw_mm.video.find.face_finder import FaceFinder
from abaw_mm.video.find.measure_points import find_points

MIN_FACE = 0.5  # of the shorter side of an image
DIGITS = 4  # of a fraction: a hundredth of a pixel


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__)
    parser.add_argument('faces', help='folder of faces, searched at any depth')
    parser.add_argument('out', help='file to write (.json)')
    parser.add_argument(
        '--detector',
        default='mtcnn',
        help='mtcnn, or yunet:FILE, as for the videos (default: mtcnn)',
    )
    return parser.parse_args(argv)


def find_landmarks(dataset: FaceFolderDataset, detector: str) -> dict[str, np.ndarray | None]:
    """Find five points (5, 2) per face, as fractions of width and height; None without a face."""
    points: dict[str, np.ndarray | None] = {}
    build = cache(partial(build_finder, detector))
    with show_progress('Finding faces', lambda line: print(line, file=sys.stderr)) as progress:
        for index in range(len(dataset)):
            path = dataset.get_data_info(index)['img_path']
            points[os.path.relpath(path, dataset.data_root)] = _find_in_image(path, build)
            progress(index + 1, len(dataset))
    return points


def _find_in_image(path: str, build: Callable[[int], FaceFinder]) -> np.ndarray | None:
    try:
        image = read_crop(path)
    except UnreadableFrameError as error:
        print(f'{path}: {error.reason}, taken as without a face', file=sys.stderr)
        return None
    height, width = image.shape[:2]
    finder = build(max(12, round(MIN_FACE * min(height, width))))
    found = find_points(finder, image[:, :, ::-1])
    return None if found is None else found / [width, height]


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Find the points and write the file."""
    args = parse_args(argv)
    points = find_landmarks(FaceFolderDataset(data_root=args.faces), args.detector)
    found = [face for face in points.values() if face is not None]
    if not found:
        raise InvalidValueError(
            f'{args.faces}: got no face in {len(points)} images, expected faces that fill their '
            'images; give other images or another --detector'
        )
    median = np.median(found, axis=0)
    rows = {
        name: np.round(median if face is None else face, DIGITS).tolist()
        for name, face in points.items()
    }
    with open_atomic(args.out, 'w', encoding='utf-8') as file:
        json.dump(rows, file)
    missed = len(rows) - len(found)
    print(f'{args.out}: points of {len(rows)} faces; {missed} not found, they have the median:')
    for name, (x, y) in zip(POINTS, median, strict=True):
        print(f'  {name:<12}{x:.3f} {y:.3f}')


if __name__ == '__main__':
    sys.exit(main())
