"""The official label files and the challenge's list of frames, read as arrays.

Nothing here knows of crops, images or mmpretrain.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.fileio import list_from_file

from abaw_mm.datasets.crops.crop_folder import FilenameTemplate
from abaw_mm.errors import shorten

EXPRESSIONS = (
    'Neutral',
    'Anger',
    'Disgust',
    'Fear',
    'Happiness',
    'Sadness',
    'Surprise',
    'Other',
)  # order of the official annotation files
UNLABELLED = -1  # 'not annotated' in the official files; here also a label that nobody gave us
HEADER = ','.join(EXPRESSIONS)
HEADER_7 = ','.join(EXPRESSIONS[:7])  # the first edition has no 'Other'
LIST_HEADER = f'image_location,{HEADER}'


def read_labels(path: str | os.PathLike) -> np.ndarray:
    """Read one official annotation file: the header, then one integer a frame.

    Args:
        path: File of one clip.

    Returns:
        ndarray: (L, ) int8, entry i is the label of the (i+1)-th frame, -1 where not annotated.

    Raises:
        ValueError: Naming the file and the line, for an empty file, a wrong header, a line that
            is no integer, or a label outside -1..7 (-1..6 under the seven-class header).
    """
    data = Path(path).read_bytes().removeprefix(b'\xef\xbb\xbf').replace(b'\r\n', b'\n')
    header, _, body = data.partition(b'\n')
    names = ','.join(name.strip() for name in header.decode('latin-1').split(','))
    if not data.strip():
        raise ValueError(
            f'{path}: the annotation file is empty, expected the header {HEADER!r} and one label '
            'a frame; download it again'
        )
    if names not in (HEADER, HEADER_7):
        raise ValueError(
            f'{path}, line 1: got the header {names!r}, expected {HEADER!r} (or {HEADER_7!r} in '
            'the first edition); point ann_file to the folder of the expression (EXPR) '
            'annotations'
        )
    body = body.rstrip()
    if not body:
        raise ValueError(
            f'{path}: got the header and no label, expected one label a frame after line 1; '
            'download it again'
        )
    num_classes = 8 if names == HEADER else 7
    labels = _parse_plain(body)
    if labels is None:
        labels = _parse_line_by_line(path, body)
    bad = np.flatnonzero((labels < UNLABELLED) | (labels >= num_classes))
    if len(bad):
        raise ValueError(
            f'{path}, line {bad[0] + 2}: got the label {labels[bad[0]]}, expected '
            f'-1..{num_classes - 1} (-1: not annotated, 0..{num_classes - 1}: {names}); valence '
            'and AU files have other values, point ann_file to the EXPR annotations'
        )
    return labels.astype(np.int8)


def _parse_plain(body: bytes) -> np.ndarray | None:
    """Labels of lines that are all one digit or -1, else None. 100 times faster than ``int``."""
    chars = np.frombuffer(body + b'\n', dtype=np.uint8)
    ends = np.flatnonzero(chars == ord('\n'))
    widths = np.diff(ends, prepend=-1) - 1
    digits = chars[ends - 1].astype(np.int16) - ord('0')
    if widths.min() < 1 or widths.max() > 2 or digits.min() < 0 or digits.max() > 9:
        return None
    negative = widths == 2
    if np.any(chars[ends[negative] - 2] != ord('-')):
        return None
    return np.where(negative, -digits, digits)


def _parse_line_by_line(path: str | os.PathLike, body: bytes) -> np.ndarray:
    """Labels of lines with blanks or longer numbers; raises for the first that is no integer."""
    labels = []
    for number, line in enumerate(body.split(b'\n'), start=2):
        try:
            labels.append(int(line))
        except ValueError:
            raise ValueError(
                f'{path}, line {number}: got {line.decode("latin-1")!r}, expected one integer '
                'in -1..7; the file is damaged or no EXPR annotation, download it again'
            ) from None
    return np.clip(np.array(labels), -1000, 1000)  # any outside -1..7 is refused by the caller


def annotation_files(folder: str | os.PathLike | Sequence[str | os.PathLike]) -> dict[str, Path]:
    """Clip to its annotation file, sorted by clip, of a folder or of several together.

    Raises:
        FileNotFoundError: If a folder holds no annotation.
        ValueError: For a clip that two folders have.
    """
    if not isinstance(folder, (str, os.PathLike)):
        return _annotation_files_of(folder)
    # macOS leaves '._x.txt' beside 'x.txt' in archives; they are no annotations.
    files = {p.stem: p for p in sorted(Path(folder).glob('*.txt')) if not p.name.startswith('.')}
    if not files:
        raise FileNotFoundError(
            f'{folder}: got a folder without any <clip>.txt, expected the official annotation '
            'files; set ann_file to the folder that holds them, e.g. '
            'annotations/EXPR_Recognition_Challenge/Train_Set'
        )
    return files


def raw_video(clip: str) -> str:
    """The video that a clip is of: further persons of it are clips of their own.

    >>> raw_video('video2_left'), raw_video('5-60-1920x1080-1'), raw_video('left_right_2')
    ('video2', '5-60-1920x1080-1', 'left_right_2')
    """
    return re.sub(r'_(left|right)$', '', clip)


def read_clip_names(clips: Sequence[str] | str | None, owner: str) -> Sequence[str] | None:
    """Names of the clips to keep, from a list or a file with a name a line; None for all.

    Args:
        clips: The setting.
        owner (str): The dataset that has it, for the message.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it names no clip.
    """
    names = clips
    if isinstance(clips, str):
        if not os.path.isfile(clips):
            raise FileNotFoundError(
                f'{owner}: clips={clips!r}: no such file, expected a text file with a '
                'name a line; set clips relative to data_root, or to a list of names'
            )
        names = [line.strip() for line in list_from_file(clips) if line.strip()]
    if names is not None and not len(names):
        raise ValueError(
            f'{owner}: clips={clips!r} names no clip, expected at least one; '
            'leave clips out to take all'
        )
    return names


def _annotation_files_of(folders: Sequence[str | os.PathLike]) -> dict[str, Path]:
    """:func:`annotation_files` of several folders."""
    files: dict[str, Path] = {}
    for folder in folders:
        for clip, path in annotation_files(folder).items():
            if clip in files:
                raise ValueError(
                    f'ann_file: got the clip {clip!r} twice, {files[clip]} and {path}, expected '
                    'folders of other clips; take the splits of one edition'
                )
            files[clip] = path
    return dict(sorted(files.items()))


def stamp_annotations(
    path: str | os.PathLike | Sequence[str | os.PathLike],
) -> list[tuple[str, int, int, int]]:
    """What tells whether annotations changed: name, size in bytes and times in ns of each file.

    Args:
        path: A folder of annotation files, several, or the challenge's list of frames.
    """
    is_list = isinstance(path, (str, os.PathLike)) and not os.path.isdir(path)
    files = [Path(path)] if is_list else annotation_files(path).values()
    stats = [(file.name, file.stat()) for file in files]
    return [(name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns) for name, stat in stats]


def read_annotation_folder(
    folder: str | os.PathLike | Sequence[str | os.PathLike], clips: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Labels of every clip of a folder of official annotation files, or of several together.

    Args:
        folder: Such as ``annotations/EXPR_Recognition_Challenge/Train_Set``.
        clips: Names of the clips to read. Defaults to all.

    Returns:
        dict[str, ndarray]: Clip to its labels, sorted by clip.

    Raises:
        FileNotFoundError: If the folder holds no annotation.
        ValueError: For a clip that the folder does not have, and as ``read_labels`` does.
    """
    files = annotation_files(folder)
    if clips is not None:
        unknown = sorted(set(clips) - set(files))
        if unknown:
            raise ValueError(
                f'clips: got {shorten(unknown)}, which {folder} does not have, expected names '
                f'such as {shorten(list(files)[:3])} (no .txt); correct the list of clips'
            )
        files = {clip: files[clip] for clip in sorted(set(clips))}
    return {clip: read_labels(path) for clip, path in files.items()}


