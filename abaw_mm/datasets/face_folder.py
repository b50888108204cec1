"""A folder of faces without labels."""

import logging
import os
from collections.abc import Iterator

from mmengine.logging import print_log
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from abaw_mm.datasets.affwild2 import (
    NEAREST,
    STOP,
)
from abaw_mm.datasets.crops.load_face_crop import UnreadableFrameError


@DATASETS.register_module()
class FaceFolderDataset(CustomDataset):
    """All images under a folder, at any depth, for pre-training: mmpretrain's ``CustomDataset``.

    Any set of faces fits, and so does Aff-Wild2's ``cropped_aligned``, of which it takes all crops,
    those of unlabelled frames (-1) and of the test set included. A data info is ``img_path`` alone.

    Args:
        data_root (str): The folder.
        unreadable (str): What to do at an image that cannot be read whole: ``'stop'`` with the
            file's name, or warn and take another one at random, under the name that
            ``AffWild2Dataset`` has for it, ``'nearest'``. Defaults to ``'stop'``.
        **kwargs: As for ``CustomDataset``: ``extensions``, ``pipeline``, ``indices``, ...

    Raises:
        FileNotFoundError: If there is no such folder, or no image in it.
        ValueError: For an unknown ``unreadable``.
    """

    def __init__(self, data_root: str, unreadable: str = STOP, **kwargs: object) -> None:
        if unreadable not in (STOP, NEAREST):
            raise ValueError(
                f'FaceFolderDataset: unreadable={unreadable!r}, expected {STOP!r} or {NEAREST!r}; '
                'set train_dataloader.dataset.unreadable'
            )
        self.unreadable = unreadable
        super().__init__(data_root=data_root, with_label=False, **kwargs)

    def load_data_list(self) -> list[dict]:
        """Find the images; logs one summary line."""
        folder = self.img_prefix or self.data_root
        if not os.path.isdir(folder) or not any(map(self.is_valid_file, _files(folder))):
            got = 'no image in the folder' if os.path.isdir(folder) else 'no folder'
            raise FileNotFoundError(
                f'FaceFolderDataset: got {got} {folder!r}, expected faces '
                f'({", ".join(sorted(self.extensions))}) at any depth under it; set '
                'train_dataloader.dataset.data_root'
            )
        data_list = super().load_data_list()
        print_log(f'FaceFolderDataset {folder}: {len(data_list)} faces', logger='current')
        return data_list

    def prepare_data(self, idx: int) -> object:
        """One face through the pipeline; None, for which mmengine draws another, if unreadable."""
        try:
            return super().prepare_data(idx)
        except UnreadableFrameError as error:
            if self.unreadable == STOP or self.test_mode:
                raise
            print_log(
                f'FaceFolderDataset: another face takes the place of '
                f'{self.get_data_info(idx)["img_path"]}: {error.reason}',
                logger='current',
                level=logging.WARNING,
            )
            return None


def _files(folder: str) -> Iterator[str]:
    """Names of all files, at any depth; links are followed, as mmengine does."""
    for _, _, names in os.walk(folder, followlinks=True):
        yield from names
