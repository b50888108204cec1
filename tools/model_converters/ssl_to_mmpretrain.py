#!/usr/bin/env python
"""Turn a self-supervised checkpoint into a backbone that mmpretrain loads.

    python tools/model_converters/ssl_to_mmpretrain.py moco_r50.pth weights/r50.pth
    python tools/model_converters/ssl_to_mmpretrain.py vit.safetensors vit.pth --config CONFIG

Whose checkpoint it is, is seen by its keys: docs/checkpoints.md lists them. OUT holds the backbone
alone, under mmpretrain's names, and notes in `meta` where it comes from.

Exit status: 0 OUT is written; 1 it is not, as IN is refused, damaged or holds no such backbone
whole; 2 wrong flags, no such file, or OUT cannot be written.
"""

import argparse
import pickle
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path

import safetensors.torch
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

import abaw_mm
from abaw_mm.checkpoints.import_report import ImportReport
from abaw_mm.checkpoints.load import load_checkpoint_file
from abaw_mm.checkpoints.match import flatten_checkpoint, match_backbone, require_complete
from abaw_mm.checkpoints.resnet_depth import DEPTHS, count_blocks
from abaw_mm.checkpoints.safe_pickle import PLAIN_DATA, UnsafeCheckpointError
from abaw_mm.cli import report_errors
from abaw_mm.files import atomic_write, sha256

PLAIN_WIDTH = 120  # columns where the output is no terminal
SUFFIXES = ('.pth', '.pt', '.safetensors')


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('source', type=Path, metavar='IN', help='.pth or .safetensors')
    parser.add_argument('out', type=Path, metavar='OUT', help='.pth or .safetensors')
    network = parser.add_mutually_exclusive_group()
    network.add_argument('--config', help='of a model whose backbone it is')
    network.add_argument(
        '--backbone',
        choices=[f'resnet{depth}' for depth in DEPTHS.values()],
        help='default: the ResNet whose blocks IN holds',
    )
    parser.add_argument('--prefix', help='take this encoder of several, such as encoder_k')
    parser.add_argument(
        '--allow-partial',
        action='store_true',
        help='write what is found of the backbone, if it is not all',
    )
    parser.add_argument(
        '--trust-pickle',
        action='store_true',
        help='run what IN says while it is read, if it is no plain data. Whoever '
        'wrote it can then do with this account whatever you can',
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
    """The checkpoint as data or, for ``--trust-pickle`` alone, as the program that it is."""
    try:
        return load_checkpoint_file(path)
    except UnsafeCheckpointError as error:
        if not trust_pickle:
            raise
        print(f'WARNING: --trust-pickle: {error}', file=sys.stderr)
    checkpoint = run_pickle(path)
    if not isinstance(checkpoint, dict):
        raise ValueError(f'{path}: got a {type(checkpoint).__name__}, expected a dict')
    return checkpoint


def run_pickle(path: Path) -> object:
    """``torch.load`` without the safeguard, naming each type before it is looked up.

    It stands here and not in the package, so that no config reaches it.
    """
    told = set()

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> object:
            what = f'{module}.{name}'
            if what not in told and not PLAIN_DATA.fullmatch(what):
                told.add(what)
                print(f'WARNING: --trust-pickle: {path} is given {what}', file=sys.stderr)
            return super().find_class(module, name)

    module = types.ModuleType('pickle')
    vars(module).update(
        Unpickler=Unpickler,
        UnpicklingError=pickle.UnpicklingError,
        load=lambda file, **kwargs: Unpickler(file, **kwargs).load(),
    )
    try:
        return torch.load(path, map_location='cpu', pickle_module=module, weights_only=False)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f'{path}: got {error!r} while it was read, expected its classes to be installed; put '
            "its author's code on PYTHONPATH"
        ) from error


def infer_depth(found: Mapping[str, torch.Tensor]) -> int:
    """Depth of the ResNet whose blocks a checkpoint holds, by counting them."""
    depth = DEPTHS.get(count_blocks(found))
    if depth is None:
        counted, _ = count_blocks(found)
        raise ValueError(
            f'got {counted} blocks in four stages, expected those of a ResNet-18, 34, 50, 101 or '
            '152; name the network with --backbone or --config. The keys are such as '
            + ', '.join(list(found)[:5])
        )
    return depth


def backbone_cfg(args: argparse.Namespace, found: Mapping[str, torch.Tensor]) -> dict:
    """Config of the backbone to be filled."""
    if args.config:
        cfg = Config.fromfile(args.config).get('model', {}).get('backbone')
        if cfg is None:
            raise ValueError(f'--config: {args.config}: got none, expected model.backbone')
        return dict(cfg)
    depth = int(args.backbone.removeprefix('resnet')) if args.backbone else infer_depth(found)
    return dict(type='ResNet', depth=depth)


def write(path: Path, state_dict: dict[str, torch.Tensor], meta: dict[str, str]) -> None:
    """Write the backbone whole, in the format that the name asks for."""
    with atomic_write(path) as draft:
        if path.suffix == '.safetensors':
            safetensors.torch.save_file(state_dict, draft, metadata=meta)
        else:
            torch.save(dict(state_dict=state_dict, meta=meta), draft)


def show(report: ImportReport, console: Console) -> None:
    """The table, as Markdown, which is plain text as well."""
    grid = Table(box=box.MARKDOWN)
    grid.add_column('import')
    grid.add_column('found', overflow='fold')
    for name, text in report.rows():
        grid.add_row(name, Text(text))
    console.print(grid)


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_args(argv)
    init_default_scope('mmpretrain')
    console = Console(width=None if sys.stdout.isatty() else PLAIN_WIDTH)
    try:
        found = flatten_checkpoint(read(args.source, args.trust_pickle))
        cfg = backbone_cfg(args, found)
        backbone = MODELS.build(cfg)
        report = match_backbone(backbone.state_dict(), found, args.prefix)
        network = f'{cfg["type"]}{"-" + str(cfg["depth"]) if "depth" in cfg else ""}'
        require_complete(report, f'{args.source} -> {network}', found, args.allow_partial)
    except (ValueError, UnsafeCheckpointError) as error:
        print(f'ssl_to_mmpretrain: {error}', file=sys.stderr)
        return 1
    console.print(Text(f'{args.source} -> {network}'), soft_wrap=True)
    show(report, console)
    digest = sha256(args.source)
    meta = dict(
        source=args.source.name,
        sha256=digest,
        layout=report.layout,
        prefix=report.prefix,
        matched=f'{report.matched} of {report.required}',
        abaw_mm_version=abaw_mm.__version__,
    )
    # Copies: a view would take the whole of what it is a view of into the file.
    state_dict = {
        f'backbone.{name}': found[key].detach().clone(memory_format=torch.contiguous_format)
        for name, key in report.sources.items()
    }
    try:
        write(args.out, state_dict, meta)
    except OSError as error:
        print(f'ssl_to_mmpretrain: OUT: {args.out}: {error}', file=sys.stderr)
        return 2
    console.print(
        Text(
            f'{args.out} is written; use it by\n'
            f'  --cfg-options checkpoint={args.out}\n'
            'or, in mmpretrain without abaw_mm,\n'
            f"  init_cfg=dict(type='Pretrained', checkpoint='{args.out}', prefix='backbone.')"
        ),
        soft_wrap=True,
    )
    return 0


if __name__ == '__main__':
    sys.exit(report_errors(main)())
