"""A key for each frame of a training batch, from which its augmentation is drawn."""

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class FrameKeyHook(Hook):
    """Add ``key`` to each training batch, (N, ) uint64 from seed, epoch and place in the draw.

    The sampler knows which frame comes when; what it says does not depend on workers, and is the
    same for a run that was resumed. For batches of ``collate_frames``; others are left alone.

    Raises:
        ValueError: For a sampler other than ``FrameStrideSampler``.
    """

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict) -> None:
        """Ask the sampler for the keys of this process's next frames."""
        if 'clips' not in data_batch:
            return
        loader = runner.train_loop.dataloader
        if not hasattr(loader.sampler, 'keys'):
            raise ValueError(
                f'FrameKeyHook: got a {type(loader.sampler).__name__}, expected a '
                "FrameStrideSampler; set train_dataloader.sampler=dict(type='FrameStrideSampler', "
                'stride=1) for plain sampling'
            )
        # An endless sampler counts on from the first step of the run, another one each epoch.
        step = runner.iter if loader.sampler.infinite else batch_idx
        data_batch['key'] = loader.sampler.keys(
            step * loader.batch_size, len(data_batch['inputs'])
        )
