"""Build a Runner with everything that its config names."""

from mmengine.config import Config
from mmengine.runner import Runner

from abaw_mm.apis.check_classes import check_classes
from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.compat.cpu import adapt_cfg_to_cpu


def build_runner(cfg: Config) -> Runner:
    """Fit a config to the device and build its Runner, with loops, data sets and optimizer.

    mmengine builds these parts only when the run starts. Built here, a mistake in the config is
    reported as one before any computation.

    Args:
        cfg (Config): Config from :func:`load_config`. It is not changed.

    Raises:
        InvalidValueError: If the config does not fit what it builds, such as an unknown ``type`` or
            an unexpected argument.
    """
    with convert_config_errors(cfg.filename):
        runner = Runner.from_cfg(adapt_cfg_to_cpu(cfg, cfg.launcher))
        if runner.train_loop is None:
            runner.test_loop  # noqa: B018  the property builds it
        else:
            _build_training(runner)
        check_classes(runner)
    return runner


def _build_training(runner: Runner) -> None:
    """Build the parts of a training in the order of ``Runner.train()``, which then keeps them."""
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    runner.auto_scale_lr = None  # train() would scale again
    if runner.param_schedulers is not None:
        runner.param_schedulers = runner.build_param_scheduler(runner.param_schedulers)
    runner.val_loop  # noqa: B018  the property builds it
