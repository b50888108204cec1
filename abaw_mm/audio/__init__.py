"""Sound of videos: read it, compute features of it, and align them to the frames of the video.

The optional packages that this needs are installed by ``pip install abaw_mm[audio]``.
"""

from .align import align_to_frames
from .sound import Sound, has_sound, read_sound

__all__ = ['Sound', 'align_to_frames', 'has_sound', 'read_sound']
