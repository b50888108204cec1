"""WindowDataPreprocessor: invalid batches; valid ones are tested with TemporalClassifier."""

import pytest
import torch

from abaw_mm.errors import UserError
from abaw_mm.models import WindowDataPreprocessor
from abaw_mm.models.data_preprocessors.window_data_preprocessor import drop_streams


def test_batch_of_images_raises():
    with pytest.raises(ValueError, match=r"got a batch with \['inputs'\].*ClipFeatureDataset"):
        WindowDataPreprocessor()(dict(inputs=torch.zeros(1, 3, 4, 4)))


def make_windows(number=2):
    """Return a batch of windows of four frames with two streams; audio lacks the last frame."""
    seen = dict(video=torch.ones(number, 4).bool(), audio=torch.ones(number, 4).bool())
    seen['audio'][:, 3] = False
    return dict(
        inputs=dict(video=torch.ones(number, 4, 5).half(), audio=torch.ones(number, 4, 3).half()),
        seen=seen,
        scored=torch.tensor([[False, True, True, False]]).repeat(number, 1),
        frame_no=torch.arange(4).repeat(number, 1),
        gt_label=torch.tensor([[-1, 3, 5, -1]]).repeat(number, 1),
        clip=['a'] * number,
        sample_idx=torch.arange(number),
    )


def test_streams_of_a_batch():
    out = WindowDataPreprocessor()(make_windows())
    (batch,) = out['data_samples']
    assert {name: x.dtype for name, x in out['inputs'].items()} == dict(
        video=torch.float32, audio=torch.float32
    )
    assert batch.place.tolist() == [1, 2, 5, 6] and batch.gt_label.tolist() == [3, 5, 3, 5]
    assert batch.seen['audio'].tolist() == [[True, True, True, False]] * 2


def test_streams_are_dropped_in_training_only_at_their_rates_and_never_all():
    preprocessor = WindowDataPreprocessor(stream_dropout=dict(video=0.5, audio=0.2))
    data = make_windows(4000)
    torch.manual_seed(0)
    seen = preprocessor(data, training=True)['data_samples'][0].seen
    assert (seen['video'] | seen['audio']).all()
    assert seen['video'][:, 3].all()  # the only stream of this frame
    # both are drawn in one window of ten, which keeps both
    video, audio = (mask[:, :3] for mask in (seen['video'], seen['audio']))
    assert (video == video[:, :1]).all() and (audio == audio[:, :1]).all()  # whole windows
    assert video.float().mean().item() == pytest.approx(1 - 0.5 + 0.1, abs=0.03)
    assert audio.float().mean().item() == pytest.approx(1 - 0.2 + 0.1, abs=0.03)
    torch.manual_seed(0)
    again = preprocessor(data, training=True)['data_samples'][0].seen
    assert all(torch.equal(seen[name], again[name]) for name in seen)
    untouched = preprocessor(data, training=False)['data_samples'][0].seen
    assert all(torch.equal(untouched[name], data['seen'][name]) for name in seen)


def test_stream_that_is_not_named_is_always_seen():
    seen = make_windows(50)['seen']
    assert torch.equal(drop_streams(seen, dict(audio=0.5))['video'], seen['video'])


def test_stream_dropout_without_effect_is_refused():
    single = {**make_windows(), 'inputs': torch.ones(2, 4, 5), 'seen': torch.ones(2, 4).bool()}
    preprocessor = WindowDataPreprocessor(stream_dropout=dict(audio=0.5))
    with pytest.raises(UserError, match='stream_dropout of audio for a single folder'):
        preprocessor(single, training=True)
    preprocessor = WindowDataPreprocessor(stream_dropout=dict(sound=0.5))
    with pytest.raises(UserError, match='stream_dropout of sound for the streams video, audio'):
        preprocessor(make_windows(), training=True)
    for wrong in (0, 1, 'a', -0.5):
        with pytest.raises(UserError, match='stream_dropout.video'):
            WindowDataPreprocessor(stream_dropout=dict(video=wrong))
