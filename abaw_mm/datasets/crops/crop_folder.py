"""Which cropped faces of which clip lie on disk."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

TWINS = {'.jpg': '.png', '.png': '.jpg'}  # crops come in either; the template's own goes first
VARIANTS = 2  # spellings of a frame's name in one root: the template's and its twin's
LISTING_THREADS = 16  # listing waits for the disk or the network, not for the processor


class FilenameTemplate:
    """File names of numbered frames, both ways.

    Args:
        template (str): With one integer field, such as ``'{:05d}.jpg'``.

    Example:
        >>> template = FilenameTemplate('{:05d}.jpg')
        >>> template.name(12), template.number('00012.jpg'), template.number('12.jpg')
        ('00012.jpg', 12, -1)
    """

    def __init__(self, template: str) -> None:
        match = re.fullmatch(r'([^{}]*)\{(?::(?:0(\d+))?d?)?\}([^{}]*)', template)
        if not match:
            raise ValueError(
                f'filename_tmpl={template!r}: expected one integer field between fixed text, such '
                "as '{:05d}.jpg'; set the dataset's filename_tmpl"
            )
        self.template = template
        self._prefix, width, self._suffix = match.groups()
        self._width = int(width or 1)

    def name(self, number: int) -> str:
        """File name of a frame."""
        return self.template.format(number)

    def number(self, name: str) -> int:
        """Frame number of a file name, or -1 for a name that the template would never give."""
        if not (name.startswith(self._prefix) and name.endswith(self._suffix)):
            return -1
        digits = name[len(self._prefix) : len(name) - len(self._suffix)]
        if not digits.isdecimal() or not digits.isascii() or len(digits) < self._width:
            return -1
        if len(digits) > self._width and digits[0] == '0':
            return -1
        return int(digits)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """:meth:`number` of many names, (F, ) int32.

        Names of one usual length, which nearly all folders have, are read 10 times faster.
        """
        before, after = len(self._prefix), len(self._prefix) + self._width
        length = after + len(self._suffix)
        if not names or set(map(len, names)) != {length}:
            return np.array([self.number(name) for name in names], np.int32)
        chars = np.frombuffer(''.join(names).encode('ascii', 'replace'), np.uint8)
        chars = chars.reshape(len(names), length)
        digits = chars[:, before:after].astype(np.int32) - ord('0')
        known = np.all((digits >= 0) & (digits <= 9), axis=1)
        for text, part in ((self._prefix, chars[:, :before]), (self._suffix, chars[:, after:])):
            known &= np.all(part == np.frombuffer(text.encode(), np.uint8), axis=1)
        number = digits @ (10 ** np.arange(self._width - 1, -1, -1))
        return np.where(known, number, -1).astype(np.int32)


class CropFolder:
    """A root of crops, ``<root>/<clip>/00001.jpg``.

    A folder may hold ``.png`` where the template says ``.jpg``, or the other way round, and both;
    where a frame has both, the template's own counts.

    Args:
        root (str): The folder.
        filename_tmpl (str): File name of a frame. Defaults to ``'{:05d}.jpg'``.
    """

    def __init__(self, root: str | os.PathLike, filename_tmpl: str = '{:05d}.jpg') -> None:
        self.root = os.fspath(root)
        stem, suffix = os.path.splitext(filename_tmpl)
        twin = [stem + TWINS[suffix]] if suffix in TWINS else []
        self.templates = [FilenameTemplate(tmpl) for tmpl in [filename_tmpl, *twin]]

    def clips(self) -> list[str]:
        """Names of the clips that have a folder here, sorted."""
        with os.scandir(self.root) as entries:
            # Archives made on macOS or Windows bring hidden folders along; they are no clips.
            return sorted(e.name for e in entries if e.is_dir() and not e.name.startswith('.'))

    def names(self, clip: str) -> list[str]:
        """Names of a clip's files, in any order; none for a clip without a folder."""
        try:
            return os.listdir(os.path.join(self.root, clip))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def frames(self, clip: str) -> tuple[np.ndarray, np.ndarray]:
        """Crops of a clip: their numbers (F, ) int32, rising, and the variant of each (F, ) int8.

        A clip without a folder has none.
        """
        names = self.names(clip)
        parts = [template.numbers(names) for template in self.templates]
        parts = [numbers[numbers >= 0] for numbers in parts]
        variants = np.repeat(np.arange(len(parts), dtype=np.int8), [len(part) for part in parts])
        numbers, first = np.unique(np.concatenate(parts), return_index=True)
        return numbers, variants[first]

    def stamp(self, clip: str) -> tuple[int, int]:
        """What tells whether a clip's crops changed: its folder's times in ns, 0 without one.

        A file that is added or removed moves them, one that is written anew does not. Of the two,
        ``rsync`` and ``cp -p`` put back the first, nobody can the second.
        """
        try:
            stat = os.stat(os.path.join(self.root, clip))
        except (FileNotFoundError, NotADirectoryError):
            return 0, 0
        return stat.st_mtime_ns, stat.st_ctime_ns

    def path(self, clip: str, frame_no: int, variant: int = 0) -> str:
        """Where a crop lies."""
        return os.path.join(self.root, clip, self.templates[variant].name(frame_no))


def list_crops(
    roots: Sequence[CropFolder], clips: Iterable[str]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which crops of which clip there are: one folder listing a clip, many clips at once.

    Args:
        roots: Where crops lie. Where two hold the same frame, as when a later archive was not
            merged, the first one counts.
        clips: Names of the clips to look for.

    Returns:
        dict: Clip to two arrays, the numbers of its crops (F, ) int32, rising, and where each lies,
        (F, ) int8, for :func:`crop_path`. A clip without a folder has empty ones.
    """

    def list_clip(clip: str) -> tuple[np.ndarray, np.ndarray]:
        numbers, owners = [], []
        for at, root in enumerate(roots):
            found, variant = root.frames(clip)
            numbers.append(found)
            owners.append((VARIANTS * at + variant).astype(np.int8))
        numbers, first = np.unique(np.concatenate(numbers), return_index=True)  # the first root
        return numbers, np.concatenate(owners)[first]

    clips = list(clips)
    return dict(zip(clips, _side_by_side(list_clip, clips), strict=True))


def stamp_crops(roots: Sequence[CropFolder], clips: Iterable[str]) -> list[list[tuple[int, ...]]]:
    """:meth:`CropFolder.stamp` of each clip in each root."""
    clips = list(clips)
    return [_side_by_side(root.stamp, clips) for root in roots]


def _side_by_side(function: Callable[[str], Any], clips: list[str]) -> list:
    """Results of a function for each clip, many at once."""
    with ThreadPoolExecutor(LISTING_THREADS) as pool:
        return list(pool.map(function, clips))


def crop_path(roots: Sequence[CropFolder], clip: str, frame_no: int, owner: int) -> str:
    """Path of a crop that :func:`list_crops` found at ``owner``."""
    return roots[owner // VARIANTS].path(clip, frame_no, owner % VARIANTS)
