"""Report which tensors of a module a checkpoint provides."""

from dataclasses import dataclass, field

from abaw_mm.errors import shorten


@dataclass
class ImportReport:
    """Comparison of a module with one encoder of a checkpoint.

    Args:
        layout: Name of the layout.
        prefix: Prefix of the module's names in the flattened checkpoint.
        sources: Key in the checkpoint for each tensor of the module that matches.
        required: Number of tensors that the module needs: all but ``num_batches_tracked``.
        missing: Names of the module's tensors that the checkpoint lacks.
        mismatched: Names of tensors with another shape, each with the shapes got and expected.
        resized: Names of position embeddings that are resized, each with the shapes got and
            expected. They count as matched.
        unused: Keys of parts that the module does not have, such as blocks of a deeper network.
        dropped: Number of other tensors by name (projector, predictor, queue, ...).
        note: Remark on further encoders in the checkpoint.
        ambiguous: Whether several encoders match equally well.
    """

    layout: str
    prefix: str
    sources: dict[str, str]
    required: int
    missing: list[str]
    mismatched: dict[str, tuple[tuple[int, ...], tuple[int, ...]]]
    resized: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=dict)
    unused: list[str] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    note: str = ''
    ambiguous: bool = False

    @property
    def matched(self) -> int:
        """Number of required tensors that match."""
        return self.required - len(self.missing) - len(self.mismatched)

    @property
    def complete(self) -> bool:
        """Whether the whole module is filled from one network of the same depth."""
        return not (self.missing or self.mismatched or self.unused or self.ambiguous)

    def rows(self) -> list[tuple[str, str]]:
        """Return the two columns of the table."""
        shapes = [
            f'{name}: got {got}, expected {expected}'
            for name, (got, expected) in self.mismatched.items()
        ]
        dropped = [f'{name} {number}' for name, number in self.dropped.items()]
        rows = [
            ('layout', self.layout),
            ('prefix', repr(self.prefix)),
            ('matched', f'{self.matched} of {self.required}'),
            ('missing', _format_list(self.missing)),
            ('mismatched', _format_list(shapes)),
            ('dropped', ', '.join(dropped) or '0'),
        ]
        if self.resized:
            sizes = [f'{name}: {got} to {size}' for name, (got, size) in self.resized.items()]
            rows.append(('resized', ', '.join(sizes)))
        if self.unused:
            rows.append(('no place for', _format_list(self.unused)))
        if self.note:
            rows.append(('note', self.note))
        return rows

    def table(self) -> str:
        """Format the table as aligned plain text."""
        width = max(len(name) for name, _ in self.rows())
        return '\n'.join(f'  {name:<{width}}  {text}' for name, text in self.rows())


def _format_list(names: list[str]) -> str:
    return f'{len(names)}: {shorten(names)}' if names else '0'
