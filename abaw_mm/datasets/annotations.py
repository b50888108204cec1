"""Read the official annotation files and the challenge's list of frames as arrays.

Nothing here depends on crops, images or mmpretrain.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from abaw_mm.datasets.crops.crop_folder import FilenameTemplate
from abaw_mm.errors import InvalidValueError, MissingFileError, shorten, shorten_text
from abaw_mm.files import read_text
from abaw_mm.structures import FrameTable, check_clip_names
from abaw_mm.structures.tasks import EXPRESSIONS, UNLABELLED

# Colour of each expression in figures and drawn videos; further classes start again. Hues after
# Okabe and Ito, "Color Universal Design", 2008, with brightness spread so that they differ for
# colour-blind people, too.
PALETTE = (
    '#a3a9b5',
    '#cf3f1d',
    '#00916b',
    '#c86bb0',
    '#f2b50c',
    '#1d5fc0',
    '#62c6f2',
    '#7a5232',
)
HEADER = ','.join(EXPRESSIONS)
HEADER_7 = ','.join(EXPRESSIONS[:7])  # the first edition has no 'Other'
LIST_HEADER = f'image_location,{HEADER}'
LIST_TEMPLATE = '{:05d}.jpg'  # of the frames in the list

PathOrPaths = str | os.PathLike | Sequence[str | os.PathLike]


# ------------------------------------------------------------------------ annotation files


def find_annotation_files(folder: PathOrPaths) -> dict[str, Path]:
    """Find the annotation file of each clip in one or several folders.

    Args:
        folder: A folder, such as ``annotations/EXPR_Recognition_Challenge/Train_Set``, or several.

    Returns:
        dict[str, Path]: Clip name to its file, sorted by clip.

    Raises:
        FileNotFoundError: If a folder holds no annotation file.
        ValueError: If two folders have the same clip.
    """
    folders = [folder] if isinstance(folder, (str, os.PathLike)) else folder
    files: dict[str, Path] = {}
    for one in folders:
        # Archives made on macOS contain '._x.txt' beside 'x.txt'.
        found = {p.stem: p for p in Path(one).glob('*.txt') if not p.name.startswith('.')}
        if not found:
            raise MissingFileError(
                f'{one}: got a folder without any <clip>.txt, expected the official annotation '
                'files; set ann_file to the folder that holds them, e.g. '
                'annotations/EXPR_Recognition_Challenge/Train_Set'
            )
        check_clip_names(found, one)
        for clip in sorted(found.keys() & files.keys()):
            raise InvalidValueError(
                f'ann_file: got the clip {clip!r} twice, {files[clip]} and {found[clip]}, '
                'expected each clip once; list each folder once'
            )
        files |= found
    return dict(sorted(files.items()))


def read_annotation_folder(
    folder: PathOrPaths, clips: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Read the labels of all clips in one or several folders of official annotation files.

    Args:
        folder: A folder, such as ``annotations/EXPR_Recognition_Challenge/Train_Set``, or several.
        clips: Names of the clips to read. Defaults to all.

    Returns:
        dict[str, ndarray]: Clip name to its labels (L, ) int8, sorted by clip.

    Raises:
        FileNotFoundError: If a folder holds no annotation file.
        ValueError: If the folder lacks one of ``clips``, or a file is invalid.
    """
    files = find_annotation_files(folder)
    if clips is not None:
        unknown = sorted(set(clips) - set(files))
        if unknown:
            raise InvalidValueError(
                f'clips: got {shorten(unknown)}, not found in {folder}, expected names such as '
                f'{shorten(list(files)[:3])} (without .txt); correct the list of clips'
            )
        files = {clip: files[clip] for clip in sorted(set(clips))}
    return {clip: read_labels(path) for clip, path in files.items()}


def number_lines(start_index: int = 1, **columns: Mapping[str, np.ndarray]) -> FrameTable:
    """Turn the annotation lines of each clip into a table with one row per line.

    Args:
        start_index (int): Frame number of the first line of each clip. Defaults to 1, as in the
            official crops.
        **columns (Mapping): Clip name to the values (L, ...) of its lines, such as
            ``label=labels``.

    >>> table = number_lines(label={'b': np.array([4]), 'a': np.array([0, -1])})
    >>> table.clip.tolist(), table.frame_no.tolist(), table['label'].tolist()
    (['a', 'a', 'b'], [1, 2, 1], [0, -1, 4])
    """
    lines = next(iter(columns.values()))
    numbers = {
        clip: np.arange(start_index, start_index + len(lines[clip]), dtype=np.int32)
        for clip in sorted(lines)
    }
    return FrameTable.from_clips(numbers, **columns)


