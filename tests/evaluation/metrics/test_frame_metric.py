"""FrameMetric: columns of any kind, each frame once, on any number of processes."""

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank, get_world_size
from mmpretrain.structures import DataSample

from abaw_mm.errors import UserError
from abaw_mm.evaluation import FrameMetric
from abaw_mm.structures import FrameTable, merge_tables

SIZE = 11  # odd, so that two processes have different shares


class KeepFrames(FrameMetric):
    """Metric over two floats and twelve bits per frame that keeps the gathered table."""

    targets = {'gt_affect': (np.nan, np.nan), 'gt_units': (False,) * 12}
    outputs = ('pred_affect',)

    def compute_metrics(self, frames: FrameTable) -> dict:
        """Keep the frames."""
        self.frames = frames
        return dict(frames=len(frames))


def make_columns() -> dict[str, torch.Tensor]:
    """Targets and outputs of ``SIZE`` frames."""
    rng = torch.Generator().manual_seed(0)
    return dict(
        gt_affect=torch.rand(SIZE, 2, generator=rng),
        gt_units=torch.rand(SIZE, 12, generator=rng) < 0.5,
        pred_affect=torch.rand(SIZE, 2, generator=rng),
    )


def make_samples() -> list[dict]:
    """One dict per frame; three clips take turns."""
    columns = make_columns()
    return [
        dict(clip=f'clip {i % 3}', frame_no=i + 1, **{name: x[i] for name, x in columns.items()})
        for i in range(SIZE)
    ]


def make_batch(rows: np.ndarray) -> dict:
    """Arrays of some frames, with clip ids of their own."""
    names = [f'clip {row % 3}' for row in rows]
    clips = list(dict.fromkeys(names))
    return dict(
        clips=clips,
        clip_id=torch.tensor([clips.index(name) for name in names]),
        frame_no=torch.from_numpy(rows + 1),
        **{name: column[rows] for name, column in make_columns().items()},
    )


def make_expected() -> FrameTable:
    """The frames as they should be gathered."""
    rows = np.concatenate([np.arange(i, SIZE, 3) for i in range(3)])
    return FrameTable.from_rows(
        [f'clip {row % 3}' for row in rows],
        rows + 1,
        **{name: column[rows].numpy() for name, column in make_columns().items()},
    )


def check_equal(got: FrameTable, expected: FrameTable) -> None:
    assert got.clip.tolist() == expected.clip.tolist()
    assert got.frame_no.tolist() == expected.frame_no.tolist()
    assert set(got.columns) == set(expected.columns)
    for name, column in expected.columns.items():
        assert got[name].dtype == column.dtype
        np.testing.assert_array_equal(got[name], column)


def check_rank(as_arrays: bool, pad: bool) -> None:
    """Score the share of a rank; with ``pad``, the last rank repeats the first frame."""
    rows = np.arange(SIZE)[get_rank() :: get_world_size()]
    if pad and get_rank() == get_world_size() - 1:
        rows = np.append(rows, 0)
    metric, samples = KeepFrames(), make_samples()
    for part in np.array_split(rows, 2):
        metric.process(None, [make_batch(part)] if as_arrays else [samples[i] for i in part])
    assert metric.evaluate(SIZE) == dict(frames=SIZE)
    check_equal(metric.frames, make_expected())


@pytest.mark.parametrize('as_arrays', [False, True])
@pytest.mark.parametrize('pad', [False, True])
@pytest.mark.parametrize('num_processes', [1, 2])
def test_gathers_floats_and_bits(run_distributed, as_arrays, pad, num_processes):
    if num_processes == 1:
        check_rank(as_arrays, pad)
    else:
        run_distributed(check_rank, as_arrays, pad)


@pytest.mark.parametrize('as_arrays', [False, True])
def test_marks_hidden_targets(as_arrays):
    metric = KeepFrames()
    samples = [make_batch(np.arange(SIZE))] if as_arrays else make_samples()
    for sample in samples:
        del sample['gt_affect']
    metric.process(None, samples)
    metric.evaluate(SIZE)
    assert metric.frames['gt_affect'].shape == (SIZE, 2)
    assert np.isnan(metric.frames['gt_affect']).all()
    np.testing.assert_array_equal(metric.frames['gt_units'], make_expected()['gt_units'])


def test_different_targets_of_a_frame_are_refused():
    metric, samples = KeepFrames(), make_samples()
    other = dict(samples[4], gt_units=~samples[4]['gt_units'])
    metric.process(None, [*samples, other])
    with pytest.raises(ValueError, match="frame 5 of 'clip 1': got two values of gt_units"):
        metric.evaluate(SIZE)


def test_outputs_that_are_not_finite_are_refused():
    samples = make_samples()
    samples[3]['pred_affect'] = torch.tensor([0.5, float('inf')])
    with pytest.raises(ValueError, match=r"got pred_affect \[0.5, inf\] for frame 4 of 'clip 0'"):
        KeepFrames().process(None, samples)


def test_no_frames_are_refused():
    metric = KeepFrames()
    metric.process(None, [])
    with pytest.raises(ValueError, match='KeepFrames: got no frame'):
        metric.evaluate(3)


def test_aligns_tables_with_floats_and_bits():
    """Merging, looking up and finding missing frames work for any columns."""
    table = make_expected()
    parts = [table.take(np.array([9, 2, 4])), table.take(np.arange(SIZE)[::-2])]
    merged = merge_tables(parts, ['gt_affect', 'gt_units'])
    present = np.unique([9, 2, 4, *range(0, SIZE, 2)])
    check_equal(merged, table.take(present))
    np.testing.assert_array_equal(
        np.setdiff1d(np.arange(SIZE), present), merged.find_missing(table)
    )
    row = merged.find(table)
    np.testing.assert_array_equal(merged['gt_units'][row[present]], table['gt_units'][present])


def test_identifies_frames_by_path_if_clip_is_missing():
    sample = make_samples()[0]
    del sample['clip']
    with pytest.raises(UserError, match='KeepFrames: .* meta_keys'):
        KeepFrames().process(None, [sample])
    metric = KeepFrames()
    paths = ['/data/x/a.jpg', '/data/y/a.jpg', '../z/b.jpg', '/data/y/a.jpg', '/' + 'long/' * 99]
    metric.process(None, [dict(sample, img_path=path) for path in paths])
    metric.evaluate(5)
    names = metric.frames.clips
    assert len(names) == 4 and [name.split()[0] for name in names if '.' in name] == [
        'a.jpg',
        'a.jpg',
        'b.jpg',
    ]


def test_accepts_data_samples_of_mmpretrain():
    """mmengine's Evaluator passes data samples as dicts; labels are tensors of one number."""

    class Labels(FrameMetric):
        def compute_metrics(self, frames):
            return dict(label=frames['gt_label'], score=frames['pred_score'].shape)

    sample = DataSample(metainfo=dict(clip='a', frame_no=1))
    sample.set_gt_label(3).set_pred_label(2).set_pred_score(torch.eye(8)[2])
    metric = Labels()
    metric.process(None, [sample.to_dict()])
    metrics = metric.evaluate(1)
    assert metrics['label'].tolist() == [3] and metrics['score'] == (1, 8)


def test_labels_beyond_int32_are_refused_not_wrapped():
    class Labels(FrameMetric):
        def compute_metrics(self, frames):
            return dict(label=frames['gt_label'])

    sample = DataSample(metainfo=dict(clip='a', frame_no=1))
    sample.set_gt_label(2**32).set_pred_score(torch.eye(8)[2])
    with pytest.raises(UserError, match='got gt_label 4294967296, expected'):
        Labels().process(None, [sample.to_dict()])
