"""DumpPredictions: complete, sorted files, the same for any number of processes."""

import csv
import hashlib
import pickle

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank, get_world_size
from mmpretrain.structures import DataSample

from abaw_mm.checkpoints import load_checkpoint_file
from abaw_mm.evaluation import DumpPredictions, Predictions
from abaw_mm.evaluation.predictions import file


def make_samples(hidden=False):
    """Make data samples of five frames of two clips."""
    out = []
    for clip, number in [('b c', 2), ('a', 1), ('b c', 1), ('a', 3), ('a', 2)]:
        sample = DataSample(metainfo=dict(clip=clip, frame_no=number))
        if not hidden:
            sample.set_gt_label(number)
        score = torch.softmax(torch.arange(8.0) * number, 0)
        out.append(sample.set_pred_score(score).set_pred_label(7).to_dict())
    return out


def dump(path, data):
    metric = DumpPredictions(str(path))
    metric.process(None, data)
    assert metric.evaluate(len(data)) == {}


def test_npz_is_sorted_and_complete(tmp_path):
    dump(tmp_path / 'deep/er/out.npz', make_samples() + make_samples()[:1])
    data = np.load(tmp_path / 'deep/er/out.npz')  # allow_pickle stays False
    assert data['clip'].tolist() == ['a', 'a', 'a', 'b c', 'b c']
    assert data['frame_no'].tolist() == [1, 2, 3, 1, 2]
    assert data['gt_label'].tolist() == [1, 2, 3, 1, 2]
    assert data['pred_label'].tolist() == [7] * 5
    assert data['classes'].tolist()[-1] == 'Other'
    np.testing.assert_allclose(
        data['pred_score'][2], torch.softmax(torch.arange(8.0) * 3, 0), rtol=1e-6
    )


def test_csv_marks_hidden_labels(tmp_path):
    dump(tmp_path / 'out.csv', make_samples(hidden=True))
    rows = list(csv.DictReader((tmp_path / 'out.csv').open()))
    assert [row['clip'] for row in rows] == ['a', 'a', 'a', 'b c', 'b c']
    assert rows[0]['gt_label'] == '-1' and float(rows[0]['Other']) > 0.6
    assert sum(float(rows[1][name]) for name in list(rows[1])[4:]) == pytest.approx(1, abs=1e-5)


def test_pkl_has_the_format_of_mmpretrain(tmp_path):
    dump(tmp_path / 'out.pkl', make_samples())
    rows = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert rows[0]['clip'] == 'a' and rows[0]['pred_score'].shape == (8,)
    assert rows[0]['gt_label'].tolist() == [1]
    assert rows[0]['classes'][-1] == 'Other' and rows[0]['config'] == ''


def test_file_names_config_and_what_was_loaded(tmp_path, monkeypatch):
    """A training may replace the checkpoint during the test."""
    path = tmp_path / 'x.pth'
    torch.save(dict(w=torch.ones(1)), path)
    checksum = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.chdir(tmp_path)
    metric = DumpPredictions(str(tmp_path / 'out.npz'), 'x.pth', 'res18')
    load_checkpoint_file(path)
    torch.save(dict(w=torch.zeros(1)), path)
    metric.process(None, make_samples())
    metric.evaluate(5)
    read = Predictions.read(tmp_path / 'out.npz')
    assert (read.sha256, read.config) == (checksum, 'res18')


def test_classes_without_names_are_numbered(tmp_path):
    metric = DumpPredictions(str(tmp_path / 'out.npz'))
    metric.dataset_meta = dict(classes=['a', 'b'])
    metric.process(None, make_samples())
    metric.evaluate(5)
    assert Predictions.read(tmp_path / 'out.npz').classes == tuple('01234567')


def check_rank(path):
    share = make_samples()[get_rank() :: get_world_size()]
    metric = DumpPredictions(path)
    metric.process(None, share)
    metric.evaluate(5)


def test_two_processes_write_the_same_file(tmp_path, run_distributed):
    dump(tmp_path / 'one.csv', make_samples())
    run_distributed(check_rank, str(tmp_path / 'two.csv'))
    assert (tmp_path / 'one.csv').read_bytes() == (tmp_path / 'two.csv').read_bytes()


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    def fail(path, table, source):
        path.write_text('half')
        raise OSError('disk full')

    dump(tmp_path / 'out.csv', make_samples())
    before = (tmp_path / 'out.csv').read_bytes()
    monkeypatch.setitem(file.WRITERS, '.csv', fail)
    with pytest.raises(OSError, match='disk full'):
        dump(tmp_path / 'out.csv', make_samples()[:2])
    assert (tmp_path / 'out.csv').read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['out.csv']


def test_unknown_suffix_is_refused():
    with pytest.raises(ValueError, match=r'\.npz, \.csv, \.pkl'):
        DumpPredictions('out.json')
