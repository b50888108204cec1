"""Aff-Wild2's expression track as a dataset of mmpretrain."""

import copy
import logging
import os
from collections.abc import Sequence

import numpy as np
import torch
from mmengine.dataset import force_full_init
from mmengine.logging import print_log
from mmpretrain.datasets import BaseDataset
from mmpretrain.registry import DATASETS
from torch.utils.data import get_worker_info

from abaw_mm.datasets.annotations import (
    EXPRESSIONS,
    read_annotation_folder,
    read_clip_names,
    read_frame_list,
)
from abaw_mm.datasets.crops.crop_folder import (
    crop_path,
    list_crops,
)
from abaw_mm.datasets.crops.load_face_crop import UnreadableFrameError
from abaw_mm.datasets.crops.packed_crops import open_crops
from abaw_mm.datasets.frame_index import (
    FrameIndex,
    find_listed_crops,
    join_labels_and_crops,
)
from abaw_mm.datasets.index_cache import IndexCache
from abaw_mm.errors import shorten

STOP, NEAREST = 'stop', 'nearest'  # what to do at a frame that cannot be read
COUNTERS = 64


@DATASETS.register_module()
class AffWild2Dataset(BaseDataset):
    """Frames of Aff-Wild2 with their expressions, or the challenge's list of test frames.

    Every edition of the challenge fits; only ``ann_file`` and ``data_prefix`` differ. The i-th
    label line of ``<clip>.txt`` after the header, i from 0, belongs to the crop numbered
    ``i + start_index``. Frames labelled -1 are dropped, frames without a crop are left out, and
    one summary line counts both.

    The rows live in three arrays, not in an object per frame (``frames``); a data info is made
    when it is asked for: ``img_path``, ``clip`` (str), ``frame_no`` (int, the number in the file
    name), ``sample_idx``, and ``gt_label`` (int, 0..7) unless the labels are hidden.

    Args:
        ann_file (str | Sequence[str]): Folder of official annotation files, such as
            ``annotations/EXPR_Recognition_Challenge/Train_Set``, or several whose clips are taken
            together, as for folds; or the challenge's list of frames, which makes a test set
            without labels.
        data_root (str): Folder that the other paths start from.
        data_prefix (str | Sequence[str] | dict): Folder of the crops, ``<clip>/00001.jpg`` under
            it, or several (``dict(img_path=[...])``), for an archive that was not merged; the
            first that holds a frame counts. One that ends in ``.lmdb`` is a store that
            ``tools/dataset_converters/pack_affwild2.py`` made. Defaults to ``'cropped_aligned'``.
        pipeline (Sequence): Transforms.
        test_mode (bool): As in mmengine's ``BaseDataset``: a frame that the pipeline cannot
            deliver is an error instead of being replaced by another one.
        start_index (int): Number of a clip's first frame. Defaults to 1, as in the official
            crops. 0 only fits crops that were cut with numbers from 0; what contradicts the files
            on disk is an error.
        filename_tmpl (str): File name of a frame. Defaults to ``'{:05d}.jpg'``; crops that end in
            ``.png`` instead are found, too, and the other way round.
        clips (Sequence[str] | str, optional): Names of the clips to keep, as for a fold, or a
            text file with a name a line, relative to ``data_root``. Defaults to all.
        index_cache (str, optional): Folder in which the rows are kept for the next start, in a file
            that is made anew when annotations or crops change; relative to ``data_root``, or to
            the folder of ``ann_file`` where that is empty. None lists all folders at each start.
            Defaults to ``'.frame_index'``.
        unreadable (str): What a training does at a frame that cannot be read whole: ``'stop'`` with
            the file's name, or take the ``'nearest'`` frame of the clip that can be read, and count
            it (``replaced``). With ``test_mode`` it always stops. For pipelines that begin with
            ``LoadFaceCrop``. Defaults to ``'stop'``.
        indices (int | Sequence[int], optional): The first n frames (the last n for a negative
            number), or these rows.
        metainfo (dict, optional): Merged into ``METAINFO``.
        lazy_init (bool): Leave reading the folders to ``full_init()``.
        max_refetch (int): As in mmengine's ``BaseDataset``.
        classes (str | Sequence[str], optional): As in mmpretrain's ``BaseDataset``.

    Attributes:
        frames (FrameIndex): The rows of this dataset.
        replaced (Tensor): (64, ) int64, how often each worker took the nearest frame instead.
        listed (FrameIndex | None): For a list of frames, every line it names in its order, with
            and without a crop (``root_id`` -1); None for annotations.

    Raises:
        FileNotFoundError: For a folder or file that is not there.
        ValueError: For annotations that are no official ones, naming the file and the line.
    """

    METAINFO = {'classes': EXPRESSIONS}

    def __init__(
        self,
        ann_file: str | Sequence[str],
        data_root: str = '',
        data_prefix: str | Sequence[str] | dict = 'cropped_aligned',
        pipeline: Sequence = (),
        test_mode: bool = False,
        start_index: int = 1,
        filename_tmpl: str = '{:05d}.jpg',
        clips: Sequence[str] | str | None = None,
        index_cache: str | None = '.frame_index',
        unreadable: str = STOP,
        indices: int | Sequence[int] | None = None,
        metainfo: dict | None = None,
        lazy_init: bool = False,
        max_refetch: int = 1000,
        classes: str | Sequence[str] | None = None,
    ) -> None:
        if not isinstance(start_index, int) or start_index < 0:
            raise ValueError(
                f"AffWild2Dataset: start_index={start_index!r}, expected the number of a clip's "
                'first crop, 1 for the official ones; set start_index'
            )
        self.start_index = start_index
        self.filename_tmpl = filename_tmpl
        self.clips = clips
        self.index_cache = index_cache
        if unreadable not in (STOP, NEAREST):
            raise ValueError(
                f'AffWild2Dataset: unreadable={unreadable!r}, expected {STOP!r} or {NEAREST!r}; '
                'set train_dataloader.dataset.unreadable'
            )
        self.unreadable = unreadable
        # Shared memory, in which each worker counts for itself.
        self.replaced = torch.zeros(COUNTERS, dtype=torch.int64).share_memory_()
        self.listed: FrameIndex | None = None
        if not isinstance(data_prefix, dict):
            data_prefix = dict(img_path=data_prefix)
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=data_prefix,
            indices=indices,
            serialize_data=False,  # the arrays are shared between processes as they are
            pipeline=pipeline,
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
            classes=classes,
        )

    # ------------------------------------------------------------------------------- reading

    @property
    def img_roots(self) -> list[str]:
        """Folders of the crops."""
        roots = self.data_prefix['img_path']
        return [roots] if isinstance(roots, str) else list(roots)

    @property
    def ann_files(self) -> list[str]:
        """Folders of annotations, or the one list of frames."""
        return [self.ann_file] if isinstance(self.ann_file, str) else list(self.ann_file)

    def _is_list(self) -> bool:
        """Whether ``ann_file`` is the challenge's list of frames."""
        return isinstance(self.ann_file, str) and os.path.isfile(self.ann_file)

    def _join_prefix(self) -> None:
        """Let paths start at ``data_root``; mmengine's own takes no list of folders."""

        def join(path: str) -> str:
            return os.path.join(os.path.expanduser(self.data_root), os.path.expanduser(path))

        if self.data_prefix.get('img_path') in (None, [], ()):
            raise ValueError(
                f'AffWild2Dataset: data_prefix={self.data_prefix}, expected a folder of crops or '
                "several under the key img_path; set data_prefix=dict(img_path='cropped_aligned')"
            )
        if isinstance(self.ann_file, str):
            self.ann_file = join(self.ann_file)
        else:
            self.ann_file = [join(path) for path in self.ann_file]
        if isinstance(self.clips, str):
            self.clips = join(self.clips)
        self.data_prefix = {
            key: join(value) if isinstance(value, str) else [join(path) for path in value]
            for key, value in self.data_prefix.items()
        }
        self._roots = [open_crops(root, self.filename_tmpl) for root in self.img_roots]

    def full_init(self) -> None:
        """Read the annotations and list the crops, once; logs one summary line."""
        if self._fully_initialized:
            return
        for root in self.img_roots:
            if not os.path.isdir(root):
                raise FileNotFoundError(
                    f'AffWild2Dataset: no folder of crops {root!r}, expected <clip>/00001.jpg '
                    'under it, or a store that tools/dataset_converters/pack_affwild2.py made; set '
                    'data_root of that dataset (train_dataloader.dataset.data_root, val_..., '
                    'test_...; one at the top of a config reaches none) and data_prefix relative '
                    'to it'
                )
        clips = read_clip_names(self.clips, type(self).__name__)
        if not self.ann_files:
            raise ValueError(
                f'AffWild2Dataset: ann_file={self.ann_file!r}, expected a folder of <clip>.txt, or '
                'several; set ann_file'
            )
        for path in self.ann_files:
            if not (os.path.isdir(path) or self._is_list()):
                raise FileNotFoundError(
                    f'AffWild2Dataset: no folder or file {path!r}, expected a folder of '
                    "<clip>.txt (or several), or the challenge's list of frames; set data_root, "
                    'and ann_file relative to it'
                )
        frames = self._read_index(clips)
        if self._is_list():
            self.listed = frames
            frames = frames.take(frames.root_id >= 0)
        self.frames = frames
        self._log_summary()
        if self._indices is not None:
            self.frames = frames.take(self._rows(self._indices))
        self._fully_initialized = True

    def _read_index(self, clips: Sequence[str] | None) -> FrameIndex:
        """The rows from the cache, or from the folders, and then into the cache."""
        read = self._read_list if self._is_list() else self._read_annotations
        beside = os.path.expanduser(self.data_root) or os.path.dirname(
            os.path.normpath(self.ann_files[0])
        )
        if self.index_cache is None or not os.path.isdir(beside or '.'):
            return read(clips)
        cache = IndexCache(
            os.path.join(beside, self.index_cache),
            self.ann_file,
            self._roots,
            start_index=self.start_index,
            filename_tmpl=self.filename_tmpl,
            clips=None if clips is None else sorted(clips),
        )
        frames = cache.load()
        if frames is None:
            frames = read(clips)
            cache.save(frames)
            frames = cache.load() or frames  # from now on shared with the other processes
        return frames

    def _read_annotations(self, clips: Sequence[str] | None) -> FrameIndex:
        labels = read_annotation_folder(self.ann_file, clips)
        crops = list_crops(self._roots, labels)
        frames = join_labels_and_crops(labels, crops, self.start_index)
        if not len(frames):
            raise ValueError(
                f'AffWild2Dataset: no frame of {", ".join(self.ann_files)} has both a label and '
                f'a crop ({frames.counts["lines"]} lines, {frames.counts["unlabelled"]} of them '
                '-1), expected at least one; check that the crops belong to these annotations'
            )
        return frames

    def _read_list(self, clips: Sequence[str] | None) -> FrameIndex:
        clips, clip_id, frame_no = read_frame_list(self.ann_file, self.filename_tmpl, clips)
        crops = list_crops(self._roots, clips)
        listed = find_listed_crops(clips, clip_id, frame_no, crops)
        if not np.any(listed.root_id >= 0):
            raise ValueError(
                f'AffWild2Dataset: none of the {len(frame_no)} frames of {self.ann_file} has a '
                f'crop in {self.img_roots}; check data_prefix and filename_tmpl'
            )
        return listed

    def _log_summary(self) -> None:
        counts, frames = self.frames.counts, self.frames
        line = (
            f'AffWild2Dataset {", ".join(self.ann_files)}: {counts["clips"]} clips, '
            f'{counts["lines"]} lines, '
            f'{counts["unlabelled"]} unlabelled (-1), '
            f'{counts["missing"]} {"labelled " if self.listed is None else ""}without a crop, '
            f'{len(frames)} kept'
        )
        if self.listed is None:
            per_class = np.bincount(frames.label, minlength=len(EXPRESSIONS))
            pairs = zip(EXPRESSIONS, per_class, strict=True)
            line += ' (' + ', '.join(f'{name} {number}' for name, number in pairs) + ')'
        else:
            line += ' (test set, labels hidden)'
        print_log(line, logger='current')
        if counts['no_folder']:
            print_log(
                f'AffWild2Dataset: {len(counts["no_folder"])} of {counts["clips"]} clips have no '
                f'crop at all: {shorten(counts["no_folder"])}. Some archives come in parts (such '
                'as cropped_aligned_new_50_vids): unpack them into one folder, or list both in '
                'data_prefix=dict(img_path=[...]).',
                logger='current',
                level=logging.WARNING,
            )
        if counts['overhang']:
            clip, last, lines = counts['overhang'][0]
            print_log(
                f'AffWild2Dataset: {len(counts["overhang"])} clips have crops beyond their last '
                f'label, such as {clip!r} with crops up to {last} for {lines} labels; official '
                'crops never do. Crops and annotations may be of different editions.',
                logger='current',
                level=logging.WARNING,
            )

    # -------------------------------------------------------------------------------- access

    @force_full_init
    def __len__(self) -> int:
        return len(self.frames)

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """One frame: ``img_path``, ``clip``, ``frame_no``, ``sample_idx``, ``gt_label``."""
        idx = range(len(self.frames))[idx]  # negative as in a list, IndexError beyond the end
        frames = self.frames
        clip, frame_no = frames.clips[frames.clip_id[idx]], int(frames.frame_no[idx])
        info = dict(
            img_path=crop_path(self._roots, clip, frame_no, int(frames.root_id[idx])),
            clip=clip,
            frame_no=frame_no,
            sample_idx=idx,
        )
        if self.listed is None:
            info['gt_label'] = int(frames.label[idx])
        return info

    @force_full_init
    def get_gt_labels(self) -> np.ndarray:
        """Labels of all frames, (F, ) int64.

        Raises:
            ValueError: For a list of frames, whose labels are hidden.
        """
        if self.listed is not None:
            raise ValueError(
                f'AffWild2Dataset: {self.ann_file} is a list of test frames, its labels are '
                'hidden; use a folder of annotation files where labels are needed'
            )
        return self.frames.label.astype(np.int64)

    def get_cat_ids(self, idx: int) -> list[int]:
        """The label of one frame, in a list as in mmpretrain."""
        info = self.get_data_info(idx)
        if 'gt_label' not in info:
            self.get_gt_labels()  # explains
        return [info['gt_label']]

    def prepare_data(self, idx: int) -> object:
        """One frame through the pipeline; where it cannot be read, what ``unreadable`` says."""
        try:
            return super().prepare_data(idx)
        except UnreadableFrameError as error:
            if self.unreadable == STOP or self.test_mode:
                raise
            return self._nearest(idx, error)

    def _nearest(self, idx: int, error: UnreadableFrameError) -> object:
        """The nearest frame of the clip that can be read, with its own label."""
        frames = self.frames
        rows = np.flatnonzero(frames.clip_id == frames.clip_id[idx])
        distance = np.abs(frames.frame_no[rows] - frames.frame_no[idx])
        for row in rows[np.argsort(distance, kind='stable')]:
            if row == idx:
                continue
            try:
                data = super().prepare_data(int(row))
            except UnreadableFrameError:
                continue
            worker = get_worker_info()
            self.replaced[0 if worker is None else worker.id % COUNTERS] += 1
            path = self.get_data_info(idx)['img_path']
            print_log(
                f'Unreadable, the nearest frame stands in: {path}: {error.reason}',
                logger='current',
                level=logging.WARNING,
            )
            return data
        raise FileNotFoundError(
            f'AffWild2Dataset: no frame of the clip {frames.clips[frames.clip_id[idx]]!r} can be '
            f'read, expected at least one; {error}'
        ) from error

    # ------------------------------------------------------------------------------- subsets

    def _rows(self, indices: int | Sequence[int]) -> np.ndarray:
        """Row numbers of mmengine's ``indices``: n for the first n, -n for the last n."""
        size = len(self.frames)
        if isinstance(indices, (int, np.integer)):
            rows = np.arange(size)
            rows = rows[:indices] if indices >= 0 else rows[indices:]
            fits = abs(indices) <= size
        else:
            rows = np.asarray(indices, dtype=np.int64).reshape(-1)
            fits = not len(rows) or (-size <= rows.min() and rows.max() < size)
        if not fits:
            raise ValueError(
                f'AffWild2Dataset: indices={shorten(np.atleast_1d(indices).tolist())} of {size} '
                'frames, expected no more than there are; correct indices'
            )
        return rows

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep only these rows, in place."""
        self.frames = self.frames.take(self._rows(indices))

    @force_full_init
    def get_subset(self, indices: int | Sequence[int]) -> 'AffWild2Dataset':
        """A dataset of these rows; the other attributes are copied."""
        subset = self._copy_without_annotation()
        subset.frames = self.frames.take(self._rows(indices))
        return subset

    def _copy_without_annotation(self, memo: dict | None = None) -> 'AffWild2Dataset':
        """Copy all but columns and counters: nobody writes to the former, all to the latter."""
        memo = {} if memo is None else memo
        other = self.__class__.__new__(self.__class__)
        memo[id(self)] = other
        for key, value in self.__dict__.items():
            shared = key in ('frames', 'listed', 'replaced')
            setattr(other, key, value if shared else copy.deepcopy(value, memo))
        return other
