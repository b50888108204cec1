"""All crops of the clips, labelled or not."""

import numpy as np
from mmengine.logging import print_log
from mmpretrain.registry import DATASETS

from abaw_mm.datasets.affwild2 import AffWild2Dataset
from abaw_mm.datasets.frame_index import FrameIndex, hide_targets
from abaw_mm.errors import MissingFileError


@DATASETS.register_module()
class AllCropsDataset(AffWild2Dataset):
    """All crops of the clips that ``ann_file`` names, without their labels.

    A temporal model also looks at frames without a label, so features are extracted from all.
    Arguments are those of ``AffWild2Dataset``. Annotations and lists only supply the names of the
    clips. There is no cache.
    """

    def _read_frames(self) -> FrameIndex:
        """List all crops of the clips."""
        clips = self._find_clips()
        crops = self._list_crops(clips)
        if not len(crops):
            raise MissingFileError(
                f'AllCropsDataset: none of the {len(clips)} clips of {self.ann_file} has a crop '
                f'in {self.img_roots}; set data_prefix and filename_tmpl'
            )
        self.labelled = False
        columns = hide_targets(self.reader.targets, len(crops)) | dict(source=crops['source'])
        return FrameIndex(crops.clips, crops.clip_id, crops.frame_no, columns)

    def _find_clips(self) -> list[str]:
        """Return the names of the clips, sorted."""
        read = self.reader.read_annotations if self.reader.is_labelled else self.reader.read_list
        return sorted(read().clips)

    def _log_summary(self) -> None:
        frames = self.frames
        without = int(np.count_nonzero(frames.count_by_clip() == 0))
        print_log(
            f'AllCropsDataset {", ".join(self.reader.ann_files)}: {len(frames.clips)} clips, '
            f'{without} of them without a crop, {len(frames)} crops',
            logger='current',
        )
