"""What a challenge's server would reject, in words, before it does."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations import (
    EXPRESSIONS,
    HEADER,
    LIST_HEADER,
    read_frame_list,
)
from abaw_mm.datasets.crops.crop_folder import FilenameTemplate
from abaw_mm.errors import shorten

LAST = len(EXPRESSIONS) - 1


def check_submission(
    path: str | os.PathLike, frames: str | os.PathLike, filename_tmpl: str = '{:05d}.jpg'
) -> list[str]:
    """Compare a submission with the challenge's list of frames.

    Args:
        path: The submission: a file (a row a frame), or a folder (a file a clip).
        frames: The list of frames.
        filename_tmpl: File name of a frame in the list.

    Returns:
        list[str]: What is wrong, a sentence each; empty for a submission that is in order.

    Raises:
        FileNotFoundError: If one of the two is not there.
        ValueError: For a list of frames that is none.
    """
    for what in (path, frames):
        if not os.path.exists(what):
            raise FileNotFoundError(
                f'{what}: no such file, expected a submission and the list of frames that it '
                'answers; correct the path'
            )
    listed = read_frame_list(frames, filename_tmpl)
    clips, clip_id, frame_no = listed.clips, listed.clip_id, listed.frame_no
    if os.path.isdir(path):
        counts = np.bincount(clip_id, minlength=len(clips)).tolist()
        return check_folder(Path(path), dict(zip(clips, counts, strict=True)))
    name = FilenameTemplate(filename_tmpl).name
    asked = [
        f'{clips[clip]}/{name(number)}'
        for clip, number in zip(clip_id.tolist(), frame_no.tolist(), strict=True)
    ]
    return check_list(Path(path), asked)


def check_list(path: Path, asked: Sequence[str]) -> list[str]:
    """Check one file with a row a frame.

    Args:
        path: The file.
        asked: Names of the frames, ``<clip>/00001.jpg``, in the list's order, each once.
    """
    problems, lines = _read_lines(path, LIST_HEADER)
    place = {name: row for row, name in enumerate(asked)}
    labels, malformed, extra = [], [], []
    found: dict[str, int] = {}  # frame to the first line that names it
    again: dict[str, int] = {}  # to the next
    for number, line in lines:
        name, comma, label = line.rpartition(',')
        if not comma:
            malformed.append((number, line))
            continue
        labels.append((number, label))
        if name not in place:
            extra.append((number, name))
        elif name in found:
            again[name] = number
        else:
            found[name] = number
    if malformed:
        problems.append(_told(malformed, 'without a comma', f'{asked[0]},<class>'))
    problems += _check_labels(labels)
    missing = [name for name in asked if name not in found]
    if missing:
        clips = list(dict.fromkeys(name.rpartition('/')[0] for name in missing))
        problems.append(
            f'{len(missing)} of {len(asked)} frames are missing, of {len(clips)} clips '
            f'({shorten(clips)}): {shorten(missing)}'
        )
    if extra:
        problems.append(_told(extra, 'for a frame that is not asked for', 'only those of the list'))
    if again:
        twice = [f'{name} (lines {found[name]} and {line})' for name, line in again.items()]
        problems.append(f'{len(again)} frames come twice: {shorten(twice)}')
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


def check_folder(folder: Path, asked: dict[str, int]) -> list[str]:
    """Check a folder with a file a clip.

    Args:
        folder: The folder.
        asked: Clip to its number of frames.
    """
    problems = []
    wanted = {f'{clip}.txt': number for clip, number in asked.items()}
    there = sorted(entry.name for entry in folder.iterdir())
    missing = [name for name in wanted if name not in there]
    extra = [name for name in there if name not in wanted]
    if len(there) != len(wanted):
        problems.append(f'{len(there)} files, expected {len(wanted)}, one a clip')
    if missing:
        problems.append(f'{len(missing)} files are missing: {shorten(missing)}')
    if extra:
        problems.append(f'{len(extra)} files are of no clip of the list: {shorten(extra)}')
    for name in there:
        if name not in wanted:
            continue
        found, lines = _read_lines(folder / name, HEADER)
        found += _check_labels(lines)
        if len(lines) != wanted[name]:
            found.append(f'{len(lines)} classes, expected {wanted[name]}, one a frame')
        problems += [f'{name}: {problem}' for problem in found]
    return problems


def _read_lines(path: Path, header: str) -> tuple[list[str], list[tuple[int, str]]]:
    """What is wrong with a file's text, and its lines after the header with their numbers."""
    data = path.read_bytes()
    if not data.strip():
        return ['the file is empty'], []
    problems = []
    if data.startswith(b'\xef\xbb\xbf'):
        data = data[3:]
        problems.append('the file begins with a byte order mark, expected none (plain UTF-8)')
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
        problems.append(f'line 1: got the header {lines[0][1]!r}, expected {header!r}')
    if not re.search(r'[0-9]\s*$', lines[0][1]):
        lines = lines[1:]  # a header, right or wrong; otherwise there is none, and this is a row
    blank = [number for number, line in lines if not line.strip()]
    if blank:
        problems.append(f'{len(blank)} lines are blank: {shorten(blank)}')
    return problems, [(number, line) for number, line in lines if line.strip()]


def _check_labels(labels: Sequence[tuple[int, str]]) -> list[str]:
    """What is wrong with the classes of lines."""
    odd, beyond = [], []
    for number, label in labels:
        if not re.fullmatch(r'-?[0-9]+', label):
            odd.append((number, label))
        elif len(label) > 9 or not 0 <= int(label) <= LAST:
            beyond.append((number, label))
    problems = []
    if odd:
        problems.append(_told(odd, 'whose class is no plain integer', f'0..{LAST}'))
    if beyond:
        problems.append(_told(beyond, 'with a class out of range', f'0..{LAST}'))
    return problems


def _told(lines: Sequence[tuple[int, str]], what: str, expected: str) -> str:
    """One sentence about lines of one kind, with the first few."""
    count = '1 line' if len(lines) == 1 else f'{len(lines)} lines'
    first = ', '.join(f'line {number}: {text!r}' for number, text in lines[:3])
    return f'{count} {what}, expected {expected}: {first}' + (', ...' if len(lines) > 3 else '')
