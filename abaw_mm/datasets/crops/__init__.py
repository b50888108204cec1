"""List, pack, load and check face crops on disk."""

from .crop_folder import CropFolder
from .load_face_crop import LoadFaceCrop, UnreadableFrameError

__all__ = ['CropFolder', 'LoadFaceCrop', 'UnreadableFrameError']
