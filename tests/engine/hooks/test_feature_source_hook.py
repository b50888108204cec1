"""Features of another source than those of the training are refused."""

from types import SimpleNamespace

import pytest
from torch import nn

from abaw_mm.datasets.features.clip_features import ClipFeatureDataset
from abaw_mm.engine.hooks import FeatureSourceHook

META = dict(sha256='a' * 64, layer='neck', dim=6, config='res18')


def make_dataset(**changes):
    dataset = ClipFeatureDataset.__new__(ClipFeatureDataset)
    meta = {**META, **changes}
    dataset.features = SimpleNamespace(meta=meta, dim=meta['dim'], path='features')
    return dataset


def make_runner(train, val):
    model = nn.Module()
    model.backbone = SimpleNamespace(in_channels=6)
    val_loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=val))
    return SimpleNamespace(
        model=model, train_dataloader=SimpleNamespace(dataset=train), val_loop=val_loop
    )


def test_source_is_stored_and_compared():
    hook, checkpoint = FeatureSourceHook(), dict(meta={})
    runner = make_runner(make_dataset(), make_dataset())
    hook.before_save_checkpoint(runner, checkpoint)
    assert checkpoint['meta']['features']['sha256'] == 'a' * 64
    hook.after_load_checkpoint(runner, checkpoint)
    hook.before_train(runner)
    other = make_dataset(sha256='b' * 64)
    with pytest.raises(ValueError, match="sha256: the checkpoint was trained on 'a.*set train_dat"):
        hook.before_train(make_runner(other, other))
    with pytest.raises(ValueError, match="sha256: train_dataloader has 'a.*set val_dataloader"):
        hook.before_train(make_runner(make_dataset(), other))


def test_features_of_another_width_are_refused():
    wide = make_dataset(dim=8)
    with pytest.raises(ValueError, match='got 8 features per frame .*, expected 6 '):
        FeatureSourceHook().before_train(make_runner(wide, wide))


def test_dataset_without_features_is_refused():
    with pytest.raises(TypeError, match='got a list, expected a ClipFeatureDataset'):
        FeatureSourceHook().before_train(make_runner([], []))
