"""Tables and batches of frames."""

from .collate_frames import collate_frames
from .frame_batch import FrameBatch, is_frame_batch, uses_frame_batches
from .frame_table import (
    MAX_INT,
    MAX_NAME,
    FrameTable,
    average_rows,
    chain_tables,
    check_clip_names,
    merge_tables,
    to_int32,
)
from .streams import name_streams

__all__ = [
    'FrameBatch',
    'MAX_INT',
    'MAX_NAME',
    'FrameTable',
    'average_rows',
    'chain_tables',
    'check_clip_names',
    'collate_frames',
    'is_frame_batch',
    'merge_tables',
    'name_streams',
    'to_int32',
    'uses_frame_batches',
]
