"""Names of clips."""

import os
import re
from collections.abc import Iterable, Sequence

from abaw_mm.errors import InvalidValueError, MissingFileError, shorten
from abaw_mm.files import read_text


def raw_video(clip: str) -> str:
    """Return the name of the raw video of a clip.

    Further persons in a video are separate clips with the suffix ``_left`` or ``_right``.

    >>> raw_video('video2_left'), raw_video('5-60-1920x1080-1'), raw_video('left_right_2')
    ('video2', '5-60-1920x1080-1', 'left_right_2')
    """
    return re.sub(r'_(left|right)$', '', clip)


def read_clip_names(clips: Sequence[str] | str | None, owner: str) -> list[str] | None:
    """Return the names of the clips to keep.

    Args:
        clips: The names, a text file with one name per line, or None for all clips.
        owner (str): Class name of the dataset, for messages.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If there is no name.
    """
    if clips is None:
        return None
    names = clips
    if isinstance(clips, str):
        if not os.path.isfile(clips):
            raise MissingFileError(
                f'{owner}: clips={clips!r}: no such file, expected a text file with one name per '
                'line; set clips to a path relative to data_root, or to a list of names'
            )
        lines = read_text(clips, 'one name of a clip per line').split('\n')
        names = [line.strip() for line in lines if line.strip()]
    if not len(names):
        raise InvalidValueError(
            f'{owner}: clips={clips!r} names no clip, expected at least one; remove clips to use '
            'all'
        )
    return list(names)


def check_known_clips(clips: Iterable[str], known: Sequence[str], source: object) -> None:
    """Check that annotations have the clips that are wanted.

    Args:
        clips (Iterable[str]): Names of the wanted clips.
        known (Sequence[str]): Names of the clips there are.
        source: Where these are from, for the message.

    Raises:
        InvalidValueError: If a clip is unknown.
    """
    unknown = sorted(set(clips) - set(known))
    if unknown:
        raise InvalidValueError(
            f'clips: got {shorten(unknown)}, not found in {source}, expected names such as '
            f'{shorten(known[:3])} (without .txt); correct the list of clips'
        )
