"""Which cropped faces of which clip lie on disk."""

import os
import re
from collections.abc import Iterable, Sequence

import numpy as np


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
        digits = name[len(self._prefix):len(name) - len(self._suffix)]
        if not digits.isdecimal() or not digits.isascii() or len(digits) < self._width:
            return -1
        if len(digits) > self._width and digits[0] == '0':
            return -1
        return int(digits)


def list_crops(
    roots: Sequence[str | os.PathLike], clips: Iterable[str], filename_tmpl: str = '{:05d}.jpg'
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Which crops of which clip lie on disk.

    Args:
        roots: Folders that hold ``<clip>/00001.jpg``. Where two hold the same frame, as when a
            later archive was not merged, the first one counts.
        clips: Names of the clips to look for.
        filename_tmpl: File name of a frame.

    Returns:
        dict: Clip to two arrays, the numbers of its crops (int32, rising) and the root that holds
        each (int8). A clip without a folder has empty ones.
    """
    template = FilenameTemplate(filename_tmpl)
    crops = {}
    for clip in clips:
        numbers, owners = [], []
        for root_id, root in enumerate(roots):
            try:
                names = os.listdir(os.path.join(root, clip))
            except (FileNotFoundError, NotADirectoryError):
                continue
            found = np.array([template.number(name) for name in names], dtype=np.int32)
            found = found[found >= 0]
            numbers.append(found)
            owners.append(np.full(len(found), root_id, np.int8))
        numbers = np.concatenate(numbers) if numbers else np.empty(0, np.int32)
        owners = np.concatenate(owners) if owners else np.empty(0, np.int8)
        numbers, first = np.unique(numbers, return_index=True)  # the first root comes first
        crops[clip] = numbers, owners[first]
    return crops
