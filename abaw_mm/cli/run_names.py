"""Short names of runs."""

from collections.abc import Sequence
from pathlib import Path


def make_names(paths: Sequence[str]) -> list[str]:
    """Return the shortest ends of the paths that differ, without ``.npz``.

    >>> make_names(['runs/a/val.npz', 'runs/b/val.npz']), make_names(['lr_0.005', 'lr_0.001'])
    (['a/val', 'b/val'], ['lr_0.005', 'lr_0.001'])
    """
    # Only .npz is a suffix: without the suffix of `lr_0.005`, `lr_0` would be left.
    parts = [Path(str(Path(path).resolve()).removesuffix('.npz')).parts for path in paths]
    for length in range(1, max(map(len, parts))):
        names = ['/'.join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            break
    return names
