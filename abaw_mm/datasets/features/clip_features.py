"""Windows of consecutive frames over features, for temporal models."""

import os
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

from abaw_mm.checks import at_least, between, check_arguments
from abaw_mm.datasets.annotations import EXPRESSIONS
from abaw_mm.datasets.features.feature_folder import FeatureFolder
from abaw_mm.datasets.frame_index import FrameIndex, FrameReader
from abaw_mm.errors import InvalidValueError
from abaw_mm.structures import FrameTable


@DATASETS.register_module()
class ClipFeatureDataset(Dataset):
    """Windows over the features that ``tools/extract_features.py`` wrote, with official labels.

    Time is counted in frame numbers. A window has ``window`` consecutive frames of one clip that
    are scored, and ``context`` more frames on either side that are inputs only. A frame without a
    crop keeps its position and is masked, like positions beyond the ends of the clip. No window
    reaches into another clip.

    Labels are assigned to frames by the code of ``AffWild2Dataset``, and the same frames are
    scored: labelled ones with a crop, or those of the challenge's list with a crop. If ``step``
    equals ``window``, each of them is in exactly one window. Windows without any are left out.

    An item is a dict, with W = ``window + 2 * context``:

    - ``inputs`` (W, D) float16, zero where nothing is seen
    - ``seen`` (W, ) bool, where there is a feature
    - ``scored`` (W, ) bool
    - ``frame_no`` (W, ) int64
    - ``gt_label`` (W, ) int64, -1 where nothing is scored; absent if labels are hidden
    - ``clip`` (str) and ``sample_idx`` (int)

    Args:
        feature_dir (str): Folder of features.
        ann_file (str | Sequence[str]): As in ``AffWild2Dataset``.
        data_root (str): Folder that ``ann_file`` and ``clips`` are relative to.
        window (int): Number of scored frames per window. Defaults to 256.
        context (int): Number of frames on either side that are inputs only. Defaults to 0.
        step (int, optional): Frames from the start of one window to the next. Smaller steps make
            training windows overlap. Defaults to ``window``.
        test_mode (bool): Whether each frame must be in one window only.
        start_index (int): Number of a clip's first crop. Defaults to 1.
        filename_tmpl (str): File name of a frame, for lists. Defaults to ``'{:05d}.jpg'``.
        clips (Sequence[str] | str, optional): As in ``AffWild2Dataset``.

    Attributes:
        features (FeatureFolder): The features.
        frames (FrameIndex): The frames that are scored, sorted.
        labelled (bool): Whether frames have labels.

    Raises:
        FileNotFoundError: If a folder or file does not exist.
        ValueError: If clips have no features, or an argument is out of range.
    """

    @check_arguments(
        'train_dataloader.dataset',
        window=between(1, 10**6),
        context=between(0, 10**6),
        step=at_least(1),
        start_index=at_least(0),
    )
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
        _check_window(window, context, step, test_mode)
        self.window, self.context, self.step = window, context, step
        self.features = FeatureFolder.open(os.path.expanduser(feature_dir))
        reader = FrameReader(
            ann_file,
            data_root=data_root,
            start_index=start_index,
            filename_tmpl=filename_tmpl,
            clips=clips,
            owner=type(self).__name__,
        )
        frames = reader.read(self._list_features)
        self.labelled = reader.is_labelled
        self.frames: FrameIndex = frames.take(frames['source'] >= 0).sort()
        self.window_clip, self.window_start = self._place_windows()
        print_log(
            f'ClipFeatureDataset {ann_file}: {len(self)} windows of {window} frames and {context} '
            f'on either side, {len(self.frames)} frames of {len(self.frames.clips)} clips scored; '
            f'{self.features.dim} features per frame ({self.features.meta["layer"]} of '
            f'{self.features.meta["config"]})',
            logger='current',
        )

    def _list_features(self, clips: Sequence[str]) -> FrameTable:
        """Return the frames with features, as ``list_crops`` returns those with crops."""
        self.features.check(clips)
        frames = self.features.index.select_clips(clips)
        return frames.with_columns(source=np.zeros(len(frames), np.int8))

    def _place_windows(self) -> tuple[np.ndarray, np.ndarray]:
        """Return clip id and first frame of each window that holds a frame to score."""
        clip_ids, starts = [], []
        for clip_id, rows in enumerate(self.frames.rows_by_clip()):
            scored = self.frames.frame_no[rows]
            if not len(scored):
                continue
            numbers = self.features.frame_numbers(self.frames.clips[clip_id])
            start = np.arange(numbers[0], scored[-1] + 1, self.step)
            first = self.frames.search(clip_id, start)
            last = self.frames.search(clip_id, start + self.window)
            starts.append(start[last > first])
            clip_ids.append(np.full(len(starts[-1]), clip_id, np.int32))
        return np.concatenate(clip_ids), np.concatenate(starts)

    @property
    def metainfo(self) -> dict:
        """Names of the classes."""
        return dict(classes=EXPRESSIONS)

    def __len__(self) -> int:
        return len(self.window_start)

    def __getitem__(self, idx: int) -> dict:
        idx = range(len(self))[idx]  # negative as in a list, IndexError beyond the end
        clip_id, start = int(self.window_clip[idx]), int(self.window_start[idx])
        clip, first = self.frames.clips[clip_id], start - self.context
        size = self.window + 2 * self.context
        item = dict(
            inputs=np.zeros((size, self.features.dim), np.float16),
            seen=np.zeros(size, bool),
            scored=np.zeros(size, bool),
            frame_no=np.arange(first, first + size),
        )
        numbers, features = self.features.read_frames(clip, first, first + size)
        item['inputs'][numbers - first] = features
        item['seen'][numbers - first] = True
        rows = slice(*self.frames.search(clip_id, [start, start + self.window]).tolist())
        places = self.frames.frame_no[rows] - first
        item['scored'][places] = True
        if self.labelled:
            item['gt_label'] = np.full(size, -1, np.int64)
            item['gt_label'][places] = self.frames['label'][rows]
        tensors = {name: torch.from_numpy(array) for name, array in item.items()}
        return dict(tensors, clip=clip, sample_idx=idx)


def _check_window(window: int, context: int, step: int, test_mode: bool) -> None:
    """Raise ValueError if the sizes of windows are out of range."""
    if window < 1 or context < 0 or not 1 <= step <= window:
        raise InvalidValueError(
            f'ClipFeatureDataset: window={window}, context={context}, step={step}, expected '
            'window from 1, context from 0 and step in 1..window; otherwise labels are left out'
        )
    if test_mode and step != window:
        raise InvalidValueError(
            f'ClipFeatureDataset: step={step} with test_mode, expected step={window}, the '
            'window, so that each frame is scored once; remove step'
        )
