"""Arguments of training, testing and feature extraction."""

import os

from abaw_mm.cli import RunParser


def test_run_parser_returns_keywords_and_exports_the_local_rank(monkeypatch):
    environment = dict(os.environ)
    environment.pop('LOCAL_RANK', None)
    monkeypatch.setattr(os, 'environ', environment)
    args = RunParser('x', 'a=1').parse(
        ['c.py', '--amp', '--local_rank', '1', '--cfg-options', 'a.b=(1,2)', 'c=d']
    )
    assert args == dict(
        config='c.py',
        work_dir=None,
        amp=True,
        pin_memory=True,
        verbose=False,
        cfg_options={'a.b': (1, 2), 'c': 'd'},
        launcher='none',
    )
    assert environment['LOCAL_RANK'] == '1'
