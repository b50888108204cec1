"""Misspelt settings are errors; variables of the config may have any name."""

import re
from collections import Counter
from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config

from abaw_mm.apis import load_config
from abaw_mm.apis.check_settings import SETTINGS, check_settings, find_closest_setting


@pytest.mark.parametrize(
    ('name', 'closest'),
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
        ('model_50', None),
        ('base_model', None),
        ('dataset_type', None),
        ('max_iters', None),
    ],
)
def test_closest_setting(name, closest):
    assert find_closest_setting(name) == closest


def write_config(tmp_path, text=''):
    path = tmp_path / 'mine.py'
    path.write_text(f'checkpoint = None\nmodel = dict()\n{text}\n')
    return str(path)


@pytest.mark.parametrize(
    ('text', 'options', 'closest'),
    [
        ("chekpoint = 'x.pth'", None, 'checkpoint'),
        ('', {'chekpoint': 'x.pth'}, 'checkpoint'),
        ('', {'train_dataloder.batch_size': 3}, 'train_dataloader'),
    ],
)
def test_misspelt_setting_is_an_error(tmp_path, text, options, closest):
    with pytest.raises(ValueError, match=f'did you mean {closest}'):
        load_config(write_config(tmp_path, text), cfg_options=options)


@pytest.mark.parametrize(
    'text',
    [
        'custom_hook = dict(type="EMAHook")\ncustom_hooks = [custom_hook]',
        'model2 = dict()\nmodel = model2',
        'data_root = "x"\nlabels = 3',
    ],
)
def test_variables_may_have_any_name(tmp_path, text):
    load_config(write_config(tmp_path, text))


def test_override_without_effect_is_a_warning(tmp_path, monkeypatch):
    lines = []
    monkeypatch.setattr(
        'abaw_mm.apis.check_settings.print_log', lambda line, **kwargs: lines.append(line)
    )
    cfg = Config.fromfile(write_config(tmp_path, 'data_root = "x"'))
    check_settings(cfg, ['data_root', 'model.depth', 'checkpoint', 'randomness.seed'])
    assert len(lines) == 1 and 'data_root=...: nothing reads data_root' in lines[0]


def test_no_false_alarm_in_configs_of_mmpretrain_and_ours(repo):
    """Each top-level name is a setting, not similar to one, or used in its file."""
    theirs = Path(mmpretrain.__file__).parent / '.mim/configs'
    names, alarms = set(), []
    for path in [*theirs.rglob('*.py'), *(repo / 'configs').rglob('*.py')]:
        text = path.read_text()
        words = Counter(re.findall(r'\w+', text))
        for name in re.findall(r'^(\w+) *=', text, re.MULTILINE):
            names.add(name)
            if words[name] < 2 and find_closest_setting(name):
                alarms.append((path.name, name, find_closest_setting(name)))
    assert not alarms and len(names & SETTINGS) > 10
