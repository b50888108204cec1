"""Decode videos: every frame with the time stamp of its container."""

from abaw_mm.video.decode.video_reader import VideoReader

__all__ = ['VideoReader']
