"""Run OpenMMLab's frozen releases on today's stack, with and without CUDA."""

from .versions import check_versions

check_versions()  # before the imports below, which fail on an unsupported stack

from .cpu import (  # noqa: E402
    LAUNCHERS,
    CPUAmpOptimWrapper,
    adapt_cfg_to_cpu,
    amp_dtype,
    init_dist,
)
from .patches import apply_patches  # noqa: E402

__all__ = [
    'LAUNCHERS',
    'CPUAmpOptimWrapper',
    'adapt_cfg_to_cpu',
    'amp_dtype',
    'apply_patches',
    'check_versions',
    'init_dist',
]
