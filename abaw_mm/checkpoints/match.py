"""Match the tensors of a checkpoint to those of a backbone, by name and shape."""

import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
from mmpretrain.models import VisionTransformer
from torch import nn

from abaw_mm.checkpoints.import_report import ImportReport
from abaw_mm.checkpoints.layouts import (
    MODULE_WRAPPERS,
    NAMINGS,
    PLAIN,
    TOKENS,
    TRANSFORMER,
    Naming,
    count_momentum_markers,
    identify_layout,
    list_stage_prefixes,
    number_units,
    simplify_name,
    strip_wrappers,
    translate_name,
)
from abaw_mm.checkpoints.resnet_depth import explain_depth_mismatch
from abaw_mm.errors import InvalidValueError, shorten

# Share of the backbone's names that an encoder must have. A projector shares a few names by chance;
# an encoder that lacks one tensor is still an encoder.
MIN_SHARE = 0.5

Tensors = Mapping[str, torch.Tensor]
Shape = tuple[int, ...]
NOTHING: Mapping[str, int] = MappingProxyType({})

# Parts that only some vision transformers have, and what a backbone without them needs.
OPTIONAL_PARTS = (
    (r'ls[12]\.gamma|gamma_[12]$', 'set model.backbone.layer_scale_init_value=1e-5'),
    (r'mlp\.w(12|3)\.', "set model.backbone.layer_cfgs=dict(ffn_type='swiglu_fused')"),
    (r'reg(ister)?_tokens?$', 'use weights without register tokens, which mmpretrain lacks'),
    (r'dist_token$', "use weights without distillation, or type='DistilledVisionTransformer'"),
    (r'norm_pre\.', 'set model.backbone.pre_norm=True'),
)


class FoundEncoder(NamedTuple):
    """A prefix under which a checkpoint has names of the backbone."""

    prefix: str
    naming: Naming
    matched: int  # number of names