def read_frame_list(
    path: str | os.PathLike, filename_tmpl: str = '{:05d}.jpg', clips: Sequence[str] | None = None
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read the challenge's list of frames: every line that a submission must answer.

    The first line is ``image_location,Neutral,...,Other``; the rows are ``<clip>/00001.jpg``,
    ``<clip>/00001.jpg,`` or ``<clip>/00001.jpg,0``, whose zero is a dummy and not a label, by
    edition. Line ends of Windows, a byte order mark and blank lines at the end do no harm.

    Args:
        path: The list.
        filename_tmpl: File name of a frame.
        clips: Names of the clips to keep. Defaults to all.

    Returns:
        tuple: Names of the clips, in the list's order; and of each row, in the list's order, the
        clip (F, ) int32 and the frame number (F, ) int32.

    Raises:
        ValueError: Naming the file and the line, for an empty list, a wrong header, a row that is
            no frame, or a frame that is listed twice.
    """
    lines = Path(path).read_text(encoding='utf-8-sig').splitlines()
    if not lines or not [x for x in lines[1:] if x]:
        raise ValueError(
            f'{path}: got a list without any frame, expected the header {LIST_HEADER!r} and one '
            'row a frame; download it again'
        )
    header = ','.join(name.strip() for name in lines[0].split(','))
    if header != LIST_HEADER:
        raise ValueError(
            f'{path}, line 1: got the header {header!r}, expected {LIST_HEADER!r}; give the '
            "challenge's list of test frames, or a folder of annotation files"
        )
    template = FilenameTemplate(filename_tmpl)
    numbers_of: dict[str, int] = {}  # file name to its number; 30 thousand names for a million rows
    ids: dict[str, int] = {}
    wanted = None if clips is None else set(clips)
    clip_id, frame_no = [], []
    while lines and not lines[-1].strip():
        lines.pop()
    for number, line in enumerate(lines[1:], start=2):
        row = line.strip()
        location = row[:-2] if row.endswith(',0') else row.removesuffix(',')
        clip, slash, name = location.rpartition('/')
        frame = numbers_of.get(name)
        if frame is None:
            frame = numbers_of[name] = template.number(name)
        if frame < 0 or not clip:
            raise ValueError(
                f'{path}, line {number}: got {line!r}, expected a row such as '
                f"'video65/{template.name(1)},' or 'video65/{template.name(1)},0'; the list is "
                'damaged, or set filename_tmpl'
            )
        if wanted is None or clip in wanted:
            clip_id.append(ids.setdefault(clip, len(ids)))
            frame_no.append(frame)
    if wanted is not None and wanted - set(ids):
        raise ValueError(
            f'clips: got {shorten(sorted(wanted - set(ids)))}, which {path} does not name, '
            'expected clips of the list; correct the list of clips'
        )
    clip_id = np.array(clip_id, dtype=np.int32)
    frame_no = np.array(frame_no, dtype=np.int32)
    keys = clip_id.astype(np.int64) << 32 | frame_no
    order = np.argsort(keys, kind='stable')
    twice = np.flatnonzero(np.diff(keys[order]) == 0)
    if len(twice):
        row = order[twice[0] + 1]
        raise ValueError(
            f'{path}: the frame {list(ids)[clip_id[row]]}/{template.name(frame_no[row])} is listed '
            f'twice ({len(twice)} such rows), expected every frame once; download the list again'
        )
    return list(ids), clip_id, frame_no
