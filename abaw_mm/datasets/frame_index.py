"""From the official folders to columns: which frames exist, which label each has.

Nothing here knows of images, mmpretrain or training; everything is arrays and file names.
"""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

EXPRESSIONS = (
    'Neutral', 'Anger', 'Disgust', 'Fear', 'Happiness', 'Sadness', 'Surprise', 'Other'
)  # order of the official annotation files
UNLABELLED = -1  # 'not annotated' in the official files
HEADER = ','.join(EXPRESSIONS)
HEADER_7 = ','.join(EXPRESSIONS[:7])  # the first edition has no 'Other'
LIST_HEADER = f'image_location,{HEADER}'
MAX_NAMED = 5  # names that a message lists before it only counts


@dataclass
class FrameIndex:
    """Columns of frames, one row a frame, sorted by clip and frame number.

    A column of NumPy instead of an object per frame: 2.7 million frames take 27 MB and not
    gigabytes, and every worker process shares them.

    Attributes:
        clips (list[str]): Names of the clips; a clip is one annotated face track of a video.
        clip_id (ndarray): (F, ) int32, row of ``clips``.
        frame_no (ndarray): (F, ) int32, the number in the frame's file name.
        label (ndarray): (F, ) int8, 0..7, or -1 where not annotated or hidden.
        root_id (ndarray): (F, ) int8, which image root holds the crop, or -1 where none does.
        counts (dict): What was read and what was left out, for the summary.
    """

    clips: list[str]
    clip_id: np.ndarray
    frame_no: np.ndarray
    label: np.ndarray
    root_id: np.ndarray
    counts: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.frame_no)

    def take(self, rows: np.ndarray) -> 'FrameIndex':
        """The given rows (indices or a mask) as an index of their own."""
        return FrameIndex(
            self.clips, self.clip_id[rows], self.frame_no[rows], self.label[rows],
            self.root_id[rows], self.counts
        )


# ------------------------------------------------------------------------------ annotations


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


def read_annotation_folder(
    folder: str | os.PathLike, clips: Sequence[str] | None = None
) -> dict[str, np.ndarray]:
    """Labels of every clip of a folder of official annotation files.

    Args:
        folder: Such as ``annotations/EXPR_Recognition_Challenge/Train_Set``.
        clips: Names of the clips to read. Defaults to all.

    Returns:
        dict[str, ndarray]: Clip to its labels, sorted by clip.

    Raises:
        FileNotFoundError: If the folder holds no annotation.
        ValueError: For a clip that the folder does not have, and as ``read_labels`` does.
    """
    # macOS leaves '._x.txt' beside 'x.txt' in archives; they are no annotations.
    files = {p.stem: p for p in sorted(Path(folder).glob('*.txt')) if not p.name.startswith('.')}
    if not files:
        raise FileNotFoundError(
            f'{folder}: got a folder without any <clip>.txt, expected the official annotation '
            'files; set ann_file to the folder that holds them, e.g. '
            'annotations/EXPR_Recognition_Challenge/Train_Set'
        )
    if clips is not None:
        unknown = sorted(set(clips) - set(files))
        if unknown:
            raise ValueError(
                f'clips: got {named(unknown)}, which {folder} does not have, expected names '
                f'such as {named(list(files)[:3])} (no .txt); correct the list of clips'
            )
        files = {clip: files[clip] for clip in sorted(set(clips))}
    return {clip: read_labels(path) for clip, path in files.items()}


