"""Aff-Wild2 as a dataset of mmpretrain."""

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

from abaw_mm.checks import at_least, check_arguments, one_of
from abaw_mm.datasets.crops.crop_folder import crop_path, explain_names, list_crops
from abaw_mm.datasets.crops.load_face_crop import UnreadableFrameError
from abaw_mm.datasets.crops.packed_crops import open_crops
from abaw_mm.datasets.frame_index import FrameIndex, FrameReader, join_paths
from abaw_mm.datasets.index_cache import IndexCache
from abaw_mm.datasets.pseudo_labels import check_official
from abaw_mm.errors import InvalidValueError, MissingFileError, shorten
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import EXPRESSIONS, TASKS, Target, get_targets

STOP, NEAREST = 'stop', 'nearest'  # what to do if a frame cannot be read


@DATASETS.register_module()
class AffWild2Dataset(BaseDataset):
    """Frames of Aff-Wild2 with their annotations, or the challenge's list of test frames.

    The layout of the official archives::

        data_root
        ├── annotations/EXPR_Recognition_Challenge
        │   ├── Train_Set/video1.txt, ...
        │   └── Validation_Set/video2_left.txt, ...
        └── cropped_aligned
            ├── video1/00001.jpg, 00002.jpg, ...
            └── video2_left/00001.jpg, ...

    The first lines of an annotation file, whose i-th label (from 0) belongs to the crop numbered
    ``i + start_index``::

        Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other
        4

    The other tracks have folders of the same form, ``VA_Estimation_Challenge`` and
    ``AU_Detection_Challenge``, whose files have two or twelve numbers per line. The multi-task
    track has one file for all clips, ``MTL_Challenge/training_set_annotations.txt``, which names
    the image in each line; it may repeat images, and every line is a sample.

    All editions of the challenge work; only ``ann_file`` and ``data_prefix`` differ. Frames
    that are not annotated and frames without a crop are left out, and one summary line counts both.
    A line of the multi-task track is kept if any of its parts is annotated.

    Frames are kept in arrays, not in one object per frame. A data info is made on demand:
    ``img_path``, ``clip`` (str), ``frame_no`` (int), ``sample_idx``, and, unless labels are hidden,
    the targets of the track: ``gt_label`` (int, 0..7), ``gt_va`` (2,) float32 in [-1, 1], ``gt_au``
    (12,) int64 of 0 and 1. Parts of the multi-task track that are not annotated are -1, -5 and -1.

    Args:
        ann_file (str | Sequence[str]): Folder of official annotation files, several folders whose
            clips are combined (as for folds), or the challenge's list of frames, which makes a
            test set without labels.
        data_root (str): Folder that the other paths are relative to.
        task (str): Track: ``'expr'`` (expressions), ``'va'`` (valence and arousal), ``'au'``
            (action units) or ``'mtl'`` (all three). Defaults to ``'expr'``.
        data_prefix (str | Sequence[str] | dict): Folder of the crops, or several
            (``dict(img_path=[...])``), for an archive that was not merged; the first folder that
            holds a frame is used. A name that ends in ``.lmdb`` is a store made by
            ``tools/dataset_converters/pack_affwild2.py``. Defaults to ``'cropped_aligned'``.
        pipeline (Sequence): Transforms.
        test_mode (bool): Raise if a frame cannot be loaded instead of substituting another, as in
            mmengine's ``BaseDataset``.
        start_index (int): Number of a clip's first frame. Defaults to 1, as in the official
            crops. 0 only fits crops that were numbered from 0; a contradiction to the files on
            disk is an error.
        filename_tmpl (str): File name of a frame. Defaults to ``'{:05d}.jpg'``. Crops that end in
            ``.png`` instead are found, too, and the other way round.
        clips (Sequence[str] | str, optional): Names of the clips to keep, as for a fold, or a
            text file with one name per line, relative to ``data_root``. Defaults to all.
        index_cache (str, optional): Folder that caches the frames for the next start, relative to
            ``data_root``, or to the folder of ``ann_file`` if that is empty. The cache is
            rebuilt when annotations or crops change. None lists all folders at each start.
            Defaults to ``'.frame_index'``.
        unreadable (str): What a training does if a frame cannot be read: ``'stop'`` with the name
            of the file, or use the ``'nearest'`` readable frame of the clip and count it
            (``replaced``). With ``test_mode`` it always stops. Needs a pipeline that begins with
            ``LoadFaceCrop``. Defaults to ``'stop'``.
        indices (int | Sequence[int], optional): The first n frames (the last n for a negative
            number), or these rows.
        metainfo (dict, optional): Merged into ``METAINFO``.
        lazy_init (bool): Defer scanning the folders until ``full_init()``.
        max_refetch (int): As in mmengine's ``BaseDataset``.
        classes (str | Sequence[str], optional): As in mmpretrain's ``BaseDataset``.

    Attributes:
        frames (FrameIndex): The frames of this dataset.
        labelled (bool): Whether frames have labels.
        listed (FrameIndex | None): All frames of a list in its order, with and without a crop
            (``source`` -1). None for annotations.
        replaced (Tensor): (1, ) int64, how often the nearest frame was used instead, in all
            workers. Two workers that count at the same moment may count once.

    Raises:
        FileNotFoundError: If a folder or file does not exist.
        ValueError: If an argument or an annotation file is invalid.
    """

    METAINFO = {'classes': EXPRESSIONS}
    data_prefix: dict
    _fully_initialized: bool

    @check_arguments(
        'train_dataloader.dataset',
        start_index=at_least(0),
        unreadable=one_of(STOP, NEAREST),
        max_refetch=at_least(0),
        task=one_of(*TASKS),
    )
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
        task: str = 'expr',
    ) -> None:
        self.reader = FrameReader(
            ann_file,
            data_root=data_root,
            start_index=start_index,
            filename_tmpl=filename_tmpl,
            clips=clips,
            owner=type(self).__name__,
            task=task,
        )
        self.task = task
        self.start_index = start_index
        self.filename_tmpl = filename_tmpl
        self.clips = self.reader.clips
        self.index_cache = index_cache
        self.unreadable = unreadable
        self.replaced = torch.zeros(1, dtype=torch.int64).share_memory_()
        self.labelled = self.reader.is_labelled
        self.listed: FrameIndex | None = None
        own_metainfo = make_metainfo(task)
        names = own_metainfo.pop('classes')
        if classes is None:  # which mmpretrain prefers only to its class attribute
            metainfo = dict(classes=names) | (metainfo or {})
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=data_prefix if isinstance(data_prefix, dict) else {'img_path': data_prefix},
            indices=indices,
            serialize_data=False,  # all processes share the arrays
            pipeline=pipeline,
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch,
            classes=classes,
        )
        self._metainfo.update(own_metainfo)  # a text given to mmengine would be read as a file

    def _join_prefix(self) -> None:
        """Join paths with ``data_root``; mmengine's method takes no list of folders."""
        _check_data_prefix(self.data_prefix)
        self.ann_file = self.reader.ann_file
        self.data_prefix = {k: join_paths(self.data_root, v) for k, v in self.data_prefix.items()}
        roots = self.data_prefix['img_path']
        self.img_roots = [roots] if isinstance(roots, str) else roots
        self.roots = [open_crops(root, self.filename_tmpl) for root in self.img_roots]

    # ------------------------------------------------------------------------------- reading

    def full_init(self) -> None:
        """Read the annotations and list the crops, once; log one summary line."""
        if self._fully_initialized:
            return
        _check_img_roots(self.img_roots)
        self.frames = self._read_frames()
        if not self.labelled:
            self.listed = self.frames
            self.frames = self.listed.take(self.listed['source'] >= 0)
        self._log_summary()
        if self.test_mode:
            check_official(self.frames.counts, type(self).__name__)
        if self._indices is not None:
            self.frames = self.frames.take(self._rows(self._indices))
        self._fully_initialized = True

    def _read_frames(self) -> FrameIndex:
        """Load the frames from the cache, or read them and fill the cache."""
        clips = self.reader.read_clip_names()
        first = os.path.dirname(os.path.normpath(self.reader.ann_files[0]))
        folder = os.path.expanduser(self.data_root) or first
        if self.index_cache is None or not os.path.isdir(folder or '.'):
            return self.reader.read(self._list_crops)
        cache = IndexCache(
            os.path.join(folder, self.index_cache),
            self.ann_file,
            self.roots,
            start_index=self.start_index,
            filename_tmpl=self.filename_tmpl,
            clips=None if clips is None else sorted(clips),
            **({} if self.task == 'expr' else dict(task=self.task)),
        )
        frames = cache.load()
        if frames is not None:
            return frames

        def list_and_stamp(clips: Sequence[str]) -> FrameTable:
            cache.stamp(clips)  # before listing: what changes meanwhile is seen at the next start
            return self._list_crops(clips)

        frames = self.reader.read(list_and_stamp)
        cache.save(frames)
        return cache.load() or frames  # a memory map, which all processes share

    def _list_crops(self, clips: Sequence[str]) -> FrameTable:
        crops = list_crops(self.roots, clips)
        names = '' if len(crops) else explain_names(self.roots, clips)
        if names:
            raise MissingFileError(f'{type(self).__name__}: {names} of all datasets')
        return crops

    def _log_summary(self) -> None:
        counts, frames = self.frames.counts, self.frames
        pseudo = f'{counts["pseudo"]} pseudo-labels, ' if 'pseudo' in counts else ''
        line = (
            f'{type(self).__name__} {", ".join(self.reader.ann_files)}: {counts["clips"]} clips, '
            f'{counts["lines"]} lines, {pseudo}{counts["unlabelled"]} {_NAMES[self.task]}, '
            f'{counts["missing"]} {"labelled " if self.labelled else ""}without a crop, '
            f'{len(frames)} kept'
        )
        if not self.labelled:
            line += ' (test set, labels hidden)'
        else:
            line += f' ({describe_targets(frames, self.reader.targets)})'
        print_log(line, logger='current')
        if counts['no_folder']:
            names = explain_names(self.roots, counts['no_folder'])
            advice = (
                f'{names}, if all crops are named so, or rename them'
                if names
                else 'Some archives come in parts (such as cropped_aligned_new_50_vids): unpack '
                'them into one folder, or list both in data_prefix=dict(img_path=[...])'
            )
            print_log(
                f'{len(counts["no_folder"])} of {counts["clips"]} clips have no crop at all: '
                f'{shorten(counts["no_folder"])}. {advice}.',
                logger='current',
                level=logging.WARNING,
            )
        if counts['overhang']:
            clip, last, lines = counts['overhang'][0]
            print_log(
                f'{len(counts["overhang"])} clips have crops beyond their last label, such as '
                f'{clip!r} with crops up to {last} for {lines} labels; official crops never do. '
                'Crops and annotations may be of different editions.',
                logger='current',
                level=logging.WARNING,
            )

    # -------------------------------------------------------------------------------- access

    @force_full_init
    def __len__(self) -> int:
        return len(self.frames)

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Return ``img_path``, ``clip``, ``frame_no``, ``sample_idx`` and targets of one frame.

        Targets are those of the track, as ``gt_label``, ``gt_va`` and ``gt_au``, and any further
        column of ``frames``.
        """
        idx = range(len(self.frames))[idx]  # negative as in a list, IndexError beyond the end
        frames = self.frames
        clip, frame_no = frames.clips[frames.clip_id[idx]], int(frames.frame_no[idx])
        info = dict(
            img_path=crop_path(self.roots, clip, frame_no, int(frames['source'][idx])),
            clip=clip,
            frame_no=frame_no,
            sample_idx=idx,
        )
        targets = {target.column: target for target in self.reader.targets}
        for name, column in frames.columns.items():
            if name not in targets:
                if name != 'source':
                    info[name] = column[idx]
            elif self.labelled:
                value = column[idx]
                info[targets[name].ground_truth] = value if value.ndim else int(value)
        return info

    @force_full_init
    def get_gt_labels(self) -> np.ndarray:
        """Return the labels of all frames, (F, ) int64.

        Raises:
            ValueError: If labels are hidden, as those of a list of frames.
        """
        if not self.labelled:
            raise InvalidValueError(
                f'{type(self).__name__}: {self.ann_file} has hidden labels, expected annotations; '
                'set ann_file to a folder of annotation files where labels are needed'
            )
        if 'label' not in self.frames.columns:
            raise InvalidValueError(
                f'{type(self).__name__}: got task={self.task!r}, which has no classes, expected '
                "'expr' or 'mtl' where labels of classes are needed"
            )
        return self.frames['label'].astype(np.int64)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Return the label of one frame, or its action units, in a list as in mmpretrain."""
        if self.task == 'au' and self.labelled:
            return np.flatnonzero(self.get_data_info(idx)['gt_au'] == 1).tolist()
        self.get_gt_labels()  # raises unless there are labels of classes
        return [self.get_data_info(idx)['gt_label']]

    def prepare_data(self, idx: int) -> object:
        """Run one frame through the pipeline; ``unreadable`` decides if it cannot be read."""
        try:
            return super().prepare_data(idx)
        except UnreadableFrameError as error:
            if self.unreadable == STOP or self.test_mode:
                raise
            return self._prepare_nearest(idx, error)

    def _prepare_nearest(self, idx: int, error: UnreadableFrameError) -> object:
        """Prepare the nearest readable frame of the clip, with its own label."""
        frames = self.frames
        rows = np.flatnonzero(frames.clip_id == frames.clip_id[idx])
        distance = np.abs(frames.frame_no[rows] - frames.frame_no[idx])
        for row in rows[np.argsort(distance, kind='stable')].tolist():
            if row == idx:
                continue
            try:
                data = super().prepare_data(row)
            except UnreadableFrameError:
                continue
            self.replaced += 1
            print_log(
                f'Unreadable, using the nearest frame instead: '
                f'{self.get_data_info(idx)["img_path"]}: {error.reason}',
                logger='current',
                level=logging.WARNING,
            )
            return data
        raise MissingFileError(
            f'{type(self).__name__}: no frame of the clip {frames.clips[frames.clip_id[idx]]!r} '
            f'can be read, expected at least one; {error}'
        ) from error

    # ------------------------------------------------------------------------------- subsets

    def _rows(self, indices: int | Sequence[int]) -> np.ndarray:
        """Return the row numbers of mmengine's ``indices``: n for the first n, -n for the last."""
        size = len(self.frames)
        if isinstance(indices, (int, np.integer)):
            rows = np.arange(size)
            rows = rows[:indices] if indices >= 0 else rows[indices:]
            fits = abs(indices) <= size
        else:
            rows = np.asarray(indices, dtype=np.int64).reshape(-1)
            fits = not len(rows) or (-size <= rows.min() and rows.max() < size)
        if not fits:
            raise InvalidValueError(
                f'{type(self).__name__}: indices={shorten(np.atleast_1d(indices).tolist())} of '
                f'{size} frames, expected indices within the dataset; correct indices'
            )
        return rows

    @force_full_init
    def get_subset_(self, indices: int | Sequence[int]) -> None:
        """Keep only these rows, in place."""
        self.frames = self.frames.take(self._rows(indices))

    @force_full_init
    def get_subset(self, indices: int | Sequence[int]) -> 'AffWild2Dataset':
        """Return a dataset of these rows; other attributes are copied."""
        subset = self._copy_without_annotation()
        subset.frames = self.frames.take(self._rows(indices))
        return subset

    def _copy_without_annotation(self, memo: dict | None = None) -> 'AffWild2Dataset':
        """Copy all but the tables, which never change, and the counter, which all share."""
        memo = {} if memo is None else memo
        other = self.__class__.__new__(self.__class__)
        memo[id(self)] = other
        for key, value in self.__dict__.items():
            shared = key in ('frames', 'listed', 'replaced')
            setattr(other, key, value if shared else copy.deepcopy(value, memo))
        return other


