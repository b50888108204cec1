"""List the cropped faces on disk.

A crop is found by its *source*, one small integer per frame: ``2 * root + spelling``, where *root*
is the position of its folder in a list of roots, and *spelling* is 0 if the file is named by
``filename_tmpl`` and 1 if it has the other suffix (``.png`` for ``.jpg``, or the other way round).
:func:`list_crops` returns it, :func:`crop_path` turns it into a path.
"""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from abaw_mm.errors import InvalidValueError, shorten_text
from abaw_mm.structures import MAX_INT, FrameTable, check_clip_names

OTHER_SUFFIX = {'.jpg': '.png', '.png': '.jpg'}
SPELLINGS = 2  # of a frame's file name in one root
# Ends of image files, which Pillow reads.
NUMBERED_IMAGE = re.compile(r'(.*?)(\d{1,9})(\.(?:jpe?g|png|bmp|webp))', re.IGNORECASE)
LISTING_THREADS = 16  # listing waits for the disk or the network, not for the processor


class FilenameTemplate:
    """Convert between frame numbers and file names.

    Args:
        template (str): File name with one integer field, such as ``'{:05d}.jpg'``.

    Raises:
        ValueError: If the template has no integer field, or several.

    Example:
        >>> template = FilenameTemplate('{:05d}.jpg')
        >>> template.name(12), template.number('00012.jpg'), template.number('12.jpg')
        ('00012.jpg', 12, -1)
    """

    def __init__(self, template: str) -> None:
        match = re.fullmatch(r'([^{}]*)\{(?::(?:0(\d+))?d?)?\}([^{}]*)', template)
        if not match:
            raise InvalidValueError(
                f'filename_tmpl={template!r}: expected one integer field between fixed text, such '
                "as '{:05d}.jpg'; set filename_tmpl of the dataset"
            )
        self.template = template
        self._prefix, width, self._suffix = match.groups()
        self._width = int(width or 1)

    def name(self, number: int) -> str:
        """Return the file name of a frame."""
        return self.template.format(number)

    def number(self, name: str) -> int:
        """Return the frame number of a file name, or -1 if the template never gives that name.

        Raises:
            ValueError: If the number is beyond 2147483647, which int32 cannot hold.
        """
        if not (name.startswith(self._prefix) and name.endswith(self._suffix)):
            return -1
        digits = name[len(self._prefix) : len(name) - len(self._suffix)]
        if not digits.isdecimal() or not digits.isascii() or len(digits) < self._width:
            return -1
        if len(digits) > self._width and digits[0] == '0':
            return -1
        if len(digits.lstrip('0')) > 10 or int(digits) > MAX_INT:
            raise InvalidValueError(
                f'got the frame number {shorten_text(digits)}, expected at most {MAX_INT}; '
                'rename the file, or set filename_tmpl if the digits are not a frame number'
            )
        return int(digits)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return :meth:`number` of many names, (F, ) int32.

        Names of one length, as in nearly all folders, are parsed 10 times faster.
        """
        before, after = len(self._prefix), len(self._prefix) + self._width
        length = after + len(self._suffix)
        is_ascii = (self._prefix + self._suffix).isascii()
        if set(map(len, names)) != {length} or self._width > 9 or not is_ascii:  # 9: int32
            return np.array([self.number(name) for name in names], np.int32)
        chars = np.frombuffer(''.join(names).encode('ascii', 'replace'), np.uint8)
        chars = chars.reshape(len(names), length)
        digits = chars[:, before:after].astype(np.int32) - ord('0')
        matches = np.all((digits >= 0) & (digits <= 9), axis=1)
        for text, part in ((self._prefix, chars[:, :before]), (self._suffix, chars[:, after:])):
            matches &= np.all(part == np.frombuffer(text.encode(), np.uint8), axis=1)
        number = digits @ (10 ** np.arange(self._width - 1, -1, -1))
        return np.where(matches, number, -1).astype(np.int32)


def guess_template(names: Iterable[str]) -> str | None:
    """Guess the template of a clip's files, None if they do not share one.

    >>> guess_template(['00001.JPG', '00002.JPG']), guess_template(['1.jpg', '10.jpg'])
    ('{:05d}.JPG', '{:d}.jpg')
    >>> guess_template(['frame_001.jpg', 'notes.txt']), guess_template(['a1.jpg', 'b1.jpg'])
    ('frame_{:03d}.jpg', None)
    """
    hits = [hit for hit in map(NUMBERED_IMAGE.fullmatch, names) if hit]
    if len({(hit[1], hit[3]) for hit in hits}) != 1 or '{' in hits[0][1] or '}' in hits[0][1]:
        return None
    width = max((len(hit[2]) for hit in hits if hit[2].startswith('0')), default=1)
    template = f'{hits[0][1]}{{:{"" if width == 1 else f"0{width}"}d}}{hits[0][3]}'
    numbers = FilenameTemplate(template).numbers([hit[0] for hit in hits])
    return template if np.all(numbers >= 0) else None


class CropFolder:
    """A root of crops, ``<root>/<clip>/00001.jpg``.

    A folder may hold ``.png`` where the template says ``.jpg``, or the other way round, or both.
    If a frame has both, the file named by the template is used.

    Args:
        root (str): The folder.
        filename_tmpl (str): File name of a frame. Defaults to ``'{:05d}.jpg'``.
    """

    def __init__(self, root: str | os.PathLike, filename_tmpl: str = '{:05d}.jpg') -> None:
        self.root = os.fspath(root)
        stem, suffix = os.path.splitext(filename_tmpl)
        other = [stem + OTHER_SUFFIX[suffix]] if suffix in OTHER_SUFFIX else []
        self.templates = [FilenameTemplate(template) for template in [filename_tmpl, *other]]

    def clips(self) -> list[str]:
        """Return the names of the clips that have a folder here, sorted.

        Raises:
            ValueError: If one is not a valid name, see :func:`check_clip_names`.
        """
        with os.scandir(self.root) as entries:
            # Archives made on macOS or Windows contain hidden folders.
            clips = [e.name for e in entries if e.is_dir() and not e.name.startswith('.')]
        check_clip_names(clips, self.root)
        return sorted(clips)

    def names(self, clip: str) -> list[str]:
        """Return the names of a clip's files, in any order; an empty list without a folder."""
        try:
            return os.listdir(os.path.join(self.root, clip))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def frames(self, clip: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the crops of a clip; none if the clip has no folder.

        Returns:
            tuple: Frame numbers (F, ) int32, increasing, and the spelling of each (F, ) int8.
        """
        names = self.names(clip)
        try:
            parts = [template.numbers(names) for template in self.templates]
        except InvalidValueError as error:
            raise InvalidValueError(f'{os.path.join(self.root, clip)}: {error}') from error
        parts = [numbers[numbers >= 0] for numbers in parts]
        spellings = np.repeat(np.arange(len(parts), dtype=np.int8), [len(part) for part in parts])
        numbers, first = np.unique(np.concatenate(parts), return_index=True)
        return numbers, spellings[first]

    def find_other_names(self, clip: str) -> tuple[str, str] | None:
        """Return a file of a clip and the template that fits, if none of its files is a crop."""
        names = self.names(clip)
        template = None if len(self.frames(clip)[0]) else guess_template(names)
        if template is None:
            return None
        number = FilenameTemplate(template).number
        return min(name for name in names if number(name) >= 0), template

    def stamp(self, clip: str) -> tuple[int, ...]:
        """Return the times in ns at which a clip's folder changed, 0 without a folder.

        Adding or removing a file changes them, rewriting a file does not. ``rsync`` and ``cp -p``
        restore the first one (mtime), but not the second (ctime).
        """
        try:
            stat = os.stat(os.path.join(self.root, clip))
        except (FileNotFoundError, NotADirectoryError):
            return 0, 0
        return stat.st_mtime_ns, stat.st_ctime_ns

    def path(self, clip: str, frame_no: int, spelling: int = 0) -> str:
        """Return the path of a crop."""
        return os.path.join(self.root, clip, self.templates[spelling].name(frame_no))


def list_crops(roots: Sequence[CropFolder], clips: Iterable[str]) -> FrameTable:
    """List the crops of clips, many folders at once.

    Args:
        roots (Sequence[CropFolder]): Where to look. If two roots hold the same frame, as when a
            later archive was not merged, the first root is used.
        clips (Iterable[str]): Names of the clips to look for. Clips without a folder have no rows.

    Returns:
        FrameTable: Sorted, with the column ``source`` (int8) for :func:`crop_path`.
    """

    def list_clip(clip: str) -> tuple[np.ndarray, np.ndarray]:
        numbers, sources = [np.empty(0, np.int32)], [np.empty(0, np.int8)]
        for at, root in enumerate(roots):
            found, spelling = root.frames(clip)
            numbers.append(found)
            sources.append((SPELLINGS * at + spelling).astype(np.int8))
        unique, first = np.unique(np.concatenate(numbers), return_index=True)  # the first root
        return unique, np.concatenate(sources)[first]

    found = _map_clips(list_clip, list(clips))
    return FrameTable.from_clips(
        {clip: numbers for clip, (numbers, _) in found.items()},
        source={clip: sources for clip, (_, sources) in found.items()},
    )


def stamp_crops(roots: Sequence[CropFolder], clips: Iterable[str]) -> list[list[tuple[int, ...]]]:
    """Return :meth:`CropFolder.stamp` of each clip in each root."""
    clips = list(clips)
    return [list(_map_clips(root.stamp, clips).values()) for root in roots]


def _map_clips(function: Callable[[str], Any], clips: list[str]) -> dict[str, Any]:
    """Call a function for each clip, many at once; returns clip name to result."""
    with ThreadPoolExecutor(LISTING_THREADS) as pool:
        return dict(zip(clips, pool.map(function, clips), strict=True))


def explain_names(roots: Sequence[CropFolder], clips: Iterable[str]) -> str:
    """Say how the files of the first clip without crops are named; empty if it has no images."""
    for clip in clips:
        for root in roots:
            found = root.find_other_names(clip)
            if found:
                name, template = found
                return (
                    f'{os.path.join(root.root, clip)}: got files such as {name}, expected '
                    f'{root.templates[0].name(1)}; set filename_tmpl={template!r}'
                )
    return ''


def crop_path(roots: Sequence[CropFolder], clip: str, frame_no: int, source: int) -> str:
    """Return the path of a crop that :func:`list_crops` found at ``source``."""
    return roots[source // SPELLINGS].path(clip, frame_no, source % SPELLINGS)
