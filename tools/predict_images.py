#!/usr/bin/env python
"""Predict the expressions of pictures: crops of faces, or photos in which faces are found.

    python tools/predict_images.py CONFIG CHECKPOINT crops/ --out scores.csv
    python tools/predict_images.py CONFIG CHECKPOINT photo.jpg photos/ --find-faces --out faces.csv
    python tools/predict_images.py CONFIG --onnx FILE crops/ --out scores.csv

Writes one row per face. Files that cannot be read are left out and listed, and the exit status is
then 1. See docs/images.md.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from abaw_mm.apis.inference.predict_images import predict_images
from abaw_mm.cli import (
    CommandParser,
    cfg_options_argument,
    face_arguments,
    find_checkpoint,
    onnx_argument,
    report_errors,
)
from abaw_mm.files import check_folder
from abaw_mm.video.face_template import read_template


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        __doc__,
        face_arguments(),
        onnx_argument(),
        cfg_options_argument('data_preprocessor.resize_edge=128'),
    )
    parser.add_argument('config', help='path of the config of a classifier of frames')
    parser.add_argument('checkpoint', nargs='?', help='path or URL of its checkpoint')
    parser.add_argument(
        'images',
        nargs='+',
        metavar='IMAGE|FOLDER',
        help='pictures, and folders that are searched with their subfolders',
    )
    parser.add_argument('--out', required=True, metavar='FILE', help='table to write (.csv)')
    parser.add_argument(
        '--find-faces',
        action='store_true',
        help='find and align the faces; without it, each picture is the crop of a face',
    )
    parser.add_argument('--device', help='such as cuda:0 or cpu (default: CUDA if available)')
    parser.add_argument(
        '--batch-size', type=int, default=64, help='faces that are scored together (default: 64)'
    )
    args = parser.parse_intermixed_args(argv)
    find_checkpoint(parser, args, 'images')
    if not args.out.endswith('.csv'):
        parser.error(f'--out: got {args.out!r}, expected a file that ends in .csv')
    for name in ('detector', 'min_face', 'template'):
        if not args.find_faces and getattr(args, name) is not None:
            parser.error(f'--{name.replace("_", "-")}: got no --find-faces, which it belongs to')
    return args


@report_errors
def main(argv: Sequence[str] | None = None) -> int:
    """Write the table."""
    args = parse_args(argv)
    check_folder(Path(args.out).parent, '--out')
    chosen = {
        name: getattr(args, name)
        for name in ('detector', 'min_face')
        if getattr(args, name) is not None
    }
    if args.template is not None:
        chosen['template'] = read_template(args.template)
    result = predict_images(
        args.config,
        args.checkpoint,
        args.images,
        args.find_faces,
        args.batch_size,
        device=args.device,
        cfg_options=args.cfg_options,
        onnx=args.onnx,
        **chosen,
    )
    result.write(args.out)
    for path, reason in result.unreadable.items():
        print(f'left out: {path}: {reason}', file=sys.stderr)
    print(
        f'{args.out}: {len(result.image)} faces in {len(result.paths)} pictures; '
        f'{len(result.unreadable)} could not be read'
    )
    return 1 if result.unreadable else 0


if __name__ == '__main__':
    sys.exit(main())
