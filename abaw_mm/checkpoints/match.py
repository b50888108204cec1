"""Which tensor of a checkpoint goes where in a backbone, and what is left on both sides."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from abaw_mm.checkpoints.layouts import (
    NAMINGS,
    PLAIN,
    flat_units,
    followers,
    name_layout,
    path_of,
    source_name,
    stages_of,
)
from abaw_mm.checkpoints.layouts import resnet_depth as depth_of
from abaw_mm.errors import shorten

# Of the backbone's tensors an encoder must hold so many to be one of those to choose from: a
# projector has a few of the names by chance, a query encoder with one tensor too few is still it.
MIN_HELD = 0.5
CONFIG_DEPTHS = (18, 50)  # for which there are configs


@dataclass
class ImportReport:
    """What an import found.

    Args:
        layout: Whose names they are.
        prefix: What stands before the backbone's names in the (flat) checkpoint.
        sources: Key in the checkpoint of each tensor of the backbone that fits.
        required: How many tensors the backbone needs: all but ``num_batches_tracked``.
        missing: Names of the backbone that the checkpoint lacks.
        mismatched: Names with another shape: got, expected.
        unused: Keys of blocks for which the backbone has no place: a deeper network's.
        dropped: How many other tensors there are, by name (projector, predictor, queue, ...).
        note: On a second encoder.
        ambiguous: Whether it could not be known which encoder is meant.
    """

    layout: str
    prefix: str
    sources: dict[str, str]
    required: int
    missing: list[str]
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    unused: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    note: str = ''
    ambiguous: bool = False

    @property
    def matched(self) -> int:
        """How many of the required tensors fit."""
        return self.required - len(self.missing) - len(self.mismatched)

    @property
    def complete(self) -> bool:
        """Whether the backbone is filled wholly, from one and the same network."""
        return not (self.missing or self.mismatched or self.unused or self.ambiguous)

    def rows(self) -> list[tuple[str, str]]:
        """The table's two columns."""
        shapes = [
            f'{name}: got {got}, expected {expected}'
            for name, (got, expected) in self.mismatched.items()
        ]
        rows = [
            ('layout', self.layout),
            ('prefix', repr(self.prefix)),
            ('matched', f'{self.matched} of {self.required}'),
            ('missing', _count(self.missing)),
            ('mismatched', _count(shapes)),
            (
                'dropped',
                ', '.join(f'{name} {number}' for name, number in self.dropped.items()) or '0',
            ),
        ]
        if self.unused:
            rows.append(('no place for', _count(self.unused)))
        if self.note:
            rows.append(('note', self.note))
        return rows

    def table(self) -> str:
        """The table as aligned plain text."""
        width = max(len(name) for name, _ in self.rows())
        return '\n'.join(f'  {name:<{width}}  {text}' for name, text in self.rows())


def _count(names: list[str]) -> str:
    return f'{len(names)}: {shorten(names)}' if names else '0'


