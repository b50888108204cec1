"""Mistakes in a config are reported when its Runner is built."""

import pytest
import torch
from mmpretrain.registry import MODELS

from abaw_mm.apis import load_config
from abaw_mm.apis.build_runner import build_runner
from abaw_mm.errors import InvalidTypeError, InvalidValueError
from abaw_mm.models.necks import SpatialReservePooling


def load(repo, tiny, tmp_path, **options):
    return load_config(
        str(repo / 'configs/res18_srp_demo.py'),
        work_dir=str(tmp_path),
        cfg_options={
            'train_dataloader.dataset.data_root': str(tiny),
            'train_dataloader.num_workers': 0,
            'train_dataloader.persistent_workers': False,
            'val_dataloader.dataset.data_root': str(tiny),
            'val_dataloader.num_workers': 0,
            'val_dataloader.persistent_workers': False,
            **{key.replace('__', '.'): value for key, value in options.items()},
        },
    )


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(model__backbone__type='ResNot'), 'ResNot is not in the'),
        (dict(model__bakcbone={}), "unknown argument 'bakcbone'"),
        (dict(model__backbone__depth=19), '19'),
        (dict(train_dataloader__dataset__strat_index=1), "unknown argument 'strat_index'"),
        (dict(train_dataloader__sampler__type='NoSampler'), 'NoSampler is not in the'),
        (dict(val_dataloader__dataset__pipeline=[dict(type='NoStep')]), 'NoStep is not in the'),
        (dict(val_evaluator=dict(type='NoMetric')), 'NoMetric is not in the'),
        (dict(optim_wrapper__optimizer__learning_rate=1), "argument 'learning_rate'"),
        (dict(param_scheduler=[dict(type='NoLR')]), 'NoLR is not in the'),
        (dict(default_hooks__logger__intervall=3), "argument 'intervall'"),
        (dict(train_dataloader=None), 'train_dataloader'),
    ],
)
def test_mistake_is_a_user_error_that_names_its_place(repo, tiny, tmp_path, options, message):
    where = '' if message.startswith('unknown argument') else 'res18_srp_demo.py: .*'
    with pytest.raises((InvalidValueError, InvalidTypeError), match=where + message):
        build_runner(load(repo, tiny, tmp_path, **options))


VIT = dict(_delete_=True, type='VisionTransformer', arch='deit-tiny', frozen_stages=13)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (
            dict(model__backbone__frozen_stages=5),
            'got 5 for ResNet, expected -1 .none. to 3; set model.backbone.frozen_stages',
        ),
        (dict(model__backbone=VIT), 'got 13 for VisionTransformer, expected -1 .none. to 12; set'),
        (
            dict(model__head__loss=dict(class_weight=[1.0] * 7)),
            r'len\(model.head.loss.class_weight\)=7, .*expected the same number everywhere',
        ),
        (
            dict(optim_wrapper__optimizer=dict(type='AdamW', lr=1e-3)),
            "'(momentum|nesterov)'.*; if the key is inherited, put _delete_=True into this dict",
        ),
        (dict(train_cfg__max_itres=3), "'max_itres'; did you mean max_iters\\?$"),
        (dict(model__backbone__frozen_stage=1), "'frozen_stage'; did you mean frozen_stages\\?$"),
        (
            dict(default_hooks__checkpoint__save_best='macro_f1'),
            "save_best: got 'macro_f1', expected a score .* begin with 'affwild2/'; add that",
        ),
        (
            dict(optim_wrapper__paramwise_cfg=dict(custom_keys={'bakbone': dict(lr_mult=0.1)})),
            "custom_keys: got 'bakbone', expected a part of .*; did you mean backbone",
        ),
        (
            dict(optim_wrapper__paramwise_cfg=dict(custom_keys={'backbone': dict(lr_mul=0.1)})),
            "custom_keys: got 'backbone' with lr_mul; did you mean lr_mult\\?",
        ),
    ],
)
def test_mistake_is_reported_with_its_fix(repo, tiny, tmp_path, options, message):
    with pytest.raises(InvalidValueError, match=message) as error:
        build_runner(load(repo, tiny, tmp_path, **options))
    assert '\n' not in str(error.value)


def test_advice_on_an_inherited_optimizer_works(repo, tiny, tmp_path):
    optimizer = dict(_delete_=True, type='AdamW', lr=1e-3)
    runner = build_runner(load(repo, tiny, tmp_path, optim_wrapper__optimizer=optimizer))
    assert type(runner.optim_wrapper.optimizer).__name__ == 'AdamW'


@pytest.mark.parametrize(('accumulated', 'lr'), [(1, 0.05), (2, 0.1), (3, 0.15)])
def test_training_continues_from_what_was_built(repo, tiny, tmp_path, accumulated, lr):
    """The learning rate is scaled once by the batch of an update; schedulers start from it."""
    options = dict(
        optim_wrapper__accumulative_counts=accumulated,
        train_dataloader__batch_size=2,
        train_cfg__max_iters=1,
        auto_scale_lr=dict(base_batch_size=4, enable=True),
        optim_wrapper__optimizer__lr=0.1,
        param_scheduler=[dict(type='ConstantLR', factor=1.0, by_epoch=False)],
    )
    runner = build_runner(load(repo, tiny, tmp_path, **options))
    loop, optimizer = runner.train_loop, runner.optim_wrapper.optimizer
    runner.train()
    assert runner.train_loop is loop and runner.optim_wrapper.optimizer is optimizer
    assert optimizer.param_groups[0]['lr'] == pytest.approx(lr)


@MODELS.register_module(force=True)
class NeckWithUnusedLayer(SpatialReservePooling):
    """A neck with parameters that no loss depends on."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.unused = torch.nn.Linear(1, 1)


def train_with_unused_parameters(repo, tiny, tmp_path, find):
    """Train two steps in one of two processes."""
    cfg = load(
        repo,
        tiny,
        tmp_path,
        model__neck__type='NeckWithUnusedLayer',
        find_unused_parameters=find,
        train_cfg__max_iters=2,
        train_cfg__val_interval=9,
        train_dataloader__batch_size=2,
    )
    cfg.launcher = 'pytorch'
    runner = build_runner(cfg)
    assert runner.model.find_unused_parameters is find
    runner.train()
    assert runner.iter == 2


@pytest.mark.slow
def test_unused_parameters_train_on_two_processes(repo, tiny, tmp_path, run_distributed):
    run_distributed(train_with_unused_parameters, repo, tiny, tmp_path, True)
    with pytest.raises(Exception, match='find_unused_parameters=True'):
        run_distributed(train_with_unused_parameters, repo, tiny, tmp_path, False)
