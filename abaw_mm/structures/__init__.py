"""Tables and batches of frames."""

from .collate_frames import collate_frames
from .frame_batch import FrameBatch
from .frame_table import FrameTable, chain_tables, merge_tables

__all__ = ['FrameBatch', 'FrameTable', 'chain_tables', 'collate_frames', 'merge_tables']
