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
    dataset.streams = {'': SimpleNamespace(meta=meta, dim=meta['dim'], path='features')}
    return dataset


def make_streams(audio=None, **changes):
    """Make a dataset of two streams; ``changes`` are those of the video."""
    dataset = make_dataset(**changes)
    meta = dict(sha256='c' * 64, layer='mel', dim=3, config='mel', seconds=0.5) | (audio or {})
    sound = SimpleNamespace(meta=meta, dim=meta['dim'], path='audio')
    dataset.streams = dict(video=dataset.streams[''], audio=sound)
    return dataset


def make_runner(train, val, in_channels=6):
    model = nn.Module()
    model.backbone = SimpleNamespace(in_channels=in_channels)
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


def test_single_folder_is_stored_as_in_earlier_versions():
    checkpoint = dict(meta={})
    FeatureSourceHook().before_save_checkpoint(
        make_runner(make_dataset(), make_dataset()), checkpoint
    )
    assert checkpoint['meta']['features'] == dict(
        sha256='a' * 64, layer='neck', dim=6, amp=None, pipeline=None, data_preprocessor=None
    )


WIDTHS = dict(video=6, audio=3)


def test_every_stream_is_stored_and_compared():
    hook, checkpoint = FeatureSourceHook(), dict(meta={})
    hook.before_save_checkpoint(make_runner(make_streams(), make_streams(), WIDTHS), checkpoint)
    assert checkpoint['meta']['features']['audio']['seconds'] == 0.5
    hook.after_load_checkpoint(None, checkpoint)
    hook.before_train(make_runner(make_streams(), make_streams(), WIDTHS))
    for changed, message in (
        (make_streams(sha256='b' * 64), "video sha256: the checkpoint was trained on 'a"),
        (make_streams(audio=dict(sha256='d' * 64)), "audio sha256: the checkpoint .* on 'c"),
        (make_streams(audio=dict(seconds=1.0)), 'audio seconds: the checkpoint was trained on 0.5'),
    ):
        with pytest.raises(ValueError, match=message):
            hook.before_train(make_runner(changed, changed, WIDTHS))
        with pytest.raises(ValueError, match='train_dataloader has .*set val_dataloader'):
            FeatureSourceHook().before_train(make_runner(make_streams(), changed, WIDTHS))


def test_widths_and_names_of_streams_are_compared():
    wide = make_streams(audio=dict(dim=4))
    with pytest.raises(ValueError, match=r'audio: got 4 .* set model.backbone.in_channels.audio=4'):
        FeatureSourceHook().before_train(make_runner(wide, wide, WIDTHS))
    both, single = make_streams(), make_dataset()
    with pytest.raises(ValueError, match='got the streams audio, video, .* has one folder'):
        FeatureSourceHook().before_train(make_runner(both, both, 6))
    with pytest.raises(ValueError, match='got one folder, .* has the streams audio, video'):
        FeatureSourceHook().before_train(make_runner(single, single, WIDTHS))
    hook = FeatureSourceHook()
    hook.known = {'': {}}
    with pytest.raises(ValueError, match='the checkpoint was trained on one folder'):
        hook.before_train(make_runner(both, both, WIDTHS))