def read_labels(path: str | os.PathLike) -> np.ndarray:
    """Read one official annotation file: the header, then one integer per frame.

    Args:
        path: File of one clip.

    Returns:
        ndarray: (L, ) int8, entry i is the label of frame i + 1, -1 where not annotated.

    Raises:
        ValueError: If the file is empty, has another header, or has a line that is not an integer
            in -1..7 (-1..6 with the seven-class header). The message names file and line.
    """
    text = read_text(path, 'an annotation file')
    header, _, body = text.partition('\n')
    body = body.rstrip()
    names = ','.join(name.strip() for name in header.split(','))
    _check_header(path, names, is_empty=not text.strip(), has_labels=bool(body))
    num_classes = 8 if names == HEADER else 7
    labels = _parse_plain(body) if body.isascii() else None
    if labels is None:
        labels = _parse_line_by_line(path, body)
    bad = np.flatnonzero((labels < UNLABELLED) | (labels >= num_classes))
    if len(bad):
        raise InvalidValueError(
            f'{path}, line {bad[0] + 2}: got the label {labels[bad[0]]}, expected '
            f'-1..{num_classes - 1} (-1: not annotated, 0..{num_classes - 1}: {names}); set '
            'ann_file to the EXPR annotations, not to those of valence or action units'
        )
    return labels.astype(np.int8)


def _check_header(path: str | os.PathLike, names: str, is_empty: bool, has_labels: bool) -> None:
    """Raise ValueError if an annotation file has no official header or no label."""
    if is_empty:
        raise InvalidValueError(
            f'{path}: the annotation file is empty, expected the header {HEADER!r} and one label '
            'per frame; download it again'
        )
    if names not in (HEADER, HEADER_7):
        raise InvalidValueError(
            f'{path}, line 1: got the header {shorten_text(names)}, expected {HEADER!r} '
            f'(or {HEADER_7!r} in the first edition); set ann_file to the folder of the '
            'expression (EXPR) annotations'
        )
    if not has_labels:
        raise InvalidValueError(
            f'{path}: got the header and no label, expected one label per frame after line 1; '
            'download it again'
        )


def _parse_plain(body: str) -> np.ndarray | None:
    """Parse lines that are all one digit or -1; None for others. 100 times faster than ``int``."""
    chars = np.frombuffer(f'{body}\n'.encode(), dtype=np.uint8)
    ends = np.flatnonzero(chars == ord('\n'))
    widths = np.diff(ends, prepend=-1) - 1
    digits = chars[ends - 1].astype(np.int16) - ord('0')
    if widths.min() < 1 or widths.max() > 2 or digits.min() < 0 or digits.max() > 9:
        return None
    negative = widths == 2
    if np.any(chars[ends[negative] - 2] != ord('-')):
        return None
    return np.where(negative, -digits, digits)


def _parse_line_by_line(path: str | os.PathLike, body: str) -> np.ndarray:
    """Parse lines with blanks or longer numbers; raise ValueError for the first non-integer."""
    labels = []
    for number, line in enumerate(body.split('\n'), start=2):
        if not re.fullmatch(r'\s*[+-]?[0-9]{1,9}\s*', line):
            raise InvalidValueError(
                f'{path}, line {number}: got {shorten_text(line)}, expected one integer in -1..7; '
                'the file is damaged or not an EXPR annotation, download it again'
            )
        labels.append(int(line))
    return np.array(labels)


