#!/usr/bin/env python
"""Predict the expressions of every face in videos.

    python tools/predict_video.py configs/res18_srp_112_affwild2.py CHECKPOINT talk.mp4 --out talk
    python tools/predict_video.py CONFIG CHECKPOINT VIDEO... --out DIR --smooth box:1.0s --report
    python tools/predict_video.py CONFIG CHECKPOINT --camera 0
    python tools/predict_video.py CONFIG --onnx FILE talk.mp4 --out talk

Writes DIR/<video>.csv (one row per face and frame), .npz (predictions, for the other commands) and
<video>_tracks.json. Edit the latter to merge, drop or rename persons, and run the command again: it
uses these faces and does not search any. See docs/video.md.
"""

import sys
from collections.abc import Sequence

from abaw_mm.apis import predict_camera, predict_video
from abaw_mm.apis.inference.video_inferencer import KEPT
from abaw_mm.apis.inference.write_video_result import Outputs
from abaw_mm.cli import (
    CommandParser,
    cfg_options_argument,
    face_arguments,
    find_checkpoint,
    onnx_argument,
    report_errors,
    smooth_argument,
)

DETECTION = ('detector', 'min_face', 'detect_every')
VIDEOS_ONLY = ('videos', 'faces', 'start', 'end', 'draw', 'crops', 'report', 'batch_size')


def parse_args(argv: Sequence[str] | None = None) -> dict:
    """Parse arguments into keywords of ``predict_video`` or ``predict_camera``."""
    parser = CommandParser(
        __doc__,
        face_arguments(),
        smooth_argument(),
        onnx_argument(),
        cfg_options_argument('data_preprocessor.resize_edge=128'),
    )
    parser.add_argument('config', help='path of the config of a classifier of frames')
    parser.add_argument('checkpoint', nargs='?', help='path of its checkpoint')
    parser.add_argument('videos', nargs='*', default=[], metavar='VIDEO', help='paths of videos')
    parser.add_argument(
        '--camera',
        type=int,
        metavar='NUMBER',
        help='read this camera instead of videos, until q or Ctrl-C; without --out in a window',
    )
    parser.add_argument('--out', metavar='DIR', help='folder for the files')
    parser.add_argument(
        '--faces',
        choices=KEPT,
        default='all',
        help='all, or the person whose faces have the largest area in total (default: all)',
    )
    parser.add_argument(
        '--detect-every',
        type=int,
        metavar='FRAMES',
        help='frames from one search of the whole picture to the next (default: 8)',
    )
    parser.add_argument(
        '--start', type=float, metavar='SECONDS', help='leave out frames before this time'
    )
    parser.add_argument(
        '--end', type=float, metavar='SECONDS', help='leave out frames from this time on'
    )
    parser.add_argument(
        '--draw', action='store_true', help='write the video with faces and probabilities'
    )
    parser.add_argument(
        '--crops', action='store_true', help='write the aligned faces, in the layout of Aff-Wild2'
    )
    parser.add_argument('--report', action='store_true', help='write an HTML page')
    parser.add_argument('--device', help='such as cuda:0 or cpu (default: CUDA if available)')
    parser.add_argument(
        '--batch-size', type=int, default=16, help='faces that are scored together (default: 16)'
    )
    parsed = parser.parse_intermixed_args(argv)
    find_checkpoint(parser, parsed, 'videos')
    args = vars(parsed)
    _check_source(parser, args)
    drawn, crops, report = (args.pop(name) for name in ('draw', 'crops', 'report'))
    chosen = {name: value for name in DETECTION if (value := args.pop(name)) is not None}
    args.update(chosen, smoothing=args.pop('smooth'))
    if args['camera'] is not None:
        return {name: value for name, value in args.items() if name not in VIDEOS_ONLY}
    del args['camera']
    return dict(args, outputs=Outputs(drawn, crops, report))


def _check_source(parser: CommandParser, args: dict) -> None:
    if args['camera'] is None:
        if not args['videos']:
            parser.error('got no VIDEO, expected the path of a video, or --camera NUMBER')
        if args['out'] is None:
            parser.error('got no --out, expected a folder for the files')
        return
    useless = [name for name in VIDEOS_ONLY if args[name] != parser.get_default(name)]
    if args['smooth'] and args['out'] is None:
        useless.append('smooth')
    if useless:
        names = ', '.join('VIDEO' if name == 'videos' else f'--{name}' for name in useless)
        parser.error(f'got {names}, which has no effect with --camera; leave it out')


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Predict and write."""
    args = parse_args(argv)
    if 'camera' in args:
        predict_camera(**args)
    else:
        predict_video(**args)


if __name__ == '__main__':
    sys.exit(main())
