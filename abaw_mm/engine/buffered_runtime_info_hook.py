"""Record the losses of each step without waiting for the device in each step."""

import torch
from mmengine.hooks import LoggerHook, RuntimeInfoHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS


@HOOKS.register_module()
class BufferedRuntimeInfoHook(RuntimeInfoHook):
    """Copy the losses to the host when they are logged, instead of after each step.

    mmengine's ``RuntimeInfoHook`` calls ``item()`` for each loss in each step. A GPU then has
    nothing to do while the host launches the next step. This hook keeps the losses on the device
    and copies those of all steps at once: before ``LoggerHook`` reads them, before a validation and
    before a checkpoint is saved. The recorded values are the same.
    """

    def __init__(self) -> None:
        self._steps: list[dict[str, torch.Tensor]] = []

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | None = None,
        outputs: dict | None = None,
    ) -> None:
        """Keep the losses of a step."""
        losses = {name: x for name, x in (outputs or {}).items() if torch.is_tensor(x)}
        others = {name: x for name, x in (outputs or {}).items() if name not in losses}
        super().after_train_iter(runner, batch_idx, data_batch, others)
        # Copies: CUDA graphs of torch.compile write the losses of each step to the same memory.
        self._steps.append({name: x.detach().clone() for name, x in losses.items()})
        loggers = [hook for hook in runner.hooks if isinstance(hook, LoggerHook)]
        if self.end_of_epoch(runner.train_dataloader, batch_idx) or any(
            self.every_n_inner_iters(batch_idx, hook.interval) for hook in loggers
        ):
            self._record(runner)

    def before_val(self, runner: Runner) -> None:
        """Record the losses of the steps before the validation."""
        self._record(runner)
        super().before_val(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Record the losses of the steps that the checkpoint includes."""
        if self._steps:
            self._record(runner)
            checkpoint['message_hub'] = runner.message_hub.state_dict()

    def after_train(self, runner: Runner) -> None:
        """Record the losses of the last steps."""
        self._record(runner)
        super().after_train(runner)

    def _record(self, runner: Runner) -> None:
        """Copy the losses to the host, all at once, and add them to the message hub in order."""
        names = [name for step in self._steps for name in step]
        if names:
            values = torch.stack([x.double() for step in self._steps for x in step.values()])
            for name, value in zip(names, values.tolist(), strict=True):
                runner.message_hub.update_scalar(f'train/{name}', value)
        self._steps = []
