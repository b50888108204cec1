"""Load checkpoints as data and match them to models.

A file is loaded as data (:mod:`.load`), its state dict is unwrapped, a backbone is matched by the
names of its tensors (:mod:`.match`), an incomplete match is refused, and the module is filled
(:mod:`.ssl_pretrained`). Whole models are compared in :mod:`.fit`;
:mod:`.convert` writes a backbone in mmpretrain's layout.
"""

from .find_latest import find_latest
from .fit import check_fit
from .load import (
    check_checkpoint_path,
    find_checkpoint_file,
    load_checkpoint_file,
    unwrap_state_dict,
    use_safe_loading,
)
from .safe_pickle import UnsafeCheckpointError
from .ssl_pretrained import SSLPretrained

__all__ = [
    'SSLPretrained',
    'UnsafeCheckpointError',
    'check_checkpoint_path',
    'check_fit',
    'find_checkpoint_file',
    'find_latest',
    'load_checkpoint_file',
    'unwrap_state_dict',
    'use_safe_loading',
]
