"""Arguments that several commands share, as parents for :class:`CommandParser`.

>>> args = argparse.ArgumentParser(parents=[fill_arguments()]).parse_args(['--fill', 'previous'])
>>> args.fill, args.start_class, args.empty_clip
('previous', 'Other', None)
"""

import argparse
import ast
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmengine.config import DictAction

from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation.metrics.macro_f1 import ABSENT
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.postprocessing.seconds import Width, parse_smoothing, parse_width
from abaw_mm.evaluation.postprocessing.smoothing import METHODS
from abaw_mm.evaluation.submission.gap_filler import RULES


class _CfgOptions(DictAction):
    """mmengine's action that also reads dicts; errors are reported as wrong arguments."""

    @staticmethod
    def _parse_iterable(val: str) -> Any:
        """Parse a value; dicts and lists with dicts or quotes as Python does.

        mmengine removes all spaces. A value with spaces is a text, such as a path.
        """
        if val.startswith(('dict(', '{')):
            return parse_literal(val)
        if val.startswith(('[', '(')) and re.search('dict\\(|[{"\']', val):
            return parse_literal(val)
        if re.search(r'[^\s,]\s+[^\s,]', val) and not val.startswith(('[', '(')):
            return val
        return DictAction._parse_iterable(val)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        for value in values or ():
            if not value.split('=')[0] or '=' not in value:
                raise argparse.ArgumentError(
                    self,
                    f'got {value!r}, expected KEY=VALUE without spaces, such as '
                    'train_cfg.max_iters=100',
                )
        try:
            super().__call__(parser, namespace, values, option_string)
        except InvalidValueError as error:
            raise argparse.ArgumentError(self, str(error)) from error
        except AssertionError as error:  # unbalanced brackets
            raise argparse.ArgumentError(self, f'{error}; quote a value with brackets') from error


def parse_literal(text: str) -> Any:
    """Parse literals, and dicts of them that are written as ``dict(key=value)``.

    Raises:
        InvalidValueError: If the text is something else.

    >>> parse_literal("dict(type='CrossEntropyLoss', pos_weight=[1.0, 2.0], init=dict(std=0.1))")
    {'type': 'CrossEntropyLoss', 'pos_weight': [1.0, 2.0], 'init': {'std': 0.1}}
    """
    try:
        return _evaluate(ast.parse(text, mode='eval').body)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise InvalidValueError(
            f"got {text!r}, expected literals such as dict(type='CCC') or ['a', 'b']; quote the "
            'value for the shell, and strings in it with the other quotes'
        ) from error


def _evaluate(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and not node.args and ast.unparse(node.func) == 'dict':
        pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        if all(name for name, _ in pairs):  # not dict(**other)
            return {name: _evaluate(value) for name, value in pairs}
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [ast.literal_eval(key) for key in node.keys if key]
        return {k: _evaluate(value) for k, value in zip(keys, node.values, strict=True)}
    if isinstance(node, (ast.List, ast.Tuple)):
        values = [_evaluate(value) for value in node.elts]
        return tuple(values) if isinstance(node, ast.Tuple) else values
    return ast.literal_eval(node)


def cfg_options_argument(example: str) -> argparse.ArgumentParser:
    """``--cfg-options KEY=VALUE ...``, with an example for the help."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        '--cfg-options',
        nargs='+',
        action=_CfgOptions,
        metavar='KEY=VALUE',
        help=f'overrides of the config, e.g. {example}',
    )
    return parent


def onnx_argument() -> argparse.ArgumentParser:
    """``--onnx FILE``, an exported network instead of ``CHECKPOINT``."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        '--onnx',
        metavar='FILE',
        help='network that tools/export_onnx.py has written, instead of CHECKPOINT',
    )
    return parent


def find_checkpoint(parser: argparse.ArgumentParser, args: Any, sources: str) -> None:
    """Sort out an optional ``checkpoint`` and the ``sources`` that follow it, in place.

    With ``--onnx`` there is no checkpoint, so the first source has been parsed as one.

    Args:
        parser (ArgumentParser): Reports a missing checkpoint.
        args (Namespace): Arguments with ``checkpoint``, ``onnx`` and the list of sources.
        sources (str): Name of that list.
    """
    if args.onnx is None and args.checkpoint is None:
        parser.error('got no CHECKPOINT, expected its path, or --onnx FILE')
    if args.onnx is not None and args.checkpoint is not None:
        setattr(args, sources, [args.checkpoint, *getattr(args, sources)])
        args.checkpoint = None


