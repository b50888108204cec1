"""From labels and crops to columns: which frames exist, which label each has."""

from dataclasses import dataclass, field

import numpy as np

from abaw_mm.datasets.annotations import UNLABELLED
from abaw_mm.errors import shorten

COLUMNS = dict(clip_id='int32', frame_no='int32', label='int8', root_id='int8')


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
        root_id (ndarray): (F, ) int8, where the crop lies (``crops.crop_path``), or -1 where there
            is none.
        counts (dict): What was read and what was left out, for the summary; JSON can hold it.
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
            self.clips,
            self.clip_id[rows],
            self.frame_no[rows],
            self.label[rows],
            self.root_id[rows],
            self.counts,
        )


def join_labels_and_crops(
    labels: dict[str, np.ndarray],
    crops: dict[str, tuple[np.ndarray, np.ndarray]],
    start_index: int = 1,
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
    counts = dict(clips=len(clips), lines=0, unlabelled=0, missing=0, no_folder=[])
    first, overhang = None, []
    for clip_id, clip in enumerate(clips):
        label, (numbers, owners) = labels[clip], crops[clip]
        counts['lines'] += len(label)
        counts['unlabelled'] += int(np.count_nonzero(label == UNLABELLED))
        if not len(numbers):
            counts['no_folder'].append(clip)
        else:
            first = min(first or (numbers[0], clip), (numbers[0], clip))
            if numbers[-1] >= len(label) + start_index:
                overhang.append([clip, int(numbers[-1]), len(label)])
        inside = (numbers >= start_index) & (numbers < len(label) + start_index)
        numbers, owners = numbers[inside], owners[inside]
        label = label[numbers - start_index]
        kept = label != UNLABELLED
        rows['frame_no'].append(numbers[kept])
        rows['root_id'].append(owners[kept])
        rows['label'].append(label[kept])
        rows['clip_id'].append(np.full(np.count_nonzero(kept), clip_id, np.int32))
    if first is None:
        raise FileNotFoundError(
            f'got no crop for any of {len(clips)} clips ({shorten(clips[:3])}), expected '
            '<image root>/<clip>/00001.jpg; set data_prefix=dict(img_path=...) to the folder of '
            'the crops, and filename_tmpl if their names differ'
        )
    number, clip = first
    if number < start_index:
        raise ValueError(
            f'start_index={start_index}: got crops numbered from {number} (clip {clip!r}), '
            f'expected them to start at {start_index}; labels would be shifted by a frame: set '
            f'start_index={number}, or remove the crop if it is the only one'
        )
    if overhang and start_index == 0 and number > 0:
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


def find_listed_crops(
    clips: list[str],
    clip_id: np.ndarray,
    frame_no: np.ndarray,
    crops: dict[str, tuple[np.ndarray, np.ndarray]],
) -> FrameIndex:
    """One row for every listed frame, in the list's order; ``root_id`` is -1 where no crop is.

    Args:
        clips, clip_id, frame_no: What ``read_frame_list`` returns.
        crops: What ``list_crops`` returns for these clips.

    Raises:
        FileNotFoundError: If no clip has any crop.
    """
    root_id = np.full(len(frame_no), -1, np.int8)
    order = np.argsort(clip_id, kind='stable')
    ends = np.searchsorted(clip_id[order], np.arange(len(clips) + 1))
    no_folder = []
    for at_clip, clip in enumerate(clips):
        numbers, owners = crops[clip]
        if not len(numbers):
            no_folder.append(clip)
            continue
        rows = order[ends[at_clip] : ends[at_clip + 1]]
        at = np.minimum(np.searchsorted(numbers, frame_no[rows]), len(numbers) - 1)
        found = numbers[at] == frame_no[rows]
        root_id[rows[found]] = owners[at[found]]
    if len(no_folder) == len(clips):
        raise FileNotFoundError(
            f'got no crop for any of {len(clips)} listed clips ({shorten(no_folder[:3])}), '
            'expected <image root>/<clip>/00001.jpg; set data_prefix=dict(img_path=...) to the '
            'folder of the crops, and filename_tmpl if their names differ'
        )
    counts = dict(
        clips=len(clips),
        lines=len(frame_no),
        unlabelled=0,
        missing=int(np.count_nonzero(root_id < 0)),
        no_folder=no_folder,
        overhang=[],
    )
    label = np.full(len(frame_no), UNLABELLED, np.int8)
    return FrameIndex(clips, clip_id, frame_no, label, root_id, counts)