_NAMES = dict(
    expr='unlabelled (-1)',
    va='not annotated (-5)',
    au='not annotated (-1)',
    mtl='without any annotation',
)


def make_metainfo(task: str) -> dict:
    """Return the names of what a track annotates, which checkpoints keep.

    >>> make_metainfo('va')
    {'classes': ('valence', 'arousal'), 'task': 'va'}
    """
    if task == 'expr':
        return dict(classes=EXPRESSIONS)
    classes = EXPRESSIONS if task == 'mtl' else get_targets(task)[0].names
    return dict(classes=classes, task=task)


def describe_targets(frames: FrameTable, targets: Sequence[Target]) -> str:
    """Describe the annotations of frames, for the summary.

    >>> table = FrameTable.from_clips({'a': [1, 2]}, va={'a': np.float32([[.5, 0], [-.5, .5]])})
    >>> describe_targets(table, get_targets('va'))
    'valence 0.00 ± 0.50, arousal 0.25 ± 0.25'
    """
    parts = []
    for target in targets:
        values = frames[target.column]
        # Frames are kept for their only target; with several, any of them may be missing.
        known = values if len(targets) == 1 else values[target.is_annotated(values)]
        if target.is_class:
            counts = np.bincount(known, minlength=len(target.names))
            pairs = zip(target.names, counts.tolist(), strict=True)
            text = ', '.join(f'{name} {number}' for name, number in pairs)
        elif not len(known):
            text = f'no {" or ".join(target.names)}'
        elif target.column == 'au':
            shares = zip(target.names, known.mean(axis=0), strict=True)
            text = ', '.join(f'{name} {share:.1%}' for name, share in shares)
        else:
            moments = zip(
                target.names,
                known.mean(axis=0, dtype=np.float64),
                known.std(axis=0, dtype=np.float64),
                strict=True,
            )
            text = ', '.join(f'{name} {mean:.2f} ± {std:.2f}' for name, mean, std in moments)
        parts.append(text if len(targets) == 1 else f'{len(known)} rows with {text}')
    return '; '.join(parts)


def _check_data_prefix(data_prefix: dict) -> None:
    """Raise ValueError if ``data_prefix`` names no folder of crops."""
    if data_prefix.get('img_path') in (None, [], ()):
        raise InvalidValueError(
            f'AffWild2Dataset: data_prefix={data_prefix}, expected a folder of crops or several '
            "under the key img_path; set data_prefix=dict(img_path='cropped_aligned')"
        )


def _check_img_roots(img_roots: Sequence[str]) -> None:
    """Raise FileNotFoundError if a folder of crops does not exist."""
    for root in img_roots:
        if not os.path.isdir(root):
            raise MissingFileError(
                f'AffWild2Dataset: no folder of crops {root!r}, expected <clip>/00001.jpg in it, '
                'or a store made by tools/dataset_converters/pack_affwild2.py; set data_root of '
                'that dataset (train_dataloader.dataset.data_root, val_..., test_...; a top-level '
                'data_root has no effect), and data_prefix relative to it'
            )
