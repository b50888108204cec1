"""The frequencies of classes that a training saw."""

import numpy as np
import pytest
from mmengine.config import Config

from abaw_mm.datasets.samplers.frame_stride import repeat_factors
from abaw_mm.evaluation.predictions.class_balance import ClassBalance


def test_shares_equal_those_of_the_frames_that_the_sampler_draws():
    labels = np.repeat(np.arange(4), [700, 200, 90, 10])
    seen = np.bincount(np.repeat(labels, repeat_factors(labels, 0.15)))
    shares = np.bincount(labels) / len(labels)
    np.testing.assert_allclose(ClassBalance(0.15).apply(shares), seen / seen.sum())
    np.testing.assert_allclose(ClassBalance().apply(shares), shares)


def test_weights_of_the_loss_count():
    balance = ClassBalance(0.0, (1.0, 9.0))
    np.testing.assert_allclose(balance.apply(np.array([0.9, 0.1])), [0.5, 0.5])
    with pytest.raises(ValueError, match='got 2 weights for 3 classes'):
        balance.apply(np.full(3, 1 / 3))


@pytest.mark.parametrize(
    ('name', 'options', 'expected'),
    [
        ('res18_srp_affwild2', {}, ClassBalance()),
        ('irnet50_affwild2', {}, ClassBalance(0.15)),
        ('res18_srp_demo', {}, ClassBalance(0.15)),
        ('temporal_tcn_affwild2', {}, ClassBalance()),
        (
            'res18_srp_affwild2',
            {'model.head.loss': dict(type='CrossEntropyLoss', class_weight=[1.0, 2.0])},
            ClassBalance(0.0, (1.0, 2.0)),
        ),
        (
            'res18_srp_affwild2',
            {'train_dataloader.sampler.class_balance': 'uniform'},
            ClassBalance(uniform=True),
        ),
        # the checkpoint says it
        ('res18_srp_affwild2', {'custom_hooks': [dict(type='ClassFrequencyHook')]}, None),
        ('res18_srp_affwild2', {'train_dataloader.sampler.type': 'MySampler'}, None),
        ('res18_srp_affwild2', {'train_dataloader': None}, None),
        (
            'res18_srp_affwild2_plain',
            {'train_dataloader.dataset': dict(type='ClassBalancedDataset', oversample_thr=0.1)},
            None,
        ),
    ],
)
def test_balance_of_a_config(repo, name, options, expected):
    cfg = Config.fromfile(str(repo / f'configs/{name}.py'))
    cfg.merge_from_dict(options)
    assert ClassBalance.from_config(cfg) == expected


@pytest.mark.parametrize(
    'balance',
    [
        ClassBalance(0.15, (1.0, 2.5)),
        ClassBalance(uniform=True, class_weight=(1.0, 3.0)),
        ClassBalance(logit_tau=0.5),
    ],
)
def test_balance_is_read_as_written(balance):
    assert ClassBalance.parse(balance.format()) == balance


def test_format_of_earlier_versions_is_kept():
    text = '{"oversample_thr": 0.15, "class_weight": null}'
    assert ClassBalance(0.15).format() == text and ClassBalance.parse(text) == ClassBalance(0.15)


@pytest.mark.parametrize('wrong', ['"uniform": 1', '"logit_tau": -1', '"logit_tau": NaN'])
def test_wrong_values_are_refused(wrong):
    with pytest.raises(ValueError, match='got class_balance'):
        ClassBalance.parse(f'{{"oversample_thr": 0, "class_weight": null, {wrong}}}')


def test_adjustment_of_training_and_of_scores_add_up_to_one():
    shares = np.array([0.7, 0.2, 0.1])
    posterior = np.array([0.5, 0.3, 0.2])
    balanced = posterior / shares
    for tau in (0.0, 0.4, 1.0):
        score = posterior / shares**tau  # what a network trained with this offset predicts
        adjusted = score / ClassBalance(logit_tau=tau).apply(shares)
        np.testing.assert_allclose(adjusted / adjusted.sum(), balanced / balanced.sum())
