"""Everything that a ``checkpoint`` setting passes through: find, read, match, fit, fill."""

from .find_latest import find_latest
from .fit import check_fit
from .load import (
    UnsafeCheckpointError,
    check_checkpoint_path,
    find_checkpoint_file,
    load_checkpoint_file,
    use_safe_loading,
)
from .ssl_pretrained import SSLPretrained

__all__ = [
    'SSLPretrained',
    'UnsafeCheckpointError',
    'check_checkpoint_path',
    'check_fit',
    'find_checkpoint_file',
    'find_latest',
    'load_checkpoint_file',
    'use_safe_loading',
]