def flatten_checkpoint(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Collect the tensors of a nested checkpoint, except those of an optimizer.

    Arrays of NumPy become tensors. Modules, which only a trusted pickle holds, give their tensors.

    >>> list(flatten_checkpoint(dict(state_dict={'a.w': torch.ones(1)}, epoch=3)))
    ['state_dict.a.w']
    """
    tensors: dict[str, torch.Tensor] = {}
    todo, seen = [('', checkpoint)], set()
    while todo:
        path, node = todo.pop()
        if id(node) in seen:  # a pickle may hold a dict that contains itself
            continue
        seen.add(id(node))
        children = []
        for key, value in node.items():
            if not isinstance(key, str) or (not path and key.startswith('optim')):
                continue
            if isinstance(value, nn.Module):
                value = value.state_dict()
            if isinstance(value, np.ndarray) and value.dtype.kind in 'fiu':
                value = torch.from_numpy(value.astype(value.dtype.newbyteorder('=')))
            if isinstance(value, torch.Tensor):
                tensors[path + key] = value
            elif isinstance(value, Mapping):
                children.append((f'{path}{key}.', value))
        todo += reversed(children)
    return tensors


def find_encoders(wanted: Tensors, found: Tensors) -> list[FoundEncoder]:
    """Find every prefix under which a checkpoint has names of the backbone.

    Args:
        wanted: State dict of the backbone.
        found: The flattened checkpoint.

    Returns:
        list: The encoders, the documented one (see :mod:`.layouts`) first.
    """
    counts: Counter[tuple[str, Naming]] = Counter()
    splits = [split for key in found for split in _split_key(key)]
    for naming in dict.fromkeys((*NAMINGS, number_units(wanted))):
        names = {translate_name(name, naming) for name in wanted}
        if naming != PLAIN and names == set(wanted):
            continue
        for prefix, name, simple in splits:
            if name in names or simple in names:
                counts[prefix, naming] += 1
    encoders = [FoundEncoder(prefix, naming, count) for (prefix, naming), count in counts.items()]
    return sorted(encoders, key=_rank_encoder)


def _split_key(key: str) -> Iterator[tuple[str, str, str]]:
    """Split a key at each dot into a prefix and a name; yield the name also without wrappers.

    A wrapper around the whole encoder belongs to the prefix.
    """
    start = 0
    while start >= 0:
        name = key[start:]
        is_wrapped = name.split('.', 1)[0] in MODULE_WRAPPERS
        yield key[:start], name, name if is_wrapped else simplify_name(name)
        start = key.find('.', start) + 1 or -1


def _index_names(prefix: str, found: Tensors) -> dict[str, str]:
    """Return the key for each name under a prefix, as it is and without wrappers."""
    names = {key[len(prefix) :]: key for key in found if key.startswith(prefix)}
    return {simplify_name(name): key for name, key in names.items()} | names


def _rank_encoder(encoder: FoundEncoder) -> tuple[int, ...]:
    """Sort key of an encoder: its role first, then more names, then a shorter path."""
    prefix = encoder.prefix
    depth = len(strip_wrappers(prefix).split('.'))
    return count_momentum_markers(prefix), -encoder.matched, depth, len(prefix)


def compare_tensors(
    wanted: Tensors,
    found: Tensors,
    layout: str = 'names as they are',
    prefix: str = '',
    naming: Naming = PLAIN,
    resizable: Mapping[str, int] = NOTHING,
) -> ImportReport:
    """Compare the tensors of a module with those under one prefix of a checkpoint.

    Args:
        wanted: State dict of the module.
        found: The flattened checkpoint.
        layout: Name of the layout, for the table.
        prefix: Prefix of the module's names in the checkpoint.
        naming: Naming of the module's tensors in the checkpoint.
        resizable: Position embeddings that the module resizes, see :func:`list_resizable`.
    """
    report = ImportReport(layout, prefix, {}, 0, [], {})
    keys = _index_names(prefix, found)
    for name, tensor in wanted.items():
        # BatchNorm's counter: old files lack it, and our models do not need it.
        is_optional = name.endswith('num_batches_tracked')
        report.required += not is_optional
        key = keys.get(translate_name(name, naming))
        if key is not None and found[key].shape == tensor.shape:
            report.sources[name] = key
        elif is_optional:
            continue
        elif key is not None:
            shapes = tuple(found[key].shape), tuple(tensor.shape)
            if name in resizable and _is_another_grid(*shapes, resizable[name]):
                report.sources[name] = key
                report.resized[name] = shapes
            else:
                report.mismatched[name] = shapes
        else:
            report.missing.append(name)
    known = {keys.get(translate_name(name, naming)) for name in wanted}
    _list_rest(report, [key for key in found if key not in known], wanted, naming)
    return report


def list_resizable(module: nn.Module) -> dict[str, int]:
    """List the position embeddings that mmpretrain resizes when a module loads them.

    Returns:
        dict: For each name, how many of its positions are tokens apart from the patches.
    """
    sizes = {}
    for path, child in module.named_modules():
        if isinstance(child, VisionTransformer):
            rows, columns = child.patch_embed.init_out_size
            sizes[f'{path}.pos_embed'.lstrip('.')] = child.pos_embed.shape[1] - rows * columns
    return sizes


def _is_another_grid(got: Shape, expected: Shape, tokens: int) -> bool:
    """Return whether a position embedding only has another number of patches, in a square.

    mmpretrain assumes the square, since a file does not say how many rows there are.
    """
    if len(got) != 3 or (got[0], got[2]) != (expected[0], expected[2]):
        return False
    patches = got[1] - tokens
    return patches > 0 and math.isqrt(patches) ** 2 == patches


def _list_rest(
    report: ImportReport, rest: Collection[str], wanted: Tensors, naming: Naming
) -> None:
    """List the tensors of a checkpoint that the module does not have, in ``report``."""
    prefix = report.prefix
    stages = list_stage_prefixes(wanted, naming)
    if naming == TRANSFORMER:
        stages += TOKENS
    path = strip_wrappers(prefix).split('.')
    dropped: Counter[str] = Counter()
    for key in rest:
        if key.startswith(prefix) and simplify_name(key[len(prefix) :]).startswith(stages):
            if not key.endswith('num_batches_tracked'):
                report.unused.append(key)
            continue
        words = strip_wrappers(key).split('.')
        # Up to the first word that is not in the encoder's path: `encoder_q.fc`, `queue`.
        differs = next((i for i, w in enumerate(words) if path[i : i + 1] != [w]), len(words) - 1)
        dropped['.'.join(words[: differs + 1])] += 1
    report.dropped = dict(dropped)


def match_backbone(
    wanted: Tensors,
    found: Tensors,
    prefix: str | None = None,
    resizable: Mapping[str, int] = NOTHING,
) -> ImportReport:
    """Match a backbone to a checkpoint, by the names of its tensors.

    Args:
        wanted: State dict of the backbone.
        found: The flattened checkpoint (:func:`flatten_checkpoint`).
        prefix: End of the prefix of the encoder to use, such as ``'encoder_k'``. Defaults to the
            documented encoder.
        resizable: Position embeddings that the backbone resizes, see :func:`list_resizable`.
    """
    encoders = find_encoders(wanted, found)
    large = [encoder for encoder in encoders if encoder.matched >= MIN_SHARE * len(wanted)]
    if prefix is not None:
        encoders = [encoder for encoder in encoders if _has_prefix(encoder, prefix)]
    elif large:
        encoders = large
    else:
        encoders.sort(key=lambda encoder: -encoder.matched)
    if not encoders:
        report = compare_tensors(wanted, found, 'none of the names', prefix or '')
        if large:
            report.note = 'there is ' + ', '.join(repr(encoder.prefix) for encoder in large)
        return report

    first_words = {strip_wrappers(key).split('.')[0] for key in found}
    reports = [
        compare_tensors(
            wanted,
            found,
            identify_layout(encoder.prefix, encoder.naming, first_words),
            encoder.prefix,
            encoder.naming,
            resizable,
        )
        for encoder in encoders
    ]
    markers = count_momentum_markers(reports[0].prefix)
    report = min(  # among the encoders of the same role
        (report for report in reports if count_momentum_markers(report.prefix) == markers),
        key=lambda report: report.required - report.matched,
    )
    if prefix is None and large:
        others = [other for other in reports if other is not report]
        _note_other_encoders(report, others, found)
    return report


def _has_prefix(encoder: FoundEncoder, prefix: str) -> bool:
    """Return whether an encoder is the one that a user names by the end of its prefix."""
    end = prefix.strip('.')
    if not end:
        return not strip_wrappers(encoder.prefix)
    return f'.{encoder.prefix}'.endswith(f'.{end}.')


def _note_other_encoders(report: ImportReport, others: list[ImportReport], found: Tensors) -> None:
    """Note the other encoders in a report, and whether the choice is ambiguous."""
    texts = []
    for other in others:
        if _has_same_values(report, other, found):
            texts.append(f'{other.prefix!r} holds the same values')
            continue
        if report.complete and other.complete and _has_same_role(report, other):
            report.ambiguous = True
        texts.append(f'{other.prefix!r} is not used ({other.matched} of {other.required} fit)')
    listed = ', '.join(texts)
    if report.ambiguous:
        report.note = (
            f'several encoders match: {report.prefix!r}, {listed}; choose one with prefix=...'
        )
    elif texts:
        report.note = (
            f'{len(texts) + 1} encoders, {report.prefix!r} is the documented one; {listed}; '
            'prefix=... chooses another'
        )


def _has_same_values(report: ImportReport, other: ImportReport, found: Tensors) -> bool:
    return report.sources.keys() == other.sources.keys() and all(
        torch.equal(found[key], found[other.sources[name]]) for name, key in report.sources.items()
    )


def _has_same_role(report: ImportReport, other: ImportReport) -> bool:
    return count_momentum_markers(report.prefix) == count_momentum_markers(other.prefix)


def require_complete(report: ImportReport, what: str, found: Tensors, allow_partial: bool) -> None:
    """Raise unless a checkpoint holds the whole backbone, or a part where that is allowed.

    Args:
        report: Result of :func:`match_backbone`.
        what: File and backbone for the message, such as ``'SSLPretrained: ssl.pth -> ResNet'``.
        found: The flattened checkpoint.
        allow_partial: Whether a part is enough. A file without any tensor of the backbone is always
            an error.

    Raises:
        InvalidValueError: If a tensor is missing or has another shape, if the network in the file
            is deeper, or if several encoders match.
    """
    if report.complete or (allow_partial and report.matched and not report.ambiguous):
        return
    raise InvalidValueError(
        f'{what}: got {report.matched} of the {report.required} tensors of the backbone; '
        f'{_explain_mismatch(report, found)}. The keys of the file are such as '
        f'{shorten(list(found))}. Use weights of the same network, change model.backbone (e.g. '
        'depth), choose an encoder with prefix=..., or allow a partial import with '
        'allow_partial=True of SSLPretrained (--allow-partial of the converter)\n' + report.table()
    )


def _explain_mismatch(report: ImportReport, found: Tensors) -> str:
    """Return the most helpful reason why a match is not complete."""
    prefix = report.prefix
    depths = explain_depth_mismatch(
        {*report.sources, *report.missing, *report.mismatched},
        [key.removeprefix(prefix) for key in found if key.startswith(prefix)],
    )
    if depths:
        return depths
    if report.unused:
        return _explain_unused(report.unused)
    if report.missing:
        advice = '; remove model.backbone.layer_scale_init_value' * report.missing[0].endswith(
            'gamma1.weight'
        )
        return f'the first that does not fit is {report.missing[0]}: got nothing{advice}'
    if report.mismatched:
        name, (got, expected) = next(iter(report.mismatched.items()))
        return f'the first that does not fit is {name}: got {got}, expected {expected}'
    return report.note


def _explain_unused(unused: list[str]) -> str:
    """Explain which part of a network in a file the backbone does not have."""
    for words, setting in OPTIONAL_PARTS:
        key = next((key for key in unused if re.search(words, key)), None)
        if key:
            return f'the backbone has no place for {key}; {setting}'
    return f'the network is deeper, the backbone has no block for {unused[0]}'
