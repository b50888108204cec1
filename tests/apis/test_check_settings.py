"""Misspelt settings are refused, names of one's own are not."""

import re
from collections import Counter
from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config

from abaw_mm.apis import load_config
from abaw_mm.apis.check_settings import (
    SETTINGS,
    check_settings,
    setting_meant,
)


@pytest.mark.parametrize(
    ('name', 'meant'),
    [
        ('chekpoint', 'checkpoint'),
        ('checkpoints', 'checkpoint'),
        ('load_form', 'load_from'),
        ('train_dataloder', 'train_dataloader'),
        ('train_data_loader', 'train_dataloader'),
        ('default_hook', 'default_hooks'),
        ('optim_wraper', 'optim_wrapper'),
        ('modell', 'model'),
        ('param_schedulers', 'param_scheduler'),
        ('val_evaluater', 'val_evaluator'),
        ('checkpoint', None),
        ('data_root', None),
        ('train_pipeline', None),
        ('val_pipeline', None),
        ('test_pipeline', None),
        ('model2', None),
        ('model_50', None),
        ('_model', None),
        ('base_model', None),
        ('my_checkpoint', None),
        ('dataset_type', None),
        ('max_iters', None),
    ],
)
def test_setting_meant(name, meant):
    assert setting_meant(name) == meant


def config(tmp_path, text):
    path = tmp_path / 'mine.py'
    path.write_text(f'checkpoint = None\nmodel = dict()\n{text}\n')
    return str(path)


def test_a_misspelt_setting_is_refused(tmp_path):
    with pytest.raises(ValueError, match='chekpoint: .*did you mean checkpoint'):
        load_config(config(tmp_path, "chekpoint = 'x.pth'"))
    path = config(tmp_path, '')
    for options in ({'chekpoint': 'x.pth'}, {'train_dataloder.batch_size': 3}):
        with pytest.raises(ValueError, match='did you mean (checkpoint|train_dataloader)'):
            load_config(path, cfg_options=options)


def test_a_name_that_the_config_uses_is_ones_own(tmp_path):
    load_config(
        config(tmp_path, 'custom_hook = dict(type="EMAHook")\ncustom_hooks = [custom_hook]')
    )
    load_config(config(tmp_path, 'data_root = "x"\nlabels = 3'))


def test_an_override_without_effect_is_told(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'abaw_mm.apis.check_settings.print_log', lambda line, **kwargs: lines.append(line)
    )
    cfg = Config.fromfile(config(tmp_path, 'data_root = "x"'))
    check_settings(cfg, ['data_root', 'model.depth', 'checkpoint', 'randomness.seed'])
    assert len(lines) == 1 and 'data_root=...: data_root is no setting' in lines[0]


@pytest.mark.parametrize('seed', [-1, 2**32, 'x', 1.5])
def test_a_seed_that_is_none(tmp_path, seed):
    with pytest.raises(ValueError, match=r'randomness.seed=.*0..4294967295'):
        load_config(config(tmp_path, f'randomness = dict(seed={seed!r})'))


def test_no_false_alarm_in_any_config_of_mmpretrain_or_ours(repo):
    """Names at the top of the files, by text: each is a setting, not alike to one, or used."""
    theirs = Path(mmpretrain.__file__).parent / '.mim/configs'
    names, alarms = set(), []
    for path in [*theirs.rglob('*.py'), *(repo / 'configs').rglob('*.py')]:
        text = path.read_text()
        words = Counter(re.findall(r'\w+', text))
        for name in re.findall(r'^(\w+) *=', text, re.MULTILINE):
            names.add(name)
            if words[name] < 2 and setting_meant(name):
                alarms.append((path.name, name, setting_meant(name)))
    assert not alarms and len(names & SETTINGS) > 10
