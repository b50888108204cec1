"""A run prints few lines; its log file has all."""

import logging

import pytest

from abaw_mm.apis import load_config
from abaw_mm.apis.build_runner import build_runner

LONG = ('System environment:', 'Runtime environment:', 'Hooks will be executed', 'Config:')


@pytest.mark.parametrize('verbose', [False, True])
def test_environment_hooks_and_config_are_printed_on_request(
    repo, tiny, tmp_path, monkeypatch, verbose
):
    printed = []
    monkeypatch.setattr(
        logging.StreamHandler, 'emit', lambda handler, record: printed.append(record.getMessage())
    )
    monkeypatch.setattr(logging.FileHandler, 'emit', write)
    options = {
        f'{name}_dataloader.{key}': value
        for name in ('train', 'val')
        for key, value in {
            'dataset.data_root': str(tiny),
            'num_workers': 0,
            'persistent_workers': False,
        }.items()
    }
    config = str(repo / 'configs/res18_srp_demo.py')
    cfg = load_config(config, work_dir=str(tmp_path), cfg_options=options)
    cfg.experiment_name = f'quiet_{verbose}'  # two runs of a second would share a logger
    runner = build_runner(cfg, verbose)
    runner.logger.warning('Config: a warning is always printed')
    (log,) = tmp_path.rglob('*.log')
    text = log.read_text()
    for words in LONG[:2] + LONG[3:]:
        assert words in text
        assert any(words in line and 'a warning' not in line for line in printed) == verbose
    assert sum(' kept (' in line for line in printed) == 2
    assert any('a warning is always printed' in line for line in printed)


def write(handler, record):
    """Write a record as ``FileHandler`` does, whose own method calls the replaced one."""
    handler.stream.write(handler.format(record) + '\n')
    handler.flush()
