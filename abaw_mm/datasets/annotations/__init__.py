"""Read the official annotation files and the challenge's lists of frames as arrays.

Nothing here depends on crops, images or mmpretrain.
"""

from .clip_files import (
    PathOrPaths,
    find_annotation_files,
    number_lines,
    read_annotation_folder,
    stamp_annotations,
)
from .clip_names import raw_video, read_clip_names
from .expression import HEADER, HEADER_7, PALETTE, read_labels
from .frame_list import LIST_HEADER, LIST_TEMPLATE, read_frame_list

__all__ = [
    'HEADER',
    'HEADER_7',
    'LIST_HEADER',
    'LIST_TEMPLATE',
    'PALETTE',
    'PathOrPaths',
    'find_annotation_files',
    'number_lines',
    'raw_video',
    'read_annotation_folder',
    'read_clip_names',
    'read_frame_list',
    'read_labels',
    'stamp_annotations',
]
