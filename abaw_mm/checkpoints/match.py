"""Match the tensors of a checkpoint to those of a backbone, by name and shape."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from abaw_mm.checkpoints.import_report import ImportReport
from abaw_mm.checkpoints.layouts import (
    NAMINGS,
    PLAIN,
    Naming,
    count_momentum_markers,
    identify_layout,
    list_stage_prefixes,
    number_units,
    strip_wrappers,
    translate_name,
)
from abaw_mm.checkpoints.resnet_depth import explain_depth_mismatch
from abaw_mm.errors import InvalidValueError, shorten

# Share of the backbone's names that an encoder must have. A projector shares a few names by chance;
# an encoder that lacks one tensor is still an encoder.
MIN_SHARE = 0.5

Tensors = Mapping[str, torch.Tensor]


class Encoder(NamedTuple):
    """A prefix under which a checkpoint has names of the backbone."""

    prefix: str
    naming: Naming
    matched: int  # number of names


def flatten_checkpoint(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Collect the tensors of a nested checkpoint, except those of an optimizer.

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
            if isinstance(value, torch.Tensor):
                tensors[path + key] = value
            elif isinstance(value, Mapping):
                children.append((f'{path}{key}.', value))
        todo += reversed(children)
    return tensors


def find_encoders(wanted: Tensors, found: Tensors) -> list[Encoder]:
    """Find every prefix under which a checkpoint has names of the backbone.

    Args:
        wanted: State dict of the backbone.
        found: The flattened checkpoint.

    Returns:
        list: The encoders, the documented one (see :mod:`.layouts`) first.
    """
    counts: Counter[tuple[str, Naming]] = Counter()
    for naming in dict.fromkeys((*NAMINGS, number_units(wanted))):
        names = {translate_name(name, naming) for name in wanted}
        if naming != PLAIN and names == set(wanted):
            continue
        for key in found:
            start = 0
            while start >= 0:  # at each dot
                if key[start:] in names:
                    counts[key[:start], naming] += 1
                start = key.find('.', start) + 1 or -1
    encoders = [Encoder(prefix, naming, count) for (prefix, naming), count in counts.items()]
    return sorted(encoders, key=_rank_encoder)


def _rank_encoder(encoder: Encoder) -> tuple[int, ...]:
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
) -> ImportReport:
    """Compare the tensors of a module with those under one prefix of a checkpoint.

    Args:
        wanted: State dict of the module.
        found: The flattened checkpoint.
        layout: Name of the layout, for the table.
        prefix: Prefix of the module's names in the checkpoint.
        naming: Naming of the module's tensors in the checkpoint.
    """
    report = ImportReport(layout, prefix, {}, 0, [], {})
    for name, tensor in wanted.items():
        # BatchNorm's counter: old files lack it, and our models do not need it.
        is_optional = name.endswith('num_batches_tracked')
        report.required += not is_optional
        key = prefix + translate_name(name, naming)
        if key in found and found[key].shape == tensor.shape:
            report.sources[name] = key
        elif is_optional:
            continue
        elif key in found:
            report.mismatched[name] = tuple(found[key].shape), tuple(tensor.shape)
        else:
            report.missing.append(name)
    _list_rest(report, wanted, found, naming)
    return report


def _list_rest(report: ImportReport, wanted: Tensors, found: Tensors, naming: Naming) -> None:
    """List the tensors of a checkpoint that the module does not have, in ``report``."""
    prefix = report.prefix
    known = {prefix + translate_name(name, naming) for name in wanted}
    stages = list_stage_prefixes(wanted, naming)
    path = strip_wrappers(prefix).split('.')
    dropped: Counter[str] = Counter()
    for key in found:
        if key in known:
            continue
        if key.startswith(prefix) and key[len(prefix) :].startswith(stages):
            if not key.endswith('num_batches_tracked'):
                report.unused.append(key)
            continue
        words = strip_wrappers(key).split('.')
        # Up to the first word that is not in the encoder's path: `encoder_q.fc`, `queue`.
        differs = next((i for i, w in enumerate(words) if path[i : i + 1] != [w]), len(words) - 1)
        dropped['.'.join(words[: differs + 1])] += 1
    report.dropped = dict(dropped)


def match_backbone(wanted: Tensors, found: Tensors, prefix: str | None = None) -> ImportReport:
    """Match a backbone to a checkpoint, by the names of its tensors.

    Args:
        wanted: State dict of the backbone.
        found: The flattened checkpoint (:func:`flatten_checkpoint`).
        prefix: End of the prefix of the encoder to use, such as ``'encoder_k'``. Defaults to the
            documented encoder.
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


def _has_prefix(encoder: Encoder, prefix: str) -> bool:
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
    if report.missing:
        return f'the first that does not fit is {report.missing[0]}: got nothing'
    if report.mismatched:
        name, (got, expected) = next(iter(report.mismatched.items()))
        return f'the first that does not fit is {name}: got {got}, expected {expected}'
    if report.unused:
        return f'the network is deeper, the backbone has no block for {report.unused[0]}'
    return report.note
