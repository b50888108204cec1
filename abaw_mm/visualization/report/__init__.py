"""HTML report of one or more runs, or of a video."""

from .report import make_report
from .video_report import find_surest, make_video_report

__all__ = ['find_surest', 'make_report', 'make_video_report']
