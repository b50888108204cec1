#!/usr/bin/env python
"""Measure where eyes, nose and mouth are in aligned crops, and write a template of it.

    python tools/misc/measure_crops.py data/affwild2/cropped_aligned --out template.json
    python tools/predict_video.py CONFIG CHECKPOINT talk.mp4 --out talk --template template.json

A model sees faces of a video as it saw those of its training if both are aligned alike. How the
official crops were aligned is not published, therefore this measures it. See docs/video.md.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from rich.text import Text

from abaw_mm.cli import CommandParser, make_console, make_table, report_errors, template_argument
from abaw_mm.datasets.crops.crop_folder import CropFolder, crop_path, list_crops
from abaw_mm.datasets.crops.load_face_crop import read_crop
from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.progress import show_progress
from abaw_mm.video.face_template import write_template
from abaw_mm.video.faces import POINTS
from abaw_mm.video.find.build_finder import build_finder
from abaw_mm.video.find.measure_points import MeasuredPoints, measure_points

MIN_FACE = 0.5  # of the crop
MAX_SPREAD = 0.04  # of the crop; beyond it faces were not aligned by such points
MAX_MISSED = 0.2  # of the crops


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__, template_argument())
    parser.add_argument('crops', help='folder of crops, <crops>/<clip>/00001.jpg')
    parser.add_argument('--out', metavar='FILE', help='write the template to this file (.json)')
    parser.add_argument(
        '--sample', type=int, default=2000, help='crops to measure, of all clips (default: 2000)'
    )
    parser.add_argument(
        '--detector',
        default='mtcnn',
        help='mtcnn, or yunet:FILE, as for the videos (default: mtcnn)',
    )
    args = parser.parse_args(argv)
    if args.sample < 1:
        parser.error(f'--sample: got {args.sample}, expected at least 1')
    return args


def sample_paths(crops: str, filename_tmpl: str, count: int) -> list[str]:
    """Return the paths of up to ``count`` crops, evenly spread over all frames."""
    folder = CropFolder(crops, filename_tmpl)
    try:
        table = list_crops([folder], folder.clips())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingFileError(f'{crops}: no such folder; correct the path') from error
    if not len(table):
        raise InvalidValueError(
            f'{crops}: got no crops, expected <clip>/{filename_tmpl.format(1)}; correct the path '
            'or set --filename-tmpl'
        )
    rows = np.unique(np.linspace(0, len(table) - 1, count).round().astype(int))
    return [
        crop_path([folder], table.clips[table.clip_id[row]], int(frame), int(source))
        for row, frame, source in zip(
            rows, table.frame_no[rows], table['source'][rows], strict=True
        )
    ]


def read_crops(paths: Sequence[str], size: int) -> Iterator[np.ndarray]:
    """Yield crops as RGB, with a progress bar."""
    with show_progress('Finding faces', lambda line: print(line, file=sys.stderr)) as progress:
        for done, path in enumerate(paths, 1):
            crop = read_crop(path)
            if crop.shape[:2] != (size, size):
                raise InvalidValueError(
                    f'{path}: got {crop.shape[1]}x{crop.shape[0]} pixels, expected {size}x{size} '
                    f'as in {paths[0]}; give crops of one size'
                )
            yield crop[:, :, ::-1]
            progress(done, len(paths))


def print_points(measured: MeasuredPoints) -> None:
    """Print the points, how many crops they are from, and what is suspicious."""
    console = make_console(sys.stdout)
    found, missed = len(measured.points), measured.missed
    console.print(
        f'{found + missed} crops of {measured.size}x{measured.size} pixels, a face in {found}'
    )
    rows = [
        [name, *(f'{value:.1f}' for value in (*point, *spread))]
        for name, point, spread in zip(
            POINTS, measured.template.points, measured.spread, strict=True
        )
    ]
    header = ('point', 'x', 'y', 'spread of x', 'spread of y')
    console.print(make_table(header, rows, ('point',)))
    if missed > MAX_MISSED * (found + missed):
        console.print(Text(f'warning: no face was found in {missed} crops', 'yellow'))
    if measured.spread.max() > MAX_SPREAD * measured.size:
        console.print(
            Text(
                f'warning: the spread of {measured.spread.max():.1f} pixels is more than '
                f'{MAX_SPREAD * measured.size:.1f}: the crops are not aligned by these points, and '
                'a template fits only their mean',
                'yellow',
            )
        )


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print and write."""
    args = parse_args(argv)
    paths = sample_paths(args.crops, args.filename_tmpl, args.sample)
    height, width = read_crop(paths[0]).shape[:2]
    if height != width:
        raise InvalidValueError(
            f'{paths[0]}: got {width}x{height} pixels, expected a square; give aligned crops'
        )
    finder = build_finder(args.detector, max(12, round(MIN_FACE * height)))
    measured = measure_points(finder, read_crops(paths, height), height)
    if not len(measured.points):
        raise InvalidValueError(
            f'{args.crops}: got no face in {measured.missed} crops, expected aligned faces; give '
            'other crops or another --detector'
        )
    print_points(measured)
    if args.out:
        write_template(args.out, measured.template)
        print(f'{args.out}: written; use it by --template {args.out}')


if __name__ == '__main__':
    sys.exit(main())
