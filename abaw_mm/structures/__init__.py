"""Tables and batches of frames."""

from .collate_frames import collate_frames
from .frame_batch import FrameBatch, is_frame_batch, uses_frame_batches
from .frame_table import FrameTable, chain_tables, check_clip_names, merge_tables

__all__ = [
    'FrameBatch',
    'FrameTable',
    'chain_tables',
    'check_clip_names',
    'collate_frames',
    'is_frame_batch',
    'merge_tables',
    'uses_frame_batches',
]
