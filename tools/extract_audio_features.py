#!/usr/bin/env python
"""Extract features of the sound around every frame, for models over features.

    python tools/extract_audio_features.py data/affwild2/videos --out features/logmel \\
        --frames features/res50_srp_affwild2
    python tools/extract_audio_features.py batch1 batch2 --out features/wav2vec2 \\
        --config configs/res50_srp_affwild2.py --feature speech --checkpoint weights/wav2vec2-base
    python tools/launch.py --standalone --nproc_per_node=2 tools/extract_audio_features.py \\
        VIDEOS --out FOLDER --frames FEATURES --launcher pytorch

Clips and frame numbers are those of a folder of features (--frames) or of a config's crops
(--config). The features of a frame are the mean over half a second on either side, by the time
stamps of the video. Clips without a video or without sound are masked and counted. Run the same
command again to continue an interrupted extraction. docs/features.md describes the features.
"""

import argparse
import sys
from collections.abc import Sequence

from abaw_mm.apis import extract_audio_features
from abaw_mm.apis.features.clip_rows import SPLITS
from abaw_mm.apis.features.extract_audio_features import FEATURES
from abaw_mm.cli import (
    CommandParser,
    cfg_options_argument,
    report_errors,
    start_index_argument,
)
from abaw_mm.compat.cpu import LAUNCHERS


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(
        __doc__,
        cfg_options_argument('test_dataloader.dataset.ann_file=test_set_format.txt'),
        start_index_argument(),
    )
    parser.add_argument(
        'videos', nargs='+', metavar='VIDEOS', help='folders of videos, <clip>.mp4 or .avi'
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the features')
    frames = parser.add_mutually_exclusive_group(required=True)
    frames.add_argument(
        '--frames', metavar='DIR', help='folder of features whose clips and frames to use'
    )
    frames.add_argument('--config', help='path of a config whose clips and crops to use')
    parser.add_argument(
        '--split',
        nargs='+',
        choices=SPLITS,
        default=list(SPLITS),
        help='data loaders of --config whose clips to extract (default: all three)',
    )
    parser.add_argument(
        '--feature',
        choices=FEATURES,
        default='logmel',
        help='logmel: 80 log-mel energies; speech: wav2vec 2.0, HuBERT or WavLM; egemaps: 25 '
        "descriptors, opensmile's licence is non-commercial (default: %(default)s)",
    )
    parser.add_argument('--checkpoint', metavar='DIR', help='folder of the speech model')
    parser.add_argument(
        '--layers',
        type=int,
        default=4,
        help='last layers of the speech model to average (default: %(default)s)',
    )
    parser.add_argument('--device', help='of the speech model (default: a GPU if there is one)')
    parser.add_argument('--work-dir', help='folder for the log of --config')
    parser.add_argument('--launcher', choices=list(LAUNCHERS), default='none')
    return parser.parse_args(argv)


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Extract the features."""
    extract_audio_features(**vars(parse_args(argv)))


if __name__ == '__main__':
    sys.exit(main())
