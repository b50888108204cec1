"""Where a training starts from."""

import pytest
from fault_run import write_config
from tiny_run import save_backbone

from abaw_mm.apis import train

pytestmark = pytest.mark.slow


def test_resumed_run_does_not_need_the_weights_that_it_started_from(tmp_path, logged_warnings):
    config, work_dir = write_config(tmp_path, workers=0), str(tmp_path / 'run')
    save_backbone(tmp_path / 'ssl.pth')
    options = {'checkpoint': str(tmp_path / 'ssl.pth'), 'default_hooks.checkpoint.interval': 1}
    train(str(config), work_dir, cfg_options={**options, 'train_cfg.max_iters': 1})
    (tmp_path / 'ssl.pth').unlink()
    train(str(config), work_dir, 'auto', cfg_options={**options, 'train_cfg.max_iters': 2})
    assert (tmp_path / 'run/iter_2.pth').is_file()
    assert not [line for line in logged_warnings if 'random weights' in line]


def test_resume_of_the_config_is_that_of_the_command(tmp_path, logged_warnings):
    """Without a checkpoint yet, the run starts from the beginning and is none that resumes."""
    config, work_dir = write_config(tmp_path, workers=0, resume=True), str(tmp_path / 'run')
    options = {'train_cfg.max_iters': 1, 'default_hooks.checkpoint.interval': 1}
    train(str(config), work_dir, cfg_options=options)
    for begin in '--resume: no checkpoint in', 'The backbone started from random weights':
        assert [line for line in logged_warnings if line.startswith(begin)]
    logged_warnings.clear()
    train(str(config), work_dir, cfg_options=options)
    assert [line for line in logged_warnings if 'run is complete' in line and 'iter_1.pth' in line]
