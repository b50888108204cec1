"""Windows of consecutive frames over features, for temporal models."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

from abaw_mm.datasets.annotations import (
    EXPRESSIONS,
    read_annotation_folder,
    read_clip_names,
    read_frame_list,
)
from abaw_mm.datasets.features.feature_folder import FeatureFolder
from abaw_mm.datasets.frame_index import (
    FrameIndex,
    find_listed_crops,
    join_labels_and_crops,
)


@DATASETS.register_module()
class ClipFeatureDataset(Dataset):
    """Windows over the features that ``tools/extract_features.py`` wrote, with official labels.

    Time is counted in frame numbers: a window is ``window`` consecutive frames of one clip, whose
    labels count, and ``context`` more on either side, which are only seen. A frame without a crop
    keeps its place and is masked, as are places beyond the ends of the clip; no window reaches
    into another clip. Labels come to frames as in ``AffWild2Dataset``, by the same code.

    Which frames are scored is the same as there, too: labelled ones with a crop, or those of the
    challenge's list that have one. With ``step`` equal to ``window`` each is in one window; windows
    without any are left out.

    An item is a dict, W being ``window + 2 * context``: ``inputs`` (W, D) float16, zero where
    nothing is seen; ``seen`` (W, ) bool, where a feature is; ``scored`` (W, ) bool; ``frame_no``
    (W, ) int64; ``gt_label`` (W, ) int64, -1 where nothing is scored, not there for a list;
    ``clip`` (str); ``sample_idx`` (int).

    Args:
        feature_dir (str): Folder of features.
        ann_file (str | Sequence[str]): As in ``AffWild2Dataset``.
        data_root (str): Folder that ``ann_file`` and ``clips`` start from.
        window (int): Frames of a window whose labels count. Defaults to 256.
        context (int): Frames before and after that are seen only. Defaults to 0.
        step (int, optional): Frames from one window's start to the next. Smaller ones give
            training windows that overlap. Defaults to ``window``.
        test_mode (bool): Whether each frame has to be in one window only.
        start_index (int): Number of a clip's first crop. Defaults to 1.
        filename_tmpl (str): File name of a frame, for lists. Defaults to ``'{:05d}.jpg'``.
        clips (Sequence[str] | str, optional): As in ``AffWild2Dataset``.

    Attributes:
        features (FeatureFolder): The features.
        frames (FrameIndex): The frames that are scored.

    Raises:
        FileNotFoundError: For a folder or file that is not there.
        ValueError: For clips without features, or windows that cannot be.
    """

    def __init__(
        self,
        feature_dir: str,
        ann_file: str | Sequence[str],
        data_root: str = '',
        window: int = 256,
        context: int = 0,
        step: int | None = None,
        test_mode: bool = False,
        start_index: int = 1,
        filename_tmpl: str = '{:05d}.jpg',
        clips: Sequence[str] | str | None = None,
    ) -> None:
        step = window if step is None else step
        if window < 1 or context < 0 or not 1 <= step <= window:
            raise ValueError(
                f'ClipFeatureDataset: window={window}, context={context}, step={step}, expected '
                'window from 1, context from 0 and step in 1..window frames, or labels are left out'
            )
        if test_mode and step != window:
            raise ValueError(
                f'ClipFeatureDataset: step={step} with test_mode, expected step={window}, the '
                'window: each frame is scored once; leave step out'
            )
        self.window, self.context, self.step = window, context, step
        self.features = FeatureFolder.open(os.path.expanduser(feature_dir))
        self.labelled = True
        self.frames = self._read_frames(
            _join(data_root, ann_file),
            _join(data_root, clips) if isinstance(clips, str) else clips,
            start_index,
            filename_tmpl,
        )
        self._clip_ends = np.searchsorted(
            self.frames.clip_id, np.arange(len(self.frames.clips) + 1)
        )
        self._place_windows()
        print_log(
            f'ClipFeatureDataset {ann_file}: {len(self)} windows of {window} frames and {context} '
            f'on either side, {len(self.frames)} frames of {len(self.frames.clips)} clips scored; '
            f'{self.features.dim} features a frame ({self.features.meta["layer"]} of '
            f'{self.features.meta["config"]})',
            logger='current',
        )

    def _read_frames(
        self,
        ann_file: str | list[str],
        clips: Sequence[str] | str | None,
        start_index: int,
        filename_tmpl: str,
    ) -> FrameIndex:
        """The frames to score, as ``AffWild2Dataset`` has them; crops are what has features."""
        for path in [ann_file] if isinstance(ann_file, str) else ann_file:
            if not os.path.exists(path):
                raise FileNotFoundError(
                    f'ClipFeatureDataset: no folder or file {path!r}, expected a folder of '
                    "<clip>.txt (or several), or the challenge's list of frames; set data_root, "
                    'and ann_file relative to it'
                )
        clips = read_clip_names(clips, type(self).__name__)
        if isinstance(ann_file, str) and os.path.isfile(ann_file):
            self.labelled = False
            names, clip_id, frame_no = read_frame_list(ann_file, filename_tmpl, clips)
            listed = find_listed_crops(names, clip_id, frame_no, self._crops(names))
            rows = np.flatnonzero(listed.root_id >= 0)
            order = np.lexsort((listed.frame_no[rows], listed.clip_id[rows]))
            frames = listed.take(rows[order])
        else:
            labels = read_annotation_folder(ann_file, clips)
            frames = join_labels_and_crops(labels, self._crops(labels), start_index)
        if not len(frames):
            raise ValueError(
                f'ClipFeatureDataset: no frame of {ann_file} has both a label and a feature, '
                'expected at least one; check that the features belong to these annotations'
            )
        return frames

    def _crops(self, clips: Sequence[str]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """What ``list_crops`` would return when the features were made."""
        self.features.check(clips)
        numbers = {clip: self.features.frame_no[clip] for clip in clips}
        return {clip: (number, np.zeros(len(number), np.int8)) for clip, number in numbers.items()}

    def _place_windows(self) -> None:
        """Clip and first frame of each window that holds a frame to score."""
        clip_ids, starts = [], []
        for clip_id, clip in enumerate(self.frames.clips):
            scored = self.frames.frame_no[self._rows(clip_id)]
            if not len(scored):
                continue
            start = np.arange(self.features.frame_no[clip][0], scored[-1] + 1, self.step)
            first, last = np.searchsorted(scored, [start, start + self.window])
            starts.append(start[last > first])
            clip_ids.append(np.full(len(starts[-1]), clip_id, np.int32))
        self.window_clip, self.window_start = np.concatenate(clip_ids), np.concatenate(starts)

    def _rows(self, clip_id: int) -> slice:
        """Rows of ``frames`` of a clip."""
        return slice(*self._clip_ends[clip_id : clip_id + 2])

    @property
    def metainfo(self) -> dict:
        """Names of the classes."""
        return dict(classes=EXPRESSIONS)

    def __len__(self) -> int:
        return len(self.window_start)

    def __getitem__(self, idx: int) -> dict:
        idx = range(len(self))[idx]  # negative as in a list, IndexError beyond the end
        clip_id, start = self.window_clip[idx], int(self.window_start[idx])
        clip, first = self.frames.clips[clip_id], start - self.context
        size = self.window + 2 * self.context
        numbers = self.features.frame_no[clip]
        lo, hi = np.searchsorted(numbers, [first, first + size])
        inputs = np.zeros((size, self.features.dim), np.float16)
        inputs[numbers[lo:hi] - first] = self.features.read(clip)[lo:hi]
        seen, scored = np.zeros((2, size), bool)
        seen[numbers[lo:hi] - first] = True
        rows = self._rows(clip_id)
        frame_no, label = self.frames.frame_no[rows], self.frames.label[rows]
        lo, hi = np.searchsorted(frame_no, [start, start + self.window])
        scored[frame_no[lo:hi] - first] = True
        gt_label = np.full(size, -1, np.int64)
        gt_label[frame_no[lo:hi] - first] = label[lo:hi]
        item = dict(
            inputs=inputs,
            seen=seen,
            scored=scored,
            frame_no=np.arange(first, first + size),
            gt_label=gt_label,
        )
        if not self.labelled:
            del item['gt_label']
        return dict(
            {name: torch.from_numpy(array) for name, array in item.items()},
            clip=clip,
            sample_idx=idx,
        )


def _join(data_root: str, path: str | Sequence[str]) -> str | list[str]:
    """Paths from ``data_root`` on."""
    if not isinstance(path, str):
        return [_join(data_root, part) for part in path]
    return os.path.join(os.path.expanduser(data_root), os.path.expanduser(path))
