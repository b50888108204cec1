#!/usr/bin/env python
"""Extract features of every frame that has a crop, for temporal models.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \\
        --out features/res50_srp_affwild2 --layer neck
    python tools/launch.py --standalone --nproc_per_node=2 tools/extract_features.py \\
        CONFIG CHECKPOINT --out FOLDER --launcher pytorch

Writes one float16 array (frames with a crop, D) per clip, an index, and a record of the config and
checkpoint; docs/temporal.md describes the layout. Images go through the test pipeline. Run the same
command again to continue an interrupted extraction.
"""

import sys
from collections.abc import Sequence

from abaw_mm.apis import extract_features
from abaw_mm.apis.features.clip_rows import SPLITS
from abaw_mm.apis.features.extract_features import LAYERS
from abaw_mm.cli import RunParser, report_errors


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Extract the features."""
    parser = RunParser(__doc__, 'test_dataloader.dataset.ann_file=test_set_format.txt')
    parser.add_argument(
        'checkpoint',
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
        default='backbone',
        help="backbone: spatial mean of its last map; neck: the head's input "
        '(default: %(default)s)',
    )
    parser.add_argument(
        '--batch-size', type=int, help="frames per batch (default: the test data loader's)"
    )
    extract_features(**parser.parse(argv))


if __name__ == '__main__':
    sys.exit(main())
