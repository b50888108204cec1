"""Weights and frequencies of classes are those of the training set, and are recorded."""

from types import SimpleNamespace

import numpy as np
import pytest
from mmengine.config import Config
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm.datasets import AffWild2Dataset, ClipFeatureDataset
from abaw_mm.engine.hooks import ClassFrequencyHook
from abaw_mm.errors import UserError
from abaw_mm.evaluation import DumpPredictions
from abaw_mm.evaluation.predictions.class_balance import ClassBalance

TRAIN = 'annotations/EXPR_Recognition_Challenge/Train_Set'
COUNTS = np.array([21, 1, 1, 1, 7, 1, 1, 3])  # labelled frames of the tiny data that have a crop
HOOKS = dict(class_frequency=dict(type='ClassFrequencyHook'))


@pytest.fixture
def make_runner(tiny):
    """Return a function that makes the parts of a runner that the hook reads."""

    def make(loss, dataset=None, class_balance=None):
        model = nn.Module()
        model.head = MODELS.build(
            dict(type='LinearClsHead', num_classes=8, in_channels=2, loss=loss)
        )
        dataset = (
            AffWild2Dataset(TRAIN, str(tiny), index_cache=None) if dataset is None else dataset
        )
        sampler = dict(type='FrameStrideSampler')
        if class_balance:
            sampler['class_balance'] = class_balance
        return SimpleNamespace(
            model=model,
            train_dataloader=SimpleNamespace(dataset=dataset),
            cfg=Config(dict(train_dataloader=dict(sampler=sampler), default_hooks=HOOKS)),
        )

    return make


@pytest.mark.parametrize(
    'loss',
    [
        dict(type='CrossEntropyLoss'),
        dict(type='SoftmaxFocalLoss'),
        dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=8),
    ],
    ids=lambda loss: loss['type'],
)
def test_loss_gets_the_weights_of_the_index(make_runner, loss):
    runner = make_runner(loss)
    hook = ClassFrequencyHook('inverse_frequency')
    hook.before_train(runner)
    module = runner.model.head.loss_module
    expected = (21 / COUNTS).tolist()
    assert getattr(module, 'ce', module).class_weight == pytest.approx(expected)
    assert hook.balance == ClassBalance(class_weight=tuple(expected))


def test_effective_number_and_features(make_runner, tiny, make_features, tmp_path):
    make_features(tmp_path / 'f', tiny)
    dataset = ClipFeatureDataset(str(tmp_path / 'f'), TRAIN, str(tiny), window=4, step=2)
    runner = make_runner(dict(type='CrossEntropyLoss'), dataset)
    ClassFrequencyHook('effective_number', beta=0.9).before_train(runner)
    number = 1 - 0.9**COUNTS
    assert runner.model.head.loss_module.class_weight == pytest.approx(number[0] / number)


@pytest.mark.parametrize('class_balance', [None, dict(oversample_thr=0.15)])
def test_logits_are_adjusted_by_the_frequencies_that_are_drawn(make_runner, class_balance):
    runner = make_runner(dict(type='LogitAdjustedLoss', tau=0.5), class_balance=class_balance)
    hook = ClassFrequencyHook()
    hook.before_train(runner)
    seen = COUNTS / COUNTS.sum()
    thr = 0.0
    if class_balance:
        thr = 0.15
        seen = seen * np.ceil(np.maximum(1, np.sqrt(0.15 / seen)))
    prior = seen / seen.sum()
    assert runner.model.head.loss_module.prior == pytest.approx(prior)
    assert hook.balance == ClassBalance(thr, logit_tau=0.5)
    # what the scores are proportional to: the frequencies without half of the adjustment
    expected = prior**0.5 / (prior**0.5).sum()
    np.testing.assert_allclose(hook.balance.apply(COUNTS / COUNTS.sum()), expected)


def test_checkpoint_and_predictions_record_the_balance(make_runner, tmp_path):
    runner, checkpoint = make_runner(dict(type='CrossEntropyLoss')), dict(meta={})
    trained = ClassFrequencyHook('inverse_frequency')
    trained.before_train(runner)
    trained.before_save_checkpoint(runner, checkpoint)
    for saved, expected in ((checkpoint, trained.balance), (dict(meta={}), None)):
        dump = DumpPredictions(str(tmp_path / 'p.npz'), balance=None)
        tested = ClassFrequencyHook('inverse_frequency')
        tested.after_load_checkpoint(runner, saved)
        evaluator = SimpleNamespace(metrics=[dump])
        tested.before_test(SimpleNamespace(test_loop=SimpleNamespace(evaluator=evaluator)))
        assert dump.balance == expected
    # the config alone does not say the weights
    assert ClassBalance.from_config(runner.cfg) is None
    # a corrected prior is not corrected again: inverse weights leave nothing to adjust
    np.testing.assert_allclose(trained.balance.apply(COUNTS / COUNTS.sum()), np.full(8, 1 / 8))


@pytest.mark.parametrize(
    ('loss', 'options', 'class_balance', 'message'),
    [
        ('CrossEntropyLoss', {}, None, 'class_weight=None with CrossEntropyLoss, .* no effect'),
        ('FocalLoss', dict(class_weight='inverse_frequency'), None, 'FocalLoss, .* SoftmaxFocal'),
        (
            'LogitAdjustedLoss',
            dict(class_weight='inverse_frequency'),
            None,
            'with a LogitAdjustedLoss, expected None',
        ),
        ('LogitAdjustedLoss', {}, 'uniform', 'draws equally often, so that it has no effect'),
    ],
)
def test_settings_without_effect_are_refused(make_runner, loss, options, class_balance, message):
    runner = make_runner(dict(type=loss), class_balance=class_balance)
    with pytest.raises(UserError, match=message):
        ClassFrequencyHook(**options).before_train(runner)


def test_weights_given_twice_and_absent_classes_are_refused(make_runner, tiny):
    runner = make_runner(dict(type='CrossEntropyLoss', class_weight=[1.0] * 8))
    with pytest.raises(UserError, match='model.head.loss.class_weight as well'):
        ClassFrequencyHook('inverse_frequency').before_train(runner)
    clip = AffWild2Dataset(TRAIN, str(tiny), index_cache=None, clips=['face clip 3'])
    runner = make_runner(dict(type='LogitAdjustedLoss'), clip)
    with pytest.raises(UserError, match='no training frame of class 0, 1, 2, 3, 5, 6, expected'):
        ClassFrequencyHook().before_train(runner)
    with pytest.raises(UserError, match='beta=0.9 with class_weight=None'):
        ClassFrequencyHook(beta=0.9)
