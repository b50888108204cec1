#!/usr/bin/env python
"""Extract features of every frame that has a crop, for temporal models.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \\
        --out features/res50_srp_affwild2 --layer neck
    python tools/extract_features.py configs/res50_srp_affwild2.py \\
        --encoder timm:vit_large_patch14_dinov2 --weights dinov2_l.safetensors --size 224 \\
        --scales 1 0.9 0.8 --mirror --out features/dinov2_l
    python tools/launch.py --standalone --nproc_per_node=2 tools/extract_features.py \\
        CONFIG CHECKPOINT --out FOLDER --launcher pytorch

Writes one float16 array (frames with a crop, D) per clip, an index, and a record of the config and
checkpoint; docs/temporal.md describes the layout. Images go through the test pipeline, or with
--encoder, are resized and normalised for the encoder; docs/features.md lists encoders. Run the same
command again to continue an interrupted extraction.
"""

import sys
from collections.abc import Sequence

from abaw_mm.apis import encode_crops, extract_features
from abaw_mm.apis.features.clip_rows import SPLITS
from abaw_mm.apis.features.extract_features import LAYERS
from abaw_mm.cli import RunParser, report_errors

OWN = ('verbose', 'checkpoint', 'layer')  # arguments of our networks, and those of encoders
FOREIGN = ('encoder', 'weights', 'scales', 'mirror', 'size', 'mean', 'std', 'output')


def parse_args(argv: Sequence[str] | None) -> dict:
    parser = RunParser(__doc__, 'test_dataloader.dataset.ann_file=test_set_format.txt')
    parser.add_argument(
        'checkpoint',
        nargs='?',
        help='path of the checkpoint; --layer backbone also takes self-supervised ones',
    )
    parser.add_argument('--out', required=True, metavar='DIR', help='folder for the features')
    parser.add_argument(
        '--split',
        nargs='+',
        choices=SPLITS,
        default=list(SPLITS),
        help='data loaders of the config whose clips to extract (default: all three)',
    )
    parser.add_argument(
        '--layer',
        choices=LAYERS,
        help="backbone: spatial mean of its last map; neck: the head's input (default: backbone)",
    )
    parser.add_argument(
        '--batch-size', type=int, help="frames per batch (default: the test data loader's)"
    )
    encoder = parser.add_argument_group('networks of other packages, instead of CHECKPOINT')
    encoder.add_argument(
        '--encoder', metavar='KIND:NAME', help='timm:NAME, mmpretrain:NAME or onnx:FILE'
    )
    encoder.add_argument('--weights', metavar='FILE', help='weights of timm and mmpretrain')
    encoder.add_argument(
        '--scales',
        nargs='+',
        type=float,
        metavar='S',
        help='average over centred squares of these sizes, parts of the crop (default: 1)',
    )
    encoder.add_argument(
        '--mirror', action='store_true', default=None, help='average with the mirror image'
    )
    encoder.add_argument('--size', type=int, help="side of the input (default: the network's)")
    channels = dict(nargs=3, type=float, metavar=('R', 'G', 'B'))
    encoder.add_argument(
        '--mean', **channels, help="in 0 to 1 (default: the network's; ImageNet's for onnx)"
    )
    encoder.add_argument('--std', **channels, help='likewise')
    encoder.add_argument(
        '--output',
        metavar='TENSOR',
        help='tensor of an ONNX graph, or penultimate (default: the first output)',
    )
    parser.set_defaults(verbose=None)
    args = parser.parse(argv)
    if (args['checkpoint'] is None) == (args['encoder'] is None):
        parser.error('got CHECKPOINT and --encoder, or neither, expected one of them')
    for name in OWN if args['encoder'] else FOREIGN:
        if args[name] is not None:
            parser.error(
                f'--{name}: got a value, but it belongs to '
                + ('CHECKPOINT, not to --encoder' if args['encoder'] else '--encoder')
            )
    return {name: value for name, value in args.items() if value is not None}


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Extract the features."""
    args = parse_args(argv)
    (encode_crops if 'encoder' in args else extract_features)(**args)


if __name__ == '__main__':
    sys.exit(main())
