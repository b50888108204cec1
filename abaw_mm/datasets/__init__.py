"""Datasets, from the files of Aff-Wild2 to the frames of an epoch."""

from abaw_mm.structures.tasks import EXPRESSIONS

from .affwild2 import AffWild2Dataset
from .all_crops import AllCropsDataset
from .crops import LoadFaceCrop, UnreadableFrameError
from .face_folder import FaceFolderDataset
from .features import ClipFeatureDataset, FeatureFolder
from .samplers import FrameStrideSampler

__all__ = [
    'AffWild2Dataset',
    'AllCropsDataset',
    'ClipFeatureDataset',
    'EXPRESSIONS',
    'FaceFolderDataset',
    'FeatureFolder',
    'FrameStrideSampler',
    'LoadFaceCrop',
    'UnreadableFrameError',
]
