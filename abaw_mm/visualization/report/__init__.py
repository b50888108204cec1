"""HTML report of one or more runs, or of a video."""

from .report import make_report
from .video_report import find_moments, make_video_report

__all__ = ['find_moments', 'make_report', 'make_video_report']