def flatten(checkpoint: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint by their whole path, but those of an optimizer.

    >>> list(flatten(dict(state_dict={'a.w': torch.ones(1)}, epoch=3)))
    ['state_dict.a.w']
    """
    tensors, todo, seen = {}, [('', checkpoint)], set()
    while todo:
        path, node = todo.pop()
        if id(node) in seen:  # a pickle may hold a dict that holds itself
            continue
        seen.add(id(node))
        nests = []
        for key, value in node.items():
            if not isinstance(key, str) or (not path and key.startswith('optim')):
                continue
            if isinstance(value, torch.Tensor):
                tensors[path + key] = value
            elif isinstance(value, Mapping):
                nests.append((f'{path}{key}.', value))
        todo += reversed(nests)
    return tensors


def find_encoders(
    wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor]
) -> list[tuple[str, tuple, int]]:
    """Every prefix under which a checkpoint has names of the backbone.

    Args:
        wanted: State dict of the backbone.
        found: The flat checkpoint.

    Returns:
        list: Prefix, naming, and how many of the names are there; the documented encoder first.
    """
    held = Counter()
    for naming in dict.fromkeys((*NAMINGS, flat_units(wanted))):
        names = {source_name(name, naming) for name in wanted}
        if naming != PLAIN and names == set(wanted):
            continue
        for key in found:
            start = 0
            while start >= 0:  # at each dot
                if key[start:] in names:
                    held[key[:start], naming] += 1
                start = key.find('.', start) + 1 or -1
    encoders = [(prefix, naming, number) for (prefix, naming), number in held.items()]
    return sorted(
        encoders, key=lambda e: (followers(e[0]), -e[2], len(path_of(e[0]).split('.')), len(e[0]))
    )


def compare(
    wanted: Mapping[str, torch.Tensor],
    found: Mapping[str, torch.Tensor],
    layout: str = 'names as they are',
    prefix: str = '',
    naming: tuple = PLAIN,
) -> ImportReport:
    """Hold the tensors of a module against those under one prefix of a checkpoint.

    Args:
        wanted: State dict of the module.
        found: The flat checkpoint.
        layout: Whose names they are, for the table.
        prefix: What stands before the module's names.
        naming: How the module's names are called there.
    """
    sources, missing, mismatched, required = {}, [], {}, 0
    for name, tensor in wanted.items():
        # A counter of BatchNorm that old files lack and that nothing needs.
        optional = name.endswith('num_batches_tracked')
        required += not optional
        key = prefix + source_name(name, naming)
        if key in found and found[key].shape == tensor.shape:
            sources[name] = key
        elif optional:
            continue
        elif key in found:
            mismatched[name] = tuple(found[key].shape), tuple(tensor.shape)
        else:
            missing.append(name)

    taken = {prefix + source_name(name, naming) for name in wanted}
    stages = stages_of(wanted, naming)
    unused, dropped, path = [], Counter(), path_of(prefix).split('.')
    for key in found:
        if key in taken:
            continue
        if key.startswith(prefix) and key[len(prefix) :].startswith(stages):
            if not key.endswith('num_batches_tracked'):
                unused.append(key)
            continue
        words = path_of(key).split('.')
        # As far as the first word that is not the encoder's: `encoder_q.fc`, `queue`.
        differs = next((i for i, w in enumerate(words) if path[i : i + 1] != [w]), len(words) - 1)
        dropped['.'.join(words[: differs + 1])] += 1
    return ImportReport(
        layout, prefix, sources, required, missing, mismatched, unused, dict(dropped)
    )


def match(
    wanted: Mapping[str, torch.Tensor], found: Mapping[str, torch.Tensor], prefix: str | None = None
) -> ImportReport:
    """Find a backbone in a checkpoint, by the names of its tensors.

    Args:
        wanted: State dict of the backbone.
        found: The flat checkpoint (:func:`flatten`).
        prefix: Takes this encoder, such as ``'encoder_k'``. None: the documented one.
    """
    every = find_encoders(wanted, found)
    large = [encoder for encoder in every if encoder[2] >= MIN_HELD * len(wanted)]
    if prefix is None:
        encoders = large or sorted(every, key=lambda encoder: -encoder[2])
    else:
        end = prefix.strip('.')
        encoders = [
            encoder
            for encoder in every
            if (f'.{encoder[0]}'.endswith(f'.{end}.') if end else not path_of(encoder[0]))
        ]
    if not encoders:
        report = compare(wanted, found, 'none of the names', prefix or '')
        report.note = 'there is ' + ', '.join(repr(e[0]) for e in large) if large else ''
        return report

    first_words = {path_of(key).split('.')[0] for key in found}
    reports = [
        compare(wanted, found, name_layout(start, naming, first_words), start, naming)
        for start, naming, _ in encoders
    ]
    role = followers(reports[0].prefix)
    report = min(  # of those of one role, one that fits best
        (report for report in reports if followers(report.prefix) == role),
        key=lambda report: report.required - report.matched,
    )
    if prefix is None and large:
        _note_others(report, [other for other in reports if other is not report], found)
    return report


def _note_others(
    report: ImportReport, others: list[ImportReport], found: Mapping[str, torch.Tensor]
) -> None:
    """Say which other encoders there are, and whether they leave any doubt."""
    texts = []
    for other in others:
        same = report.sources.keys() == other.sources.keys() and all(
            torch.equal(found[key], found[other.sources[name]])
            for name, key in report.sources.items()
        )
        if same:
            texts.append(f'{other.prefix!r} holds the same values')
            continue
        if (
            report.complete
            and other.complete
            and (followers(report.prefix) == followers(other.prefix))
        ):
            report.ambiguous = True
        texts.append(f'{other.prefix!r} is not taken ({other.matched} of {other.required} fit)')
    if report.ambiguous:
        report.note = (
            f'which encoder is meant? {report.prefix!r} or '
            + ', '.join(texts)
            + '; choose with prefix=...'
        )
    elif texts:
        report.note = (
            f'{len(texts) + 1} encoders, {report.prefix!r} is the documented one; '
            + ', '.join(texts)
            + '; prefix=... takes another'
        )


def tell_depths(wanted: Iterable[str], found: Iterable[str]) -> str:
    """A sentence if a checkpoint is of a ResNet of another depth than the one that is built.

    Args:
        wanted: Names of the tensors that are built.
        found: Those of the checkpoint, of one network.
    """
    got, expected = depth_of(found), depth_of(wanted)
    if None in (got, expected) or got == expected:
        return ''
    return (
        f'the file holds a ResNet-{got}, the config builds a ResNet-{expected}; use '
        + (f'configs/res{got}_...' if got in CONFIG_DEPTHS else f'model.backbone.depth={got}')
        + f', or weights of a ResNet-{expected}'
    )


def ask_complete(report: ImportReport, what: str, found: Mapping, allow_partial: bool) -> None:
    """Raise ValueError unless a backbone was found whole, or in part where that is allowed.

    Args:
        report: Of the import.
        what: Where from and where to, ``'SSLPretrained: ssl.pth -> ResNet'``.
        found: The flat checkpoint.
        allow_partial: Whether a part is enough; nothing at all never is.
    """
    if report.complete or (allow_partial and report.matched and not report.ambiguous):
        return
    depths = tell_depths(
        {*report.sources, *report.missing, *report.mismatched},
        [key.removeprefix(report.prefix) for key in found if key.startswith(report.prefix)],
    )
    if depths:
        wrong = depths
    elif report.missing:
        wrong = f'the first that does not fit is {report.missing[0]}: got nothing'
    elif report.mismatched:
        name, (got, expected) = next(iter(report.mismatched.items()))
        wrong = f'the first that does not fit is {name}: got {got}, expected {expected}'
    elif report.unused:
        wrong = f'the network is deeper, the backbone has no block for {report.unused[0]}'
    else:
        wrong = report.note
    raise ValueError(
        f'{what}: the file holds {report.matched} of the {report.required} tensors of the '
        f'backbone; {wrong}. Its keys are such as '
        f'{shorten(list(found))}. Take weights of the same network, change model.backbone to '
        'theirs '
        '(e.g. depth), choose an encoder with prefix=..., or go on with a part of them by '
        'allow_partial=True of SSLPretrained (--allow-partial of the converter)\n' + report.table()
    )
