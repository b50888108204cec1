"""From a video to tracks of aligned faces, and back to a drawn video.

The optional packages that this needs are installed by ``pip install abaw_mm[video]``.
"""
