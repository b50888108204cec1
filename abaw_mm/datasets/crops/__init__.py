"""Face crops on disk: listing, packing, loading and checking them."""

from .crop_folder import CropFolder
from .load_face_crop import LoadFaceCrop, UnreadableFrameError

__all__ = ['CropFolder', 'LoadFaceCrop', 'UnreadableFrameError']
