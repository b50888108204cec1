"""Check a submission before the challenge's server rejects it."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations import HEADER, LIST_HEADER, read_frame_list
from abaw_mm.datasets.crops.crop_folder import FilenameTemplate
from abaw_mm.errors import MissingFileError, shorten, shorten_text
from abaw_mm.files import explain_damage
from abaw_mm.structures.tasks import EXPRESSIONS

LAST = len(EXPRESSIONS) - 1


def check_submission(
    path: str | os.PathLike, frames: str | os.PathLike, filename_tmpl: str = '{:05d}.jpg'
) -> list[str]:
    """Compare a submission with the challenge's list of frames.

    Args:
        path (str): The submission: a file with one row per frame, or a folder with one file per
            clip.
        frames (str): The list of frames.
        filename_tmpl (str): File name of a frame in the list.

    Returns:
        list[str]: One sentence per problem. Empty for a valid submission.

    Raises:
        FileNotFoundError: If the submission or the list does not exist.
        ValueError: If the list of frames is not valid.
    """
    for file in (path, frames):
        if not os.path.exists(file):
            raise MissingFileError(
                f'{file}: no such file, expected a submission and the list of frames that it '
                'answers; correct the path'
            )
    table = read_frame_list(frames, filename_tmpl, other_tmpl=filename_tmpl)
    if os.path.isdir(path):
        counts = table.count_by_clip().tolist()
        return check_folder(Path(path), dict(zip(table.clips, counts, strict=True)))
    name = FilenameTemplate(filename_tmpl).name
    wanted = [
        f'{table.clips[clip]}/{name(number)}'
        for clip, number in zip(table.clip_id.tolist(), table.frame_no.tolist(), strict=True)
    ]
    return check_list(Path(path), wanted)


def check_list(path: Path, wanted: Sequence[str]) -> list[str]:
    """Check a single file with one row per frame.

    Args:
        path (Path): The file.
        wanted (Sequence[str]): Names of the frames, ``<clip>/00001.jpg``, in the list's order, each
            once.

    Returns:
        list[str]: One sentence per problem.
    """
    problems, lines = _read_lines(path, LIST_HEADER)
    place = {name: row for row, name in enumerate(wanted)}
    labels, malformed, extra = [], [], []
    found: dict[str, int] = {}  # frame to the first line that names it
    repeated: dict[str, int] = {}  # frame to the last other line that names it
    for number, line in lines:
        name, comma, label = line.rpartition(',')
        if not comma:
            malformed.append((number, line))
            continue
        labels.append((number, label))
        if name not in place:
            extra.append((number, name))
        elif name in found:
            repeated[name] = number
        else:
            found[name] = number
    if malformed:
        problems.append(_describe_lines(malformed, 'without a comma', f'{wanted[0]},<class>'))
    problems += _check_labels(labels)
    missing = [name for name in wanted if name not in found]
    if missing:
        clips = list(dict.fromkeys(name.rpartition('/')[0] for name in missing))
        problems.append(
            f'{len(missing)} of {len(wanted)} frames are missing, in {len(clips)} clips '
            f'({shorten(clips)}): {shorten(missing)}'
        )
    if extra:
        problems.append(
            _describe_lines(extra, 'for a frame that is not in the list', 'only frames of the list')
        )
    if repeated:
        lines_of = [f'{name} (lines {found[name]} and {line})' for name, line in repeated.items()]
        problems.append(f'{len(repeated)} frames are repeated: {shorten(lines_of)}')
    order = np.array([place[name] for name in found])
    back = np.flatnonzero(np.diff(order) < 0)
    if len(back):
        names = list(found)
        before, after = names[back[0]], names[back[0] + 1]
        problems.append(
            f'the rows are not in the order of the list: line {found[after]} has {after}, after '
            f'{before}'
        )
    return problems


def check_folder(folder: Path, wanted: dict[str, int]) -> list[str]:
    """Check a folder with one file per clip.

    Args:
        folder (Path): The folder.
        wanted (dict): Clip name to its number of frames.

    Returns:
        list[str]: One sentence per problem.
    """
    problems = []
    sizes = {f'{clip}.txt': size for clip, size in wanted.items()}
    present = sorted(entry.name for entry in folder.iterdir())
    missing = [name for name in sizes if name not in present]
    extra = [name for name in present if name not in sizes]
    if len(present) != len(sizes):
        problems.append(f'{len(present)} files, expected {len(sizes)}, one per clip')
    if missing:
        problems.append(f'{len(missing)} files are missing: {shorten(missing)}')
    if extra:
        problems.append(f'{len(extra)} files belong to no clip of the list: {shorten(extra)}')
    for name in present:
        if name not in sizes:
            continue
        found, lines = _read_lines(folder / name, HEADER)
        found += _check_labels(lines)
        if len(lines) != sizes[name]:
            found.append(f'{len(lines)} classes, expected {sizes[name]}, one per frame')
        problems += [f'{name}: {problem}' for problem in found]
    return problems


def _read_lines(path: Path, header: str) -> tuple[list[str], list[tuple[int, str]]]:
    """Return the problems of a file's text, and its numbered lines after the header."""
    with explain_damage(path, 'a text file', 'correct the path'):
        data = path.read_bytes()
    if not data.strip():
        return ['the file is empty'], []
    problems = []
    if data.startswith(b'\xef\xbb\xbf'):
        data = data[3:]
        problems.append('the file begins with a byte order mark, expected plain UTF-8 without one')
    try:
        text = data.decode('utf-8')
    except UnicodeDecodeError as error:
        return [*problems, f'the file is not UTF-8: {error.reason} at byte {error.start}'], []
    if '\r' in text:
        problems.append(
            f'{text.count(chr(13))} lines end as on Windows or old Macs (CR), expected LF alone'
        )
        text = text.replace('\r\n', '\n').replace('\r', '\n')
    lines = list(enumerate(text.removesuffix('\n').split('\n'), start=1))
    if lines[0][1] != header:
        problems.append(f'line 1: got the header {shorten_text(lines[0][1])}, expected {header!r}')
    # A first line that ends in a digit is not a header, not even a wrong one.
    if not re.search(r'[0-9]\s*$', lines[0][1]):
        lines = lines[1:]
    blank = [number for number, line in lines if not line.strip()]
    if blank:
        problems.append(f'{len(blank)} lines are blank: {shorten(blank)}')
    return problems, [(number, line) for number, line in lines if line.strip()]


def _check_labels(labels: Sequence[tuple[int, str]]) -> list[str]:
    """Return the problems of the classes in numbered lines."""
    odd, beyond = [], []
    for number, label in labels:
        if not re.fullmatch(r'-?[0-9]+', label):
            odd.append((number, label))
        elif len(label) > 9 or not 0 <= int(label) <= LAST:
            beyond.append((number, label))
    problems = []
    if odd:
        problems.append(_describe_lines(odd, 'whose class is not an integer', f'0..{LAST}'))
    if beyond:
        problems.append(_describe_lines(beyond, 'with a class out of range', f'0..{LAST}'))
    return problems


def _describe_lines(lines: Sequence[tuple[int, str]], what: str, expected: str) -> str:
    """Count lines with the same problem in one sentence and quote the first three."""
    count = '1 line' if len(lines) == 1 else f'{len(lines)} lines'
    first = ', '.join(f'line {number}: {shorten_text(text)}' for number, text in lines[:3])
    return f'{count} {what}, expected {expected}: {first}' + (', ...' if len(lines) > 3 else '')
