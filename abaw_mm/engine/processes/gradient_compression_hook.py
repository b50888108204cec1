"""Halve the bytes of gradients between the processes of a training."""

import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks
from torch.nn.parallel import DistributedDataParallel

from abaw_mm.checks import check_arguments, one_of
from abaw_mm.errors import InvalidValueError

HOOK_OF_DTYPE = dict(
    bfloat16=default_hooks.bf16_compress_hook, float16=default_hooks.fp16_compress_hook
)


@HOOKS.register_module()
class GradientCompressionHook(Hook):
    """Sum the gradients over the processes in 16 bits, with the hooks that torch ships for DDP.

    Each process divides its gradients by the number of processes and rounds them; they are summed
    in this type and converted back. Weights and momenta stay in float32. docs/scaling.md says when
    this is worth it.

    Args:
        dtype (str): ``'bfloat16'``, which has the range of float32, or ``'float16'``, which has
            more digits and overflows beyond 65504. Defaults to ``'bfloat16'``.

    Raises:
        InvalidValueError: If the training has a single process or a wrapper other than DDP.
    """

    @check_arguments('custom_hooks.GradientCompressionHook', dtype=one_of(*HOOK_OF_DTYPE))
    def __init__(self, dtype: str = 'bfloat16') -> None:
        self.dtype = dtype

    def before_train(self, runner: Runner) -> None:
        """Register torch's hook with DDP."""
        if not isinstance(runner.model, DistributedDataParallel):
            raise InvalidValueError(
                f'GradientCompressionHook: got a {type(runner.model).__name__} in one process or '
                'in a wrapper of its own, expected DistributedDataParallel; start several '
                'processes (tools/dist_train.sh), or remove the hook from custom_hooks'
            )
        compress = HOOK_OF_DTYPE[self.dtype]
        if torch.cuda.is_available():
            runner.model.register_comm_hook(None, compress)
            return

        # DDP refuses its own bfloat16 hook on the CPU, where gloo can sum bfloat16.
        runner.model.register_comm_hook(None, lambda group, bucket: compress(group, bucket))
