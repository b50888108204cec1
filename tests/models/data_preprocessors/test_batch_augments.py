"""Batch augments of mmpretrain's classifiers raise with batches of frames and windows."""

import pytest
from mmpretrain.registry import MODELS

PREPROCESSORS = [
    dict(type='FrameDataPreprocessor', mean=[0.0] * 3, std=[1.0] * 3),
    dict(type='WindowDataPreprocessor'),
]


@pytest.mark.parametrize('data_preprocessor', PREPROCESSORS, ids=lambda cfg: cfg['type'])
def test_batch_augments_raise(data_preprocessor):
    model = dict(
        type='ImageClassifier',
        backbone=dict(type='ResNet', depth=18),
        train_cfg=dict(augments=dict(type='Mixup', alpha=0.8)),
        data_preprocessor=data_preprocessor,
    )
    with pytest.raises(ValueError, match='model.train_cfg.augments: got .*Mixup'):
        MODELS.build(model)
