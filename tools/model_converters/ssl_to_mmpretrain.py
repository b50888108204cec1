#!/usr/bin/env python
"""Convert a self-supervised checkpoint into a backbone that mmpretrain loads.

    python tools/model_converters/ssl_to_mmpretrain.py moco_r50.pth weights/r50.pth
    python tools/model_converters/ssl_to_mmpretrain.py vit.safetensors vit.pth --config CONFIG

The source framework is detected from the keys; docs/checkpoints.md lists those that are known. OUT
holds only the backbone, under mmpretrain's names, and its origin in `meta`.
"""

import argparse
import pickle
import sys
import types
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch

from abaw_mm.checkpoints.convert import (
    convert_backbone,
    infer_resnet_config,
    read_backbone_config,
    write_backbone,
)
from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.checkpoints.match import flatten_checkpoint
from abaw_mm.checkpoints.resnet_depth import DEPTHS
from abaw_mm.checkpoints.safe_pickle import PLAIN_DATA, UnsafeCheckpointError
from abaw_mm.cli import CommandParser, make_console, make_table, report_errors
from abaw_mm.errors import InvalidTypeError, InvalidValueError

SUFFIXES = ('.pth', '.pt', '.safetensors')


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = CommandParser(__doc__)
    parser.add_argument('source', type=Path, metavar='IN', help='.pth or .safetensors')
    parser.add_argument('out', type=Path, metavar='OUT', help='.pth or .safetensors')
    network = parser.add_mutually_exclusive_group()
    network.add_argument('--config', help='config whose model.backbone is the network')
    network.add_argument(
        '--backbone',
        choices=[f'resnet{depth}' for depth in DEPTHS.values()],
        help='network; default: the ResNet with the blocks of IN',
    )
    parser.add_argument('--prefix', help='encoder to take of several, such as encoder_k')
    parser.add_argument(
        '--allow-partial', action='store_true', help='also write an incomplete backbone'
    )
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='execute IN if it is more than plain data; its author can then do whatever your '
        'account can do',
    )
    args = parser.parse_args(argv)
    if args.out.suffix not in SUFFIXES:
        parser.error(f'OUT: got {args.out.name}, expected a name with {", ".join(SUFFIXES)}')
    if not args.source.is_file():
        parser.error(f'IN: {args.source}: no such file, expected a checkpoint; correct the path')
    if args.out.exists() and args.out.samefile(args.source):
        parser.error(f'OUT: got {args.out}, which is IN; give another name')
    if args.config and not Path(args.config).is_file():
        parser.error(f'--config: {args.config}: no such file; correct the path')
    return args


def read(path: Path, trust_pickle: bool) -> dict:
    """Read a checkpoint as data; with ``trust_pickle``, execute it if it is more than that."""
    try:
        return load_checkpoint_file(path)
    except UnsafeCheckpointError as error:
        if not trust_pickle:
            raise
        print(f'WARNING: --trust-pickle: {error}', file=sys.stderr)
    checkpoint = run_pickle(path)
    if isinstance(checkpoint, torch.nn.Module):  # torch.save(model)
        return checkpoint.state_dict()
    if not isinstance(checkpoint, dict):
        raise InvalidTypeError(
            f'{path}: got a {type(checkpoint).__name__}, expected a dict or a module; save its '
            'tensors with torch.save(dict(state_dict=...), PATH)'
        )
    return checkpoint


def run_pickle(path: Path) -> object:
    """Read a file of torch, or any pickle, without safeguards.

    Prints each type before it is imported.
    This function is in the tool instead of the package, so that no config can reach it.
    """
    printed = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            what = f'{module}.{name}'
            if what not in printed and not PLAIN_DATA.fullmatch(what):
                printed.add(what)
                print(f'WARNING: --trust-pickle: {path} uses {what}', file=sys.stderr)
            return super().find_class(module, name)

    module = types.ModuleType('pickle')
    vars(module).update(
        Unpickler=Unpickler,
        UnpicklingError=pickle.UnpicklingError,
        load=lambda file, **kwargs: Unpickler(file, **kwargs).load(),
    )
    try:
        if not zipfile.is_zipfile(path):  # a pickle, or a file of torch from before 1.6
            with path.open('rb') as file:
                first = Unpickler(file).load()
            if not isinstance(first, int):  # the mark of torch
                return first
        return torch.load(path, map_location='cpu', pickle_module=module, weights_only=False)
    except (ImportError, AttributeError) as error:
        raise InvalidValueError(
            f'{path}: got {error!r} while reading, expected its classes to be installed; add its '
            "author's code to PYTHONPATH"
        ) from error


@report_errors
def main(argv: Sequence[str] | None = None) -> None:
    """Convert and print what was found."""
    args = parse_args(argv)
    found = flatten_checkpoint(read(args.source, args.trust_pickle))
    if args.config:
        cfg = read_backbone_config(args.config)
    elif args.backbone:
        cfg = dict(type='ResNet', depth=int(args.backbone.removeprefix('resnet')))
    else:
        cfg = infer_resnet_config(found)
    converted = convert_backbone(found, cfg, args.source, args.prefix, args.allow_partial)
    write_backbone(converted, args.source, args.out)
    console = make_console()
    console.print(f'{args.source} -> {converted.network}')
    rows = converted.report.rows()
    console.print(make_table(('import', 'found'), rows, left=('import', 'found')))
    console.print(
        f'{args.out} is written; use it with\n'
        f'  --cfg-options checkpoint={args.out}\n'
        'or, in mmpretrain without abaw_mm, with\n'
        f"  init_cfg=dict(type='Pretrained', checkpoint='{args.out}', prefix='backbone.')"
    )


if __name__ == '__main__':
    sys.exit(main())
