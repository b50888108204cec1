"""Windows of consecutive frames over features, for temporal models."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.logging import print_log
from mmengine.utils import apply_to
from mmpretrain.registry import DATASETS
from torch.utils.data import Dataset

from abaw_mm.checks import at_least, between, check_arguments, one_of
from abaw_mm.datasets.affwild2 import make_metainfo
from abaw_mm.datasets.features.feature_folder import FeatureFolder
from abaw_mm.datasets.frame_index import FrameIndex, FrameReader, merge_repeated_frames
from abaw_mm.datasets.pseudo_labels import check_official
from abaw_mm.errors import InvalidValueError
from abaw_mm.structures import FrameTable, name_streams
from abaw_mm.structures.tasks import TASKS


@DATASETS.register_module()
class ClipFeatureDataset(Dataset):
    """Windows over the features that ``tools/extract_features.py`` wrote, with official labels.

    Time is counted in frame numbers. A window has ``window`` consecutive frames of one clip that
    are scored, and ``context`` more frames on either side that are inputs only. A frame without a
    crop keeps its position and is masked, like positions beyond the ends of the clip. No window
    reaches into another clip.

    Labels are assigned to frames by the code of ``AffWild2Dataset``, and the same frames are
    scored: labelled ones with a crop, or those of the challenge's list with a crop. If ``step``
    equals ``window``, each of them is in exactly one window. With a smaller step, windows overlap:
    training sees frames several times, and an evaluation averages the scores of a frame over its
    windows. Windows without a frame to score are left out. A frame that the multi-task track
    repeats is scored once, with the parts of all its rows.

    Several folders are several streams, such as video and audio, each with its own width. The
    first stream decides which frames are scored, as the crops do for a frame model. A frame, or a
    whole clip, that another stream lacks is masked in that stream only.

    An item is a dict, with W = ``window + 2 * context``:

    - ``inputs`` (W, D) float16, zero where nothing is seen
    - ``seen`` (W, ) bool, where there is a feature
    - ``scored`` (W, ) bool
    - ``frame_no`` (W, ) int64
    - the targets of the track, hidden where nothing is scored, absent if labels are hidden:
      ``gt_label`` (W, ) int64, ``gt_va`` (W, 2) float32, ``gt_au`` (W, 12) int64
    - ``clip`` (str) and ``sample_idx`` (int)

    With several folders, ``inputs`` and ``seen`` are dicts of name to array.

    Features of the dataset's clips are held in memory if those of all streams together fit into
    ``memory_gb``. All workers of a process share them. Otherwise each window is read from disk.

    Args:
        feature_dir (str | Sequence[str] | dict): Folder of features, or the folders of several
            streams: a dict of name to folder, or a list, which names them ``'0'``, ``'1'``, ...
        ann_file (str | Sequence[str]): As in ``AffWild2Dataset``.
        data_root (str): Folder that ``ann_file`` and ``clips`` are relative to.
        window (int): Number of scored frames per window. Defaults to 256.
        context (int): Number of frames on either side that are inputs only. Defaults to 0.
        step (int, optional): Frames from the start of one window to the next, at most ``window``.
            Defaults to ``window``.
        test_mode (bool): Whether the windows are scored, not trained on. Pseudo-labels are
            then refused.
        start_index (int): Number of a clip's first crop. Defaults to 1.
        filename_tmpl (str): File name of a frame, for lists. Defaults to ``'{:05d}.jpg'``.
        clips (Sequence[str] | str, optional): As in ``AffWild2Dataset``.
        memory_gb (float): Largest size, in GB of 10^9 bytes, of features that are held in memory.
            Each process holds its own. 0 always reads from disk. Defaults to 4.
        task (str): Track, as in ``AffWild2Dataset``. Defaults to ``'expr'``.

    Attributes:
        streams (dict[str, FeatureFolder]): Features of each stream. The name of a single folder is
            ``''``.
        features (FeatureFolder): The features of the first stream.
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
        memory_gb=at_least(0),
        task=one_of(*TASKS),
    )
    def __init__(
        self,
        feature_dir: str | Sequence[str] | dict,
        ann_file: str | Sequence[str],
        data_root: str = '',
        window: int = 256,
        context: int = 0,
        step: int | None = None,
        test_mode: bool = False,
        start_index: int = 1,
        filename_tmpl: str = '{:05d}.jpg',
        clips: Sequence[str] | str | None = None,
        memory_gb: float = 4.0,
        task: str = 'expr',
    ) -> None:
        step = window if step is None else step
        _check_window(window, context, step)
        self.window, self.context, self.step = window, context, step
        self.streams = _open_streams(feature_dir)
        reader = FrameReader(
            ann_file,
            data_root=data_root,
            start_index=start_index,
            filename_tmpl=filename_tmpl,
            clips=clips,
            owner=type(self).__name__,
            task=task,
        )
        self.task, self.targets = task, reader.targets
        frames = reader.read(self._list_features)
        if test_mode:
            check_official(frames.counts, type(self).__name__)
        self.labelled = reader.is_labelled
        frames = frames.take(frames['source'] >= 0).sort()
        self.frames: FrameIndex = merge_repeated_frames(frames, self.targets)
        self.window_clip, self.window_start = self._place_windows()
        self._check_streams()
        held = self._hold(memory_gb)
        pseudo = frames.counts.get('pseudo')
        labels = f' ({pseudo} lines are pseudo-labels)' if pseudo else ''
        print_log(
            f'ClipFeatureDataset {ann_file}{labels}: {len(self)} windows of {window} frames and '
            f'{context} on either side, {len(self.frames)} frames of {len(self.frames.clips)} '
            f'clips scored; {self._describe_streams()}; {held}',
            logger='current',
        )

    @property
    def features(self) -> FeatureFolder:
        """The features of the first stream."""
        return next(iter(self.streams.values()))

    def _list_features(self, clips: Sequence[str]) -> FrameTable:
        """Return the frames with features, as ``list_crops`` returns those with crops."""
        self.features.check(clips)
        frames = self.features.index.select_clips(clips)
        return frames.with_columns(source=np.zeros(len(frames), np.int8))

    def _check_streams(self) -> None:
        """Raise if the features of a further stream are damaged, or it has none of the clips."""
        for name, folder in list(self.streams.items())[1:]:
            known = [clip for clip in self.frames.clips if folder.has_clip(clip)]
            if not known:
                raise InvalidValueError(
                    f'{folder.path}: got features of none of the {len(self.frames.clips)} clips, '
                    f'expected some; set feature_dir.{name} to features of these clips'
                )
            folder.check(known)

    def _hold(self, memory_gb: float) -> str:
        """Hold the features in memory if they fit; say so for the summary."""
        clips = self.frames.clips
        size = sum(folder.count_bytes(clips) for folder in self.streams.values()) / 1e9
        if size > memory_gb:
            return f'{1000 * size:.1f} MB are read from disk (memory_gb={memory_gb:g})'
        for folder in self.streams.values():
            folder.hold(clip for clip in clips if folder.has_clip(clip))
        return f'{1000 * size:.1f} MB are held in memory'

    def _describe_streams(self) -> str:
        parts = []
        for name, folder in self.streams.items():
            lacks = len(folder.index.find_missing(self.frames))
            parts.append(
                f'{name}{": " if name else ""}{folder.dim} features per frame '
                f'({folder.meta["layer"]} of {folder.meta["config"]})'
                + (f', {lacks} of the scored frames masked' if lacks else '')
            )
        return '; '.join(parts)

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
        return make_metainfo(self.task)

    def __len__(self) -> int:
        return len(self.window_start)

    def __getitem__(self, idx: int) -> dict:
        idx = range(len(self))[idx]  # negative as in a list, IndexError beyond the end
        clip_id, start = int(self.window_clip[idx]), int(self.window_start[idx])
        clip, first = self.frames.clips[clip_id], start - self.context
        size = self.window + 2 * self.context
        inputs, seen = {}, {}
        for name, folder in self.streams.items():
            inputs[name], seen[name] = _read_window(folder, clip, first, size)
        single = '' in self.streams
        item: dict[str, Any] = dict(
            inputs=inputs[''] if single else inputs,
            seen=seen[''] if single else seen,
            scored=np.zeros(size, bool),
            frame_no=np.arange(first, first + size),
        )
        rows = slice(*self.frames.search(clip_id, [start, start + self.window]).tolist())
        places = self.frames.frame_no[rows] - first
        item['scored'][places] = True
        if self.labelled:
            for target in self.targets:
                values = self.frames[target.column]
                dtype = values.dtype if values.dtype.kind == 'f' else np.int64
                column = np.full((size, *target.shape), target.hidden, dtype)
                column[places] = values[rows]
                item[target.ground_truth] = column
        return dict(apply_to(item, _is_array, torch.from_numpy), clip=clip, sample_idx=idx)


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)


