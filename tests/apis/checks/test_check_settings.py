"""Misspelt settings are errors; variables of the config may have any name."""

import re
from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config

from abaw_mm.apis import load_config
from abaw_mm.apis.checks.check_settings import check_settings, find_closest_setting
from abaw_mm.errors import InvalidValueError
from abaw_mm.paper.sweep import format_config


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
        ('max_iters', 'train_cfg.max_iters'),
        ('batch_size', 'train_dataloader.batch_size'),
        ('optimizer', 'optim_wrapper.optimizer'),
        ('lr_config', 'param_scheduler'),
        ('labels', None),
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
    ('text', 'place'),
    [
        ("optimizer = dict(type='SGD')", 'optim_wrapper.optimizer'),
        ('data = dict(samples_per_gpu=8)', 'train_dataloader, val_dataloader and test_dataloader'),
        ("runner = dict(type='IterBasedRunner')", 'train_cfg'),
        ("lr_config = dict(policy='step')", 'param_scheduler'),
        ("resume_from = 'x.pth'", 'load_from, with resume=True'),
        ('batch_size = 3', 'train_dataloader.batch_size'),
        ('max_iters = 100', 'train_cfg.max_iters'),
        ('bach_size = 100', 'train_dataloader.batch_size'),
        ('labels = 3', None),
        ("data_root = '/data'", None),
        ("custom_hook = dict(type='EMAHook')", 'custom_hooks'),
    ],
)
def test_name_that_nothing_reads_is_an_error(tmp_path, text, place):
    advice = f'did you mean {place}' if place else 'remove it'
    name = text.split(' =')[0]
    with pytest.raises(InvalidValueError, match=f'mine.py: nothing reads {name}; {advice}'):
        load_config(write_config(tmp_path, text))


@pytest.mark.parametrize(
    'text',
    [
        'custom_hook = dict(type="EMAHook")\ncustom_hooks = [custom_hook]',
        'model2 = dict()\nmodel = model2',
        "data_root = 'x'\ntrain_dataloader = dict(dataset=dict(data_root=data_root))",
        "size = 3\nwork_dir = f'run_{size}'",
        'lr = 0.1\nrates = [lr * i for i in range(3)]\noptim_wrapper = dict(rates=rates)',
        "workers = int('{{$WORKERS:2}}')\ntrain_dataloader = dict(num_workers=workers)",
        '_author = 3',
    ],
)
def test_variables_may_have_any_name(tmp_path, text):
    load_config(write_config(tmp_path, text))


def derive(tmp_path, base, text):
    """Write a config that derives from another one."""
    (tmp_path / 'base.py').write_text(base)
    path = tmp_path / 'derived.py'
    path.write_text(f"_base_ = ['base.py']\n{text}")
    return str(path)


BASE = "data_root = 'x'\ntrain_dataloader = dict(dataset=dict(data_root=data_root))\n"


def test_variable_of_a_base_file_may_be_used_in_a_derived_file(tmp_path):
    text = 'val_dataloader = dict(dataset=dict(data_root={{_base_.root}}))'
    cfg = load_config(derive(tmp_path, "root = '/data'", text))
    assert cfg.val_dataloader.dataset.data_root == '/data'


def test_override_of_a_variable_of_the_base_file_is_an_error(tmp_path):
    """The base file has used its own value, so the override would have no effect."""
    path = derive(tmp_path, BASE, "data_root = 'y'")
    message = r'derived.py: nothing reads data_root; set train_dataloader\.dataset\.data_root'
    with pytest.raises(InvalidValueError, match=message):
        load_config(path)


@pytest.mark.parametrize('is_flat', [False, True])
def test_written_config_may_have_variables_that_nothing_reads(repo, tmp_path, is_flat):
    """mmengine and the sweep write all values of a config, those of former variables as well."""
    cfg = load_config(str(repo / 'configs/res18_srp_demo.py'))
    written = tmp_path / 'written.py'
    if is_flat:
        written.write_text(format_config(cfg))
    else:
        cfg.dump(str(written))
    text = written.read_text()
    assert load_config(str(written)).data_root == 'data/affwild2'
    written.write_text(f'{text}\nlr_config = 3\n')
    with pytest.raises(InvalidValueError, match='did you mean param_scheduler'):
        load_config(str(written))