def stamp_annotations(path: PathOrPaths) -> list[tuple[str, int, int, int]]:
    """Return name, size and times of change of each annotation file, sorted by clip.

    Args:
        path: One or several folders of annotation files, or the challenge's list of frames.
    """
    is_list = isinstance(path, (str, os.PathLike)) and not os.path.isdir(path)
    files = [Path(path)] if is_list else find_annotation_files(path).values()  # type: ignore[arg-type]
    stats = [(file.name, file.stat()) for file in files]
    return [(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in stats]


# ------------------------------------------------------------------------------ names of clips


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


# ------------------------------------------------------------------------------- list of frames


def read_frame_list(
    path: str | os.PathLike,
    filename_tmpl: str = LIST_TEMPLATE,
    clips: Sequence[str] | None = None,
    other_tmpl: str = LIST_TEMPLATE,
) -> FrameTable:
    """Read the challenge's list of frames, which names every frame that a submission must answer.

    The first line is ``image_location,Neutral,...,Other``. The rows are ``<clip>/00001.jpg``,
    ``<clip>/00001.jpg,`` or ``<clip>/00001.jpg,0``, depending on the edition; the zero is a dummy,
    not a label. Windows line ends, a byte order mark and blank lines at the end are accepted.

    Args:
        path: The list.
        filename_tmpl: File name of a frame.
        clips: Names of the clips to keep. Defaults to all.
        other_tmpl: File name of a frame that is accepted as well. Defaults to the challenge's, for
            crops that have other names than their list says.

    Returns:
        FrameTable: Clips and rows in the order of the list; no columns.

    Raises:
        ValueError: If the list is empty, has another header, a row that is not a frame, a frame
            that is listed twice, or lacks one of ``clips``. The message names file and line.
    """
    lines = read_text(path, "the challenge's list of frames").split('\n')
    while lines and not lines[-1].strip():
        lines.pop()
    _check_list_header(path, lines)
    template, other = FilenameTemplate(filename_tmpl), FilenameTemplate(other_tmpl)
    wanted = None if clips is None else set(clips)
    number_of: dict[str, int] = {}  # 30 thousand names for a million rows
    id_of: dict[str, int] = {}
    clip_id, frame_no = [], []
    for at, line in enumerate(lines[1:], start=2):
        row = line.strip()
        location = row[:-2] if row.endswith(',0') else row.removesuffix(',')
        clip, _, name = location.rpartition('/')
        number = number_of.get(name)
        if number is None:
            with _name_line(path, at):
                number = number_of[name] = max(template.number(name), other.number(name))
        if clip and clip not in id_of:
            with _name_line(path, at):
                check_clip_names([clip])
        if number < 0 or not clip:
            raise InvalidValueError(
                f'{path}, line {at}: got {shorten_text(line)}, expected a row such as '
                f"'video65/{template.name(1)},' or 'video65/{template.name(1)},0'; the list is "
                'damaged, or set filename_tmpl'
            )
        if wanted is None or clip in wanted:
            clip_id.append(id_of.setdefault(clip, len(id_of)))
            frame_no.append(number)
    table = FrameTable(list(id_of), np.array(clip_id, np.int32), np.array(frame_no, np.int32))
    _check_listed_frames(path, table, template, wanted)
    return table


@contextmanager
def _name_line(path: str | os.PathLike, line: int) -> Iterator[None]:
    """Name file and line in the errors about a row."""
    try:
        yield
    except InvalidValueError as error:
        raise InvalidValueError(f'{path}, line {line}: {error}') from error


def _check_list_header(path: str | os.PathLike, lines: list[str]) -> None:
    """Raise ValueError if a list of frames has no row or another header."""
    if len(lines) < 2:
        raise InvalidValueError(
            f'{path}: got a list without any frame, expected the header {LIST_HEADER!r} and one '
            'row per frame; download it again'
        )
    header = ','.join(name.strip() for name in lines[0].split(','))
    if header != LIST_HEADER:
        raise InvalidValueError(
            f'{path}, line 1: got the header {shorten_text(header)}, expected '
            f"{LIST_HEADER!r}; set ann_file to the challenge's list of test frames, or to a folder "
            'of annotation files'
        )


def _check_listed_frames(
    path: str | os.PathLike, table: FrameTable, template: FilenameTemplate, wanted: set[str] | None
) -> None:
    """Raise ValueError if a wanted clip is not listed, or a frame is listed twice."""
    unknown = (wanted or set()) - set(table.clips)
    if unknown:
        raise InvalidValueError(
            f'clips: got {shorten(sorted(unknown))}, not found in {path}, expected clips of the '
            'list; correct the list of clips'
        )
    twice = table.find_duplicates()
    if len(twice):
        clip = table.clips[table.clip_id[twice[0]]]
        raise InvalidValueError(
            f'{path}: the frame {clip}/{template.name(int(table.frame_no[twice[0]]))} is listed '
            f'twice ({len(twice)} such rows), expected every frame once; download the list again'
        )