def _open_streams(feature_dir: str | Sequence[str] | dict) -> dict[str, FeatureFolder]:
    """Open the folder of each stream."""
    if isinstance(feature_dir, str):
        folders = {'': feature_dir}
    else:
        folders = name_streams(feature_dir, 'ClipFeatureDataset: feature_dir')
    for name, folder in folders.items():
        if not isinstance(folder, str):
            raise InvalidValueError(
                f'ClipFeatureDataset: got feature_dir.{name}={folder!r}, expected a path'
            )
    return {name: FeatureFolder.open(os.path.expanduser(path)) for name, path in folders.items()}


def _read_window(
    folder: FeatureFolder, clip: str, first: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read a window of a stream: features (W, D), zero where none is seen, and the mask (W, )."""
    features, seen = np.zeros((size, folder.dim), np.float16), np.zeros(size, bool)
    if folder.has_clip(clip):
        numbers, features_seen = folder.read_frames(clip, first, first + size)
        features[numbers - first] = features_seen
        seen[numbers - first] = True
    return features, seen


def _check_window(window: int, context: int, step: int) -> None:
    """Raise ValueError if the sizes of windows are out of range."""
    if window < 1 or context < 0 or not 1 <= step <= window:
        raise InvalidValueError(
            f'ClipFeatureDataset: window={window}, context={context}, step={step}, expected '
            'window from 1, context from 0 and step in 1..window; otherwise labels are left out'
        )
