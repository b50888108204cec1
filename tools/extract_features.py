#!/usr/bin/env python
"""Write features of every frame that has a crop, for temporal models.

    python tools/extract_features.py configs/res50_srp_affwild2.py CHECKPOINT \
        --out features/res50_srp_affwild2 --layer neck
    python tools/launch.py --standalone --nproc_per_node=2 tools/extract_features.py \
        CONFIG CHECKPOINT --out FOLDER --launcher pytorch

One float16 array a clip, (frames with a crop, D), an index and what they were made by;
docs/temporal.md has the layout. Images pass the test pipeline. The same command goes on where a
run was killed.

Exit status: 0; 1 after an error, of which one message tells (ABAW_MM_TRACEBACK=1: where it arose);
2 for wrong flags.
"""

import sys

from abaw_mm.apis import extract_features
from abaw_mm.apis.extract_features import (
    LAYERS,
    SPLITS,
)
from abaw_mm.cli import (
    ToolParser,
    report_errors,
)


@report_errors
def main() -> None:
    """Extract."""
    parser = ToolParser(
        'Write features of every frame', 'test_dataloader.dataset.ann_file=test_set_format.txt'
    )
    parser.add_argument(
        'checkpoint', help='path of the checkpoint; for --layer backbone self-supervised ones, too'
    )
    parser.add_argument('--out', required=True, help='folder of the features')
    parser.add_argument(
        '--split',
        nargs='+',
        choices=SPLITS,
        default=list(SPLITS),
        help="whose clips; default: all three of the config's data loaders",
    )
    parser.add_argument(
        '--layer',
        choices=LAYERS,
        default='backbone',
        help="backbone: its last map's mean (default); neck: what the head gets",
    )
    parser.add_argument(
        '--batch-size', type=int, help="frames at once; default: the test data loader's"
    )
    extract_features(**parser.parse())


if __name__ == '__main__':
    sys.exit(main())