def test_misspelt_setting_in_yaml_is_an_error(tmp_path):
    path = tmp_path / 'mine.yaml'
    path.write_text('chekpoint: x.pth\n')
    with pytest.raises(InvalidValueError, match='nothing reads chekpoint; did you mean checkpoint'):
        load_config(str(path))


@pytest.mark.parametrize(
    ('key', 'advice'),
    [
        ('data_root', r'set train_dataloader\.dataset\.data_root instead'),
        ('lr', r'did you mean optim_wrapper\.optimizer\.lr'),
        ('trian_dataloader.batch_size', r'did you mean train_dataloader'),
        ('nothing.at.all', 'remove it'),
        ('auto_scale_lr.base_bach_size', r'did you mean auto_scale_lr\.base_batch_size'),
        ('default_hooks.checkpoint.intervall', r'did you mean default_hooks\.checkpoint\.interval'),
        ('env_cfg.dist_cfg.timeoutt', r'did you mean env_cfg\.dist_cfg\.timeout'),
        ('env_cfg.mp_cfg.start_method', r'did you mean env_cfg\.mp_cfg\.mp_start_method'),
        ('randomness.sed', r'did you mean randomness\.seed'),
        ('optim_wrapper.clip_grad.max_norms', r'did you mean optim_wrapper\.clip_grad\.max_norm'),
        ('optim_wrapper.paramwise_cfg.norm_decay_mul', r'did you mean .*norm_decay_mult'),
    ],
)
def test_override_without_effect_is_an_error(tmp_path, key, advice):
    path = write_config(tmp_path, BASE)
    with pytest.raises(InvalidValueError, match=f'{key}.*: nothing reads .*{advice}'):
        load_config(path, cfg_options={key: 3})
    load_config(path, cfg_options={'randomness.seed': 3, 'auto_scale_lr.base_batch_size': 8})


@pytest.mark.parametrize('key', ['auto_scale_lr', 'randomness', 'env_cfg', 'custom_imports'])
def test_value_in_place_of_a_dict_is_an_error(tmp_path, key):
    with pytest.raises(InvalidValueError, match=f'{key}: got True, expected a dict'):
        load_config(write_config(tmp_path, BASE), cfg_options={key: True})


def test_find_unused_parameters_beside_a_wrapper_is_an_error(tmp_path):
    """The Runner reads the key only for a wrapper of its own."""
    load_config(write_config(tmp_path, 'find_unused_parameters = True'))
    text = "find_unused_parameters = True\nmodel_wrapper_cfg = dict(type='X')"
    with pytest.raises(InvalidValueError, match=r'model_wrapper_cfg\.find_unused_parameters'):
        load_config(write_config(tmp_path, text))


def test_no_false_alarm_in_configs_of_mmpretrain_and_ours(repo):
    theirs = Path(mmpretrain.__file__).parent / '.mim/configs'
    ours = [
        path
        for folder in ('configs', 'benchmarks', 'docs/logs')
        for path in list_configs(repo / folder)
    ]
    paths = [*ours, *sorted(theirs.glob('[a-d]*/*.py'))[::10]]
    alarms = []
    for path in paths:
        try:
            check_settings(Config.fromfile(path))
        except InvalidValueError as error:
            alarms.append(str(error))
    assert not alarms and len(paths) > 40


def list_configs(folder):
    """List the configs in a folder, which, unlike scripts, derive from others or have a model."""
    return [
        path
        for path in folder.rglob('*.py')
        if re.search(r'^(_base_|model|\w+_dataloader) =', path.read_text(), re.MULTILINE)
    ]
