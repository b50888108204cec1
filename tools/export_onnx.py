#!/usr/bin/env python
"""Export a classifier to ONNX, to run it without this package.

    python tools/export_onnx.py configs/res18_srp_affwild2.py CHECKPOINT res18.onnx
    python tools/export_onnx.py CONFIG CHECKPOINT res18_int8.onnx --int8 --calibration crops/

The network takes uint8 crops (N, 112, 112, 3) in RGB, and returns probabilities; resizing and
normalisation are inside. A model over features takes windows and their masks. The file is written
only if its predictions equal those of the checkpoint. See docs/onnx.md.
"""

import sys
from collections.abc import Sequence

from abaw_mm.apis import export_onnx
from abaw_mm.apis.deploy.export_onnx import MAIN_METRICS, TOLERANCE, Exported
from abaw_mm.cli import CommandParser, cfg_options_argument, report_errors


def parse_args(argv: Sequence[str] | None) -> dict:
    parser = CommandParser(__doc__, cfg_options_argument('test_dataloader.dataset.data_root=DIR'))
    parser.add_argument('config', help='path of the config of a classifier')
    parser.add_argument('checkpoint', help='path or URL of its checkpoint')
    parser.add_argument('out', metavar='OUT.onnx', help='file to write')
    parser.add_argument(
        '--faces',
        metavar='DIR',
        help='crops of 112x112 pixels on which network and checkpoint are compared (default: '
        "frames of the config's test set)",
    )
    parser.add_argument(
        '--int8',
        action='store_true',
        help='quantise to 8 bits, and score both precisions on the test set of the config, if any',
    )
    parser.add_argument(
        '--calibration',
        metavar='DIR',
        help='crops from which --int8 measures the ranges of the activations, such as training '
        'frames',
    )
    return vars(parser.parse_args(argv))


def describe_scores(exported: Exported) -> str | None:
    """Return the loss of the quantisation in the metric of the track."""
    full, small = (exported.scores.get(name) for name in ('float32', 'int8'))
    if not full or not small:
        return None
    name = MAIN_METRICS[exported.info.task]
    return (
        f'{name} on the test set: float32 {full[name]:.4f}, int8 {small[name]:.4f}, difference '
        f'{small[name] - full[name]:+.4f}'
    )


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Export."""
    args = parse_args(argv)
    exported = export_onnx(**args)
    print(
        f'largest difference from the checkpoint on {exported.compared}: '
        f'{exported.difference:.1e} in float32 (limit {TOLERANCE:.0e})'
    )
    if exported.scores:
        print(describe_scores(exported) or 'the test set of the config was not scored')
    print(f'{args["out"]}: {exported.info.precision}, {exported.size / 1e6:.1f} MB')


if __name__ == '__main__':
    sys.exit(main())