def read_frame_list(
    path: str | os.PathLike, filename_tmpl: str = '{:05d}.jpg', clips: Sequence[str] | None = None
) -> FrameIndex:
    """Read the challenge's list of frames: every line that a submission must answer.

    The first line is ``image_location,Neutral,...,Other``; the rows are ``<clip>/00001.jpg,`` or
    ``<clip>/00001.jpg,0``, whose zero is a dummy and not a label. The order of the rows is kept.

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
        location, comma, rest = line.strip().rpartition(',')
        clip, slash, name = location.rpartition('/')
        frame = numbers_of.get(name)
        if frame is None:
            frame = numbers_of[name] = template.number(name)
        if frame < 0 or not comma or not clip or rest not in ('', '0'):
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
            f'clips: got {named(sorted(wanted - set(ids)))}, which {path} does not name, expected '
            'clips of the list; correct the list of clips'
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
    return FrameIndex(
        list(ids), clip_id, frame_no, np.full(len(frame_no), UNLABELLED, np.int8),
        np.full(len(frame_no), -1, np.int8)
    )


# ------------------------------------------------------------------------------------ crops


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


# ---------------------------------------------------------------------------------- joining


def join_labels_and_crops(
    labels: dict[str, np.ndarray], crops: dict[str, tuple[np.ndarray, np.ndarray]],
    start_index: int = 1
) -> FrameIndex:
    """One row for every frame that has both a label in 0..7 and a crop.

    Label line i after the header, i from 0, belongs to the crop numbered ``i + start_index``.
    The official crops count from 1; with any other choice every label sits on a neighbour's face,
    so crops that contradict ``start_index`` are refused.

    Raises:
        ValueError: If the crops' numbers show that they are counted from the other start.
        FileNotFoundError: If no clip has any crop.
    """
    clips = sorted(labels)
    rows = {name: [] for name in ('clip_id', 'frame_no', 'label', 'root_id')}
    counts = dict(clips=len(clips), lines=0, unlabelled=0, missing=0, beyond=0, no_folder=[])
    first, overhang = None, []
    for clip_id, clip in enumerate(clips):
        label, (numbers, owners) = labels[clip], crops[clip]
        counts['lines'] += len(label)
        counts['unlabelled'] += int(np.count_nonzero(label == UNLABELLED))
        if not len(numbers):
            counts['no_folder'].append(clip)
        else:
            first = numbers[0] if first is None else min(first, numbers[0])
            if numbers[-1] >= len(label) + start_index:
                overhang.append((clip, int(numbers[-1]), len(label)))
        inside = (numbers >= start_index) & (numbers < len(label) + start_index)
        counts['beyond'] += int(np.count_nonzero(~inside))
        numbers, owners = numbers[inside], owners[inside]
        label = label[numbers - start_index]
        kept = label != UNLABELLED
        rows['frame_no'].append(numbers[kept])
        rows['root_id'].append(owners[kept])
        rows['label'].append(label[kept])
        rows['clip_id'].append(np.full(np.count_nonzero(kept), clip_id, np.int32))
    if first is None:
        raise FileNotFoundError(
            f'got no crop for any of {len(clips)} clips ({named(clips[:3])}), expected '
            '<image root>/<clip>/00001.jpg; set data_prefix=dict(img_path=...) to the folder of '
            'the crops, and filename_tmpl if their names differ'
        )
    if first < start_index:
        raise ValueError(
            f'start_index={start_index}: got crops numbered from {first}, expected them to start '
            f'at {start_index}; labels would be shifted by a frame: set start_index={first}'
        )
    if overhang and start_index == 0 and first > 0:
        clip, last, lines = overhang[0]
        raise ValueError(
            f'start_index=0: got crops of {clip} numbered up to {last} for {lines} labels, '
            f'expected at most {lines - 1}; these crops count from 1 as the official ones do, '
            'labels would be shifted by a frame: set start_index=1'
        )
    counts['missing'] = counts['lines'] - counts['unlabelled'] - sum(map(len, rows['label']))
    counts['overhang'] = overhang
    columns = {name: np.concatenate(parts) for name, parts in rows.items()}
    return FrameIndex(clips, **columns, counts=counts)


def find_crops(
    frames: FrameIndex, crops: dict[str, tuple[np.ndarray, np.ndarray]]
) -> FrameIndex:
    """Fill in which root holds the crop of each listed frame; the rows and their order stay."""
    root_id = np.full(len(frames), -1, np.int8)
    order = np.argsort(frames.clip_id, kind='stable')
    ends = np.searchsorted(frames.clip_id[order], np.arange(len(frames.clips) + 1))
    no_folder = []
    for clip_id, clip in enumerate(frames.clips):
        numbers, owners = crops[clip]
        if not len(numbers):
            no_folder.append(clip)
            continue
        rows = order[ends[clip_id]:ends[clip_id + 1]]
        at = np.minimum(np.searchsorted(numbers, frames.frame_no[rows]), len(numbers) - 1)
        found = numbers[at] == frames.frame_no[rows]
        root_id[rows[found]] = owners[at[found]]
    if len(no_folder) == len(frames.clips):
        raise FileNotFoundError(
            f'got no crop for any of {len(frames.clips)} listed clips ({named(no_folder[:3])}), '
            'expected <image root>/<clip>/00001.jpg; set data_prefix=dict(img_path=...) to the '
            'folder of the crops, and filename_tmpl if their names differ'
        )
    counts = dict(
        clips=len(frames.clips), lines=len(frames), unlabelled=0, beyond=0,
        missing=int(np.count_nonzero(root_id < 0)), no_folder=no_folder, overhang=[]
    )
    return FrameIndex(
        frames.clips, frames.clip_id, frames.frame_no, frames.label, root_id, counts
    )


def named(names: Sequence[str]) -> str:
    """A few names for a message, and how many there are beyond them."""
    text = ', '.join(repr(name) for name in names[:MAX_NAMED])
    return text if len(names) <= MAX_NAMED else f'{text} and {len(names) - MAX_NAMED} more'
