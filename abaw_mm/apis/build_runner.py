"""Build a Runner with everything that its config names."""

from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner

from abaw_mm.apis.checks.check_classes import check_classes
from abaw_mm.apis.checks.check_training import check_training
from abaw_mm.apis.config import count_batch
from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.apis.quiet_runner import QuietRunner
from abaw_mm.compat.cpu import adapt_cfg_to_cpu
from abaw_mm.engine.processes.comparison import compare_processes
from abaw_mm.engine.processes.digests import describe_data
from abaw_mm.engine.resume.resume_hook import list_optimizers


def build_runner(cfg: Config, verbose: bool = False) -> Runner:
    """Fit a config to the device and build its Runner, with loops, data sets and optimizer.

    mmengine builds these parts only when the run starts. Built here, a mistake in the config is
    reported as one before any computation.

    Args:
        cfg (Config): Config from :func:`load_config`. It is not changed.
        verbose (bool): Whether to print the environment, the hooks and the config, which the log
            file has in any case. Defaults to False.

    Raises:
        InvalidValueError: If the config does not fit what it builds, such as an unknown ``type`` or
            an unexpected argument, or another process has other data.
    """
    with convert_config_errors(cfg.filename):
        runner_type = Runner if verbose else QuietRunner
        runner = runner_type.from_cfg(adapt_cfg_to_cpu(cfg, cfg.launcher))
        if runner.train_loop is None:
            runner.test_loop  # noqa: B018  the property builds it
        else:
            _build_training(runner)
        check_classes(runner)
    compare_processes(
        lambda: describe_data(runner), 'copy the same data to all nodes, or share one folder'
    )
    return runner


def _build_training(runner: Runner) -> None:
    """Build the parts of a training in the order of ``Runner.train()``, which then keeps them."""
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    _scale_learning_rate(runner)
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.val_loop  # noqa: B018  the property builds it
    check_training(runner)


def _scale_learning_rate(runner: Runner) -> None:
    """Scale the learning rate with the batch, as ``auto_scale_lr`` of the config says.

    ``Runner.scale_lr`` does not count the steps whose gradients ``accumulative_counts`` adds up.
    """
    scale = runner.auto_scale_lr or {}
    runner.auto_scale_lr = None  # train() would scale without the accumulated steps
    if not scale.get('enable', False):
        return
    batch, base = count_batch(runner.cfg), scale['base_batch_size']
    for optimizer in list_optimizers(runner.optim_wrapper):
        for group in optimizer.param_groups:
            group['lr'] *= batch / base
    print_log(
        f'--auto-scale-lr: the learning rate for a batch of {base} is scaled by {batch / base:g} '
        f'for {batch}',
        logger='current',
    )
