"""Every crop of the clips, whether its frame has a label or not."""

import numpy as np
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS

from abaw_mm.datasets.affwild2 import AffWild2Dataset
from abaw_mm.datasets.annotations import (
    UNLABELLED,
    read_annotation_folder,
    read_frame_list,
)
from abaw_mm.datasets.crops.crop_folder import list_crops
from abaw_mm.datasets.frame_index import FrameIndex


@DATASETS.register_module()
class AllCropsDataset(AffWild2Dataset):
    """All crops of the clips that ``ann_file`` names, without their labels.

    A temporal model looks at frames before and after, labelled or not, so features are needed of
    all. Arguments are those of ``AffWild2Dataset``; of annotations and lists only the names of the
    clips are used. ``listed`` has the same rows as ``frames``.
    """

    def _read_index(self, clips: list[str] | None) -> FrameIndex:
        """All crops on disk, by clip and number."""
        if self._is_list():
            names, _, _ = read_frame_list(self.ann_file, self.filename_tmpl, clips)
        else:
            names = list(read_annotation_folder(self.ann_file, clips))
        names = sorted(names)
        crops = list_crops(self._roots, names)
        numbers, owners = zip(*(crops[name] for name in names), strict=True)
        frame_no = np.concatenate(numbers)
        if not len(frame_no):
            raise FileNotFoundError(
                f'AllCropsDataset: none of the {len(names)} clips of {self.ann_file} has a crop '
                f'in {self.img_roots}; set data_prefix and filename_tmpl'
            )
        self.listed = FrameIndex(  # this is how the base class knows that there are no labels
            names,
            np.repeat(np.arange(len(names), dtype=np.int32), list(map(len, numbers))),
            frame_no,
            np.full(len(frame_no), UNLABELLED, np.int8),
            np.concatenate(owners),
        )
        return self.listed

    def _log_summary(self) -> None:
        frames = self.frames
        without = len(frames.clips) - len(np.unique(frames.clip_id))
        print_log(
            f'AllCropsDataset {", ".join(self.ann_files)}: {len(frames.clips)} clips, {without} '
            f'of them without a crop, {len(frames)} crops',
            logger='current',
        )
