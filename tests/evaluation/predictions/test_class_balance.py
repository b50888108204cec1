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
