"""What sampler, loop and metrics must be, and a key for each frame of a training batch."""

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from abaw_mm.datasets.samplers.frame_stride import FrameStrideSampler
from abaw_mm.datasets.unwrap_datasets import check_frames_differ
from abaw_mm.evaluation import FrameMetric
from abaw_mm.structures import is_frame_batch, uses_frame_batches


@HOOKS.register_module()
class FrameBatchHook(Hook):
    """Check before a run that its parts fit; then give each frame its key of random numbers.

    ``key``, (N, ) uint64, is added to training batches of ``collate_frames``, for
    ``FrameDataPreprocessor``. The sampler knows which frame comes when, so it depends on seed,
    epoch and place in the draw, and not on workers; a resumed run has the same.

    Raises:
        ValueError: For an endless sampler in a loop over epochs or a finite one in a loop over
            iterations; for batches as arrays with another sampler, or with metrics that need an
            object a frame; for two datasets with the same frames in one evaluation.
    """

    def before_train(self, runner: Runner) -> None:
        """Check loop, sampler and validation."""
        loader = runner.train_loop.dataloader
        if isinstance(loader.sampler, FrameStrideSampler):
            by_iteration = isinstance(runner.train_loop, IterBasedTrainLoop)
            if loader.sampler.infinite != by_iteration:
                raise ValueError(
                    f'FrameStrideSampler: got infinite={loader.sampler.infinite} in a '
                    f'{type(runner.train_loop).__name__}, expected {by_iteration}; set '
                    f'train_dataloader.sampler.infinite={by_iteration}'
                )
            if runner.iter > 0 and runner.cfg.train_dataloader.sampler.get('seed') is None:
                loader.sampler.reseed(runner.seed)  # the resumed run's, not the config's
        elif uses_frame_batches(loader):
            raise ValueError(
                f'collate_frames: got a {type(loader.sampler).__name__}, expected a '
                "FrameStrideSampler; set train_dataloader.sampler=dict(type='FrameStrideSampler', "
                'stride=1, infinite=True) for plain sampling'
            )
        if runner.val_loop is not None:
            self._check_metrics(runner.val_loop)

    def before_test(self, runner: Runner) -> None:
        """Check the metrics."""
        self._check_metrics(runner.test_loop)

    def _check_metrics(self, loop) -> None:
        others = [m for m in loop.evaluator.metrics if not isinstance(m, FrameMetric)]
        if others and uses_frame_batches(loop.dataloader):
            raise ValueError(
                f'collate_frames: got the metric {type(others[0]).__name__}, expected MacroF1 and '
                'others of abaw_mm, which take batches as arrays; inherit _base_/plain.py, '
                'whose checkpoints are the same'
            )
        if len(others) < len(loop.evaluator.metrics):
            check_frames_differ(loop.dataloader.dataset)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: dict) -> None:
        """Ask the sampler for the keys of this process's next frames."""
        if not is_frame_batch(data_batch):
            return
        loader = runner.train_loop.dataloader
        # An endless sampler counts on from the first step of the run, another one each epoch.
        step = runner.iter if loader.sampler.infinite else batch_idx
        data_batch['key'] = loader.sampler.keys(step * loader.batch_size, len(data_batch['inputs']))
