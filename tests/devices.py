"""Parameters of tests that run on the CPU and, where there is one, on a GPU."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

# For results that can be repeated; cuBLAS reads it before its first use.
os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
GPU_ONLY = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU'),
]
DEVICES = ['cpu', pytest.param('cuda', marks=GPU_ONLY)]


def on_gpu(paths):
    """Make parameters of configs, which a Runner trains on the GPU where there is one."""
    return [pytest.param(path, marks=GPU_ONLY, id=f'{path.stem}-cuda') for path in paths]


class _CountHostCopies(TorchDispatchMode):
    """Count the reads of single values, such as ``item()``."""

    def __init__(self):
        super().__init__()
        self.copies = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.copies += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


@contextmanager
def forbid_synchronization(device: str) -> Iterator[None]:
    """Raise if the block waits for the GPU; on the CPU, if it reads single values of tensors."""
    if device == 'cuda':
        torch.cuda.set_sync_debug_mode('error')
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode('default')
        return
    with _CountHostCopies() as counter:
        yield
    assert not counter.copies, f'{counter.copies} values were copied to the host'
