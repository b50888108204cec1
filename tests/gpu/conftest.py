"""Make the GPU's results repeatable: cuBLAS reads this before its first use."""

import os

os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
