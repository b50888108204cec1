"""Read the official annotation files and the challenge's lists of frames as arrays.

Nothing here depends on images or mmpretrain.
"""

from .clip_files import (
    PathOrPaths,
    find_annotation_files,
    number_lines,
    read_annotation_folder,
    stamp_annotations,
)
from .clip_names import raw_video, read_clip_names
from .expression import PALETTE, read_labels
from .frame_list import LIST_TEMPLATE, read_frame_list
from .headers import FOLDERS, HEADER, HEADER_7, HEADERS, LIST_HEADER, LIST_HEADERS
from .multi_task import is_multi_task_file, read_multi_task
from .values import read_action_units, read_valence_arousal

__all__ = [
    'FOLDERS',
    'HEADER',
    'HEADERS',
    'HEADER_7',
    'LIST_HEADER',
    'LIST_HEADERS',
    'LIST_TEMPLATE',
    'PALETTE',
    'PathOrPaths',
    'find_annotation_files',
    'is_multi_task_file',
    'number_lines',
    'raw_video',
    'read_action_units',
    'read_annotation_folder',
    'read_clip_names',
    'read_frame_list',
    'read_labels',
    'read_multi_task',
    'read_valence_arousal',
    'stamp_annotations',
]
