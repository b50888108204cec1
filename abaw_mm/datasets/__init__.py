"""From the files of Aff-Wild2 to the frames of an epoch."""

from .affwild2 import AffWild2Dataset
from .annotations import EXPRESSIONS
from .clip_features import ClipFeatureDataset
from .collate_frames import collate_frames
from .every_crop import EveryCropDataset
from .face_folder import FaceFolderDataset
from .feature_folder import FeatureFolder
from .frame_stride import FrameStrideSampler
from .load_face_crop import LoadFaceCrop, UnreadableFrameError

__all__ = [
    'AffWild2Dataset',
    'ClipFeatureDataset',
    'EXPRESSIONS',
    'EveryCropDataset',
    'FaceFolderDataset',
    'FeatureFolder',
    'FrameStrideSampler',
    'LoadFaceCrop',
    'UnreadableFrameError',
    'collate_frames',
]
