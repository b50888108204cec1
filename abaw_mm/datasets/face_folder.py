"""Folders of faces without labels, for pre-training."""

import logging
import os
from collections.abc import Iterator
from typing import Any

from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from abaw_mm.checks import at_least, check_arguments, one_of
from abaw_mm.datasets.affwild2 import NEAREST, STOP
from abaw_mm.datasets.crops.load_face_crop import UnreadableFrameError
from abaw_mm.errors import MissingFileError


@DATASETS.register_module()
class FaceFolderDataset(CustomDataset):
    """All images under a folder, at any depth, as mmpretrain's ``CustomDataset`` reads them.

    Any set of faces works. Of Aff-Wild2's ``cropped_aligned`` it uses all crops, including those
    of frames labelled -1 and of the test set. A data info is ``img_path`` alone.

    Args:
        data_root (str): The folder.
        unreadable (str): What to do if an image cannot be read: ``'stop'`` with the name of the
            file, or ``'nearest'``, which warns and uses a random other image (faces have no clip
            here; the name is that of ``AffWild2Dataset``). Defaults to ``'stop'``.
        **kwargs: As for ``CustomDataset``: ``extensions``, ``pipeline``, ``indices``, ...

    Raises:
        FileNotFoundError: If the folder does not exist or holds no image.
        ValueError: If ``unreadable`` is unknown.
    """

    @check_arguments(
        'train_dataloader.dataset', unreadable=one_of(STOP, NEAREST), max_refetch=at_least(0)
    )
    def __init__(self, data_root: str, unreadable: str = STOP, **kwargs: Any) -> None:
        self.unreadable = unreadable
        super().__init__(data_root=data_root, with_label=False, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find the images; log one summary line."""
        folder = self.img_prefix or self.data_root
        if not any(map(self.is_valid_file, _walk_files(folder))):
            got = 'no image in the folder' if os.path.isdir(folder) else 'no folder'
            raise MissingFileError(
                f'FaceFolderDataset: got {got} {folder!r}, expected faces '
                f'({", ".join(sorted(self.extensions))}) at any depth under it; set '
                'train_dataloader.dataset.data_root'
            )
        data_list = super().load_data_list()
        print_log(f'FaceFolderDataset {folder}: {len(data_list)} faces', logger='current')
        return data_list

    def prepare_data(self, idx: int) -> object:
        """Run one face through the pipeline; None lets mmengine draw another one."""
        try:
            return super().prepare_data(idx)
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


def _walk_files(folder: str) -> Iterator[str]:
    """Yield the names of all files, at any depth; follows links, as mmengine does."""
    for _, _, names in os.walk(folder, followlinks=True):
        yield from names
