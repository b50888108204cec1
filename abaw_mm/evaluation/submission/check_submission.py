"""Check a submission before the challenge's server rejects it."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from abaw_mm.datasets.annotations import HEADERS, LIST_HEADERS, read_frame_list
from abaw_mm.datasets.annotations.headers import find_track, normalise_header
from abaw_mm.datasets.crops.crop_folder import FilenameTemplate
from abaw_mm.errors import InvalidValueError, MissingFileError, shorten, shorten_text
from abaw_mm.evaluation.submission.row_values import check_values, count_values, describe_lines
from abaw_mm.files import explain_damage, read_text


def check_submission(
    path: str | os.PathLike,
    frames: str | os.PathLike,
    filename_tmpl: str = '{:05d}.jpg',
    task: str | None = None,
) -> list[str]:
    """Compare a submission with the challenge's list of frames.

    Args:
        path (str): The submission: a file with one row per frame, or a folder with one file per
            clip.
        frames (str): The list of frames.
        filename_tmpl (str): File name of a frame in the list.
        task (str, optional): Track. Defaults to that of the header of the list.

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
    task = find_list_task(frames, task)
    table = read_frame_list(frames, filename_tmpl, other_tmpl=filename_tmpl, task=task)
    if os.path.isdir(path):
        if task not in HEADERS:
            raise InvalidValueError(
                f'{path}: got a folder for the track {task!r}, expected one file with all rows'
            )
        counts = table.count_by_clip().tolist()
        return check_folder(Path(path), dict(zip(table.clips, counts, strict=True)), task)
    name = FilenameTemplate(filename_tmpl).name
    wanted = [
        f'{table.clips[clip]}/{name(number)}'
        for clip, number in zip(table.clip_id.tolist(), table.frame_no.tolist(), strict=True)
    ]
    return check_list(Path(path), wanted, task)


def find_list_task(frames: str | os.PathLike, task: str | None = None) -> str:
    """Return the track of a list, by default that of its header, or expressions if unknown."""
    if task:
        return task
    header, _, _ = read_text(frames, "the challenge's list of frames").partition('\n')
    return find_track(normalise_header(header)) or 'expr'


def check_list(path: Path, wanted: Sequence[str], task: str = 'expr') -> list[str]:
    """Check a single file with one row per frame.

    Args:
        path (Path): The file.
        wanted (Sequence[str]): Names of the frames, ``<clip>/00001.jpg``, in the list's order.
            Names may be repeated.
        task (str): Track. Defaults to ``'expr'``.

    Returns:
        list[str]: One sentence per problem.
    """
    problems, lines = _read_lines(path, LIST_HEADERS[task])
    place: dict[str, int] = {}  # copies of a frame, which the multi-task list has, are numbered
    copies: dict[str, int] = {}
    for row, name in enumerate(wanted):
        place[_name_copy(name, place, copies)] = row
    values, malformed, extra = [], [], []
    copies = {}
    size = count_values(task)
    commas = size + (task == 'mtl')  # its rows end in a comma
    found: dict[str, int] = {}  # frame to the first line that names it
    repeated: dict[str, int] = {}  # frame to the last other line that names it
    for number, line in lines:
        name, *fields = line.rsplit(',', commas)
        if len(fields) != commas or any(fields[size:]):
            malformed.append((number, line))
            continue
        values.append((number, fields[:size]))
        if name not in place:
            extra.append((number, name))
            continue
        copy = _name_copy(name, found, copies)
        if copy in place:
            found[copy] = number
        else:
            repeated[name] = number
    if malformed:
        problems.append(_describe_malformed(malformed, wanted[0], task))
    problems += check_values(values, task)
    missing = [name for name in place if name not in found]
    if missing:
        clips = list(dict.fromkeys(name.rpartition('/')[0] for name in missing))
        problems.append(
            f'{len(missing)} of {len(wanted)} frames are missing, in {len(clips)} clips '
            f'({shorten(clips)}): {shorten(missing)}'
        )
    if extra:
        problems.append(
            describe_lines(extra, 'for a frame that is not in the list', 'only frames of the list')
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


def _name_copy(name: str, known: Mapping[str, int], copies: dict[str, int]) -> str:
    """Return the name of a frame, with a number if it is a copy of a known one."""
    if name not in known:
        return name
    copies[name] = copies.get(name, 1) + 1
    return f'{name} (row {copies[name]})'


def _describe_malformed(lines: Sequence[tuple[int, str]], name: str, task: str) -> str:
    if task == 'expr':
        return describe_lines(lines, 'without a comma', f'{name},<class>')
    end = ' and a comma at the end' if task == 'mtl' else ''
    what = 'with another number of values'
    return describe_lines(lines, what, f'{name} and {count_values(task)} values{end}')


def check_folder(folder: Path, wanted: dict[str, int], task: str = 'expr') -> list[str]:
    """Check a folder with one file per clip.

    Args:
        folder (Path): The folder.
        wanted (dict): Clip name to its number of frames.
        task (str): Track. Defaults to ``'expr'``.

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
        found, lines = _read_lines(folder / name, HEADERS[task][0])
        rows = [(number, line.split(',')) for number, line in lines]
        size = count_values(task)
        odd = [(n, ','.join(values)) for n, values in rows if len(values) != size and size > 1]
        if odd:
            found.append(describe_lines(odd, 'with another number of values', f'{size} values'))
        rows = [(n, values) for n, values in rows if len(values) == size or size == 1]
        found += check_values([(n, [','.join(v)] if size == 1 else v) for n, v in rows], task)
        if len(lines) != sizes[name]:
            what = 'classes' if task == 'expr' else 'lines of values'
            found.append(f'{len(lines)} {what}, expected {sizes[name]}, one per frame')
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
    # A first line that ends in a number is not a header, not even a wrong one; 'AU26' is a name.
    if not re.search(r'(?<![A-Za-z0-9])[0-9]+,?\s*$', lines[0][1]):
        lines = lines[1:]
    blank = [number for number, line in lines if not line.strip()]
    if blank:
        problems.append(f'{len(blank)} lines are blank: {shorten(blank)}')
    return problems, [(number, line) for number, line in lines if line.strip()]
