"""From the files of Aff-Wild2 to the frames of an epoch."""

from .affwild2 import AffWild2Dataset
from .annotations import EXPRESSIONS
from .collate_frames import collate_frames
from .face_folder import FaceFolderDataset
from .frame_stride import FrameStrideSampler
from .load_face_crop import LoadFaceCrop, UnreadableFrameError

__all__ = [
    'AffWild2Dataset', 'EXPRESSIONS', 'FaceFolderDataset', 'FrameStrideSampler', 'LoadFaceCrop',
    'UnreadableFrameError', 'collate_frames'
]