def json_argument() -> argparse.ArgumentParser:
    """``--json FILE``."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument('--json', metavar='FILE', help='also write the figures to this file')
    return parent


def fill_arguments() -> argparse.ArgumentParser:
    """``--fill``, ``--start-class`` and ``--empty-clip``, the arguments of ``GapFiller``."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        '--fill',
        default='interpolate',
        metavar='RULE',
        help=f'class of frames without a crop: {", ".join(RULES)}, or the name of a class '
        '(default: %(default)s)',
    )
    parent.add_argument(
        '--start-class',
        default='Other',
        metavar='CLASS',
        help="class of frames before a clip's first crop under --fill previous "
        '(default: %(default)s)',
    )
    parent.add_argument(
        '--empty-clip',
        metavar='CLASS',
        help='class of clips without any crop; of other tracks than EXPR the values as in a row of '
        'the submission, such as 0,0 (default: report an error)',
    )
    return parent


def fold_arguments() -> argparse.ArgumentParser:
    """``--folds``, ``--seed`` and ``--ann-dir``, how clips are split for cross-validation."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument('--folds', type=int, default=5, help='number of folds; default: 5')
    parent.add_argument(
        '--seed', type=int, default=0, help='seed that decides between equal choices; default: 0'
    )
    parent.add_argument(
        '--ann-dir',
        type=Path,
        nargs='+',
        metavar='DIR',
        help='folders of annotations; default: those of the latest edition in the data root',
    )
    return parent


def width_argument(text: str) -> Width:
    """Parse a width of smoothing: the ``type`` of an argument."""
    try:
        return parse_width(text)
    except InvalidValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def smoothing_arguments(width: int = 0) -> argparse.ArgumentParser:
    """``--method``, ``--width`` and ``--hold``, with a default width in frames."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        '--method',
        choices=METHODS,
        default='box' if width else None,
        help='smoothing filter (default: box)',
    )
    parent.add_argument(
        '--width',
        type=width_argument,
        default=width,
        metavar='WIDTH',
        help='frames on each side that the filter covers, such as 50; or the whole window in '
        'seconds, such as 1.0s, for predictions of a video; standard deviation of gaussian '
        '(default: %(default)s)',
    )
    parent.add_argument(
        '--hold',
        type=int,
        default=0,
        help='minimum duration of a class in frames; shorter runs take the class before them '
        '(default: %(default)s)',
    )
    return parent


def face_arguments() -> argparse.ArgumentParser:
    """``--detector``, ``--min-face`` and ``--template``, None where they are not given."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        '--detector', help='mtcnn, or yunet:FILE for a model file of YuNet (default: mtcnn)'
    )
    parent.add_argument(
        '--min-face', type=int, help='height of the smallest face in pixels (default: 40)'
    )
    parent.add_argument(
        '--template',
        metavar='FILE',
        help='where eyes, nose and mouth are in the crops, as tools/misc/measure_crops.py writes '
        'it (default: the template of ArcFace)',
    )
    return parent


def smooth_argument() -> argparse.ArgumentParser:
    """``--smooth METHOD:WIDTH``, which gives a :class:`Postprocess` or None."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        '--smooth',
        type=_parse_smooth,
        metavar='METHOD:WIDTH',
        help=f'smooth the probabilities: {", ".join(METHODS)} over a window in seconds, such as '
        'box:1.0s, or with a number of frames on each side, such as median:25',
    )
    return parent


def _parse_smooth(text: str) -> Postprocess:
    try:
        method, width = parse_smoothing(text)
    except InvalidValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return Postprocess(method=method, width=width)


def absent_argument() -> argparse.ArgumentParser:
    """``--absent``, how macro-F1 counts classes without labelled frames."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        '--absent',
        choices=ABSENT,
        default='zero',
        help='F1 of a class without labelled frames: zero, as in the challenge, or skip to leave '
        'the class out of the mean (default: %(default)s)',
    )
    return parent


def start_index_argument() -> argparse.ArgumentParser:
    """``--start-index``, the number of a clip's first frame."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        '--start-index',
        type=int,
        default=1,
        help="number of a clip's first frame (default: %(default)s)",
    )
    return parent


def template_argument() -> argparse.ArgumentParser:
    """``--filename-tmpl``, the file name of a frame."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(
        '--filename-tmpl',
        default='{:05d}.jpg',
        help='file name of a frame, as in the dataset (default: %(default)s)',
    )
    return parent
