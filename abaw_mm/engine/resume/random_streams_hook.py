"""Derive all random numbers of a training from its seed and the step."""

from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from abaw_mm.compat.patches import can_skip
from abaw_mm.datasets.samplers.keyed_random import random_keys, seed_generators
from abaw_mm.datasets.samplers.seeded_batches import seed_batches

STEPS = 0  # keys of steps begin with the seed of the run and this number


@HOOKS.register_module()
class RandomStreamsHook(Hook):
    """Seed the random numbers of each step, so that a resumed run equals an unbroken one.

    - The frames of a run are drawn with one seed, which all processes share. It is that of the
      checkpoint in a resumed run. ``train_dataloader.sampler.seed`` takes precedence.
    - The transforms of a batch use random numbers of (seed, rank, number of the batch), see
      :func:`~abaw_mm.datasets.samplers.seeded_batches.seed_batches`.
    - The model's own (dropout, local warps) are those of (seed, rank, step).

    So validations and probes do not change the random numbers of the training.
    """

    priority = 'HIGHEST'  # before anything else in a step

    def before_train(self, runner: Runner) -> None:
        """Seed sampler and batches, before the workers start."""
        self.seed = shared_seed(runner)
        loop, loader = runner.train_loop, runner.train_loop.dataloader
        if runner.cfg.train_dataloader.sampler.get('seed') is None:
            loader.sampler.seed = self.seed
        # A loop that cannot skip loads past batches again, from the first one.
        loads_past = isinstance(loop, IterBasedTrainLoop) and not can_skip(loader)
        seed_batches(loader, self.seed, 0 if loads_past else runner.iter)

    def before_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Seed the generators of this process."""
        seed_generators(random_keys(self.seed, STEPS, get_rank(), runner.iter)[0])


def shared_seed(runner: Runner) -> int:
    """Return the seed that all processes share; with ``diff_rank_seed`` each has another one."""
    differs = runner._randomness_cfg.get('diff_rank_seed', False)
    return runner.seed - (get_rank() if differs else 0)
