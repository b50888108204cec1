"""Folders of faces without labels, for pre-training."""

import logging
import os
from typing import Any

import numpy as np
from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from abaw_mm.checks import at_least, check_arguments, one_of
from abaw_mm.datasets.affwild2 import NEAREST, STOP
from abaw_mm.datasets.crops.load_face_crop import UnreadableFrameError
from abaw_mm.datasets.kept_images import KeptImages, count_bytes, fits_memory
from abaw_mm.errors import InvalidValueError, MissingFileError
from abaw_mm.files import read_json, walk_files


@DATASETS.register_module()
class FaceFolderDataset(CustomDataset):
    """All images under a folder, at any depth, without hidden files and folders.

    Any set of faces works. Of Aff-Wild2's ``cropped_aligned`` it uses all crops, including those
    of frames labelled -1 and of the test set. A data info is ``img_path`` alone.

    Args:
        data_root (str): The folder.
        unreadable (str): What to do if an image cannot be read: ``'stop'`` with the name of the
            file, or ``'nearest'``, which warns and uses a random other image (faces have no clip
            here; the name is that of ``AffWild2Dataset``). Defaults to ``'stop'``.
        keep (int): Number of transforms at the start of the pipeline whose image is kept, so that
            each face is decoded once. They must not be random and must give uint8 images of one
            size. Nothing is kept if the faces do not fit into half of the memory. Defaults to 0.
        landmarks (str, optional): JSON file of five points per face: path below the folder to
            ``[[x, y], ...]`` of eyes, nose and corners of the mouth (left ones first), as fractions
            of width and height, for the muscle warp. Added to the results as ``landmarks`` (5, 2).
            ``tools/dataset_converters/find_landmarks.py`` writes it.
        **kwargs: As for ``CustomDataset``: ``extensions``, ``pipeline``, ``indices``, ...

    Raises:
        FileNotFoundError: If the folder does not exist or holds no image.
        ValueError: If ``unreadable`` is unknown, or a face has no five landmarks.
    """

    @check_arguments(
        'train_dataloader.dataset',
        unreadable=one_of(STOP, NEAREST),
        keep=at_least(0),
        max_refetch=at_least(0),
    )
    def __init__(
        self,
        data_root: str,
        unreadable: str = STOP,
        keep: int = 0,
        landmarks: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.unreadable = unreadable
        self.keep = keep
        self.landmarks = landmarks
        self._kept: KeptImages | None = None
        super().__init__(data_root=data_root, with_label=False, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find the images; log one summary line."""
        folder = self.img_prefix or self.data_root
        if not any(map(self.is_valid_file, walk_files(folder))):
            got = 'no image in the folder' if os.path.isdir(folder) else 'no folder'
            raise MissingFileError(
                f'FaceFolderDataset: got {got} {folder!r}, expected faces '
                f'({", ".join(sorted(self.extensions))}) at any depth under it; set '
                'train_dataloader.dataset.data_root'
            )
        data_list = [
            info
            for info in super().load_data_list()
            if not _is_hidden(os.path.relpath(info['img_path'], folder))
        ]
        if self.landmarks is not None:
            _add_landmarks(data_list, folder, self.landmarks)
        print_log(f'FaceFolderDataset {folder}: {len(data_list)} faces', logger='current')
        return data_list

    def full_init(self) -> None:
        """List the faces, and reserve memory for those to keep."""
        if self._fully_initialized:
            return
        super().full_init()
        if not self.keep:
            return
        shape = self._find_shape()
        if shape is None:
            return
        size = count_bytes(len(self), shape)
        if fits_memory(size):
            self._kept = KeptImages(len(self), shape)
        action = 'kept in memory after the first pass' if self._kept else 'too many to keep'
        print_log(
            f'FaceFolderDataset: {size / 2**30:.2g} GiB of decoded faces, {action}',
            logger='current',
        )

    def _find_shape(self) -> tuple[int, ...] | None:
        """Return the shape of the first face that can be read, None without any."""
        for index in range(len(self)):
            try:
                return self._run_transforms(self.get_data_info(index), slice(self.keep))[
                    'img'
                ].shape
            except UnreadableFrameError:
                continue
        return None

    def _run_transforms(self, results: dict, part: slice) -> Any:
        for transform in self.pipeline.transforms[part]:
            results = transform(results)
        return results

    def _get_face(self, idx: int) -> Any:
        if self._kept is None:
            return super().prepare_data(idx)
        info = self.get_data_info(idx)
        image = self._kept.get(
            idx, lambda: self._run_transforms(dict(info), slice(self.keep))['img']
        )
        shape = image.shape[:2]
        results = dict(info, img=image, img_shape=shape, ori_shape=shape)
        return self._run_transforms(results, slice(self.keep, None))

    def prepare_data(self, idx: int) -> object:
        """Run one face through the pipeline; None lets mmengine draw another one."""
        try:
            return self._get_face(idx)
        except UnreadableFrameError as error:
            if self.unreadable == STOP or self.test_mode:
                raise
            print_log(
                f'Unreadable, using another face instead: {self.get_data_info(idx)["img_path"]}: '
                f'{error.reason}',
                logger='current',
                level=logging.WARNING,
            )
            return None


def _is_hidden(path: str) -> bool:
    return any(part.startswith('.') for part in path.split(os.sep))


def _add_landmarks(data_list: list[dict], folder: str, path: str) -> None:
    """Add ``landmarks`` (5, 2) float32 to each face."""
    expected = 'five points per face, as fractions of width and height (-1 to 2)'
    fix = 'correct train_dataloader.dataset.landmarks'
    points = read_json(path, expected, fix)
    for info in data_list:
        name = os.path.relpath(info['img_path'], folder)
        try:
            info['landmarks'] = np.array(points[name], np.float32)
            # False for NaN as well
            valid = info['landmarks'].shape == (5, 2) and abs(info['landmarks'] - 0.5).max() <= 1.5
        except (KeyError, TypeError, ValueError):
            valid = False
        if not valid:
            raise InvalidValueError(f'{path}: got no points of {name}, expected {expected}; {fix}')
