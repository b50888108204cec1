"""Files of predictions: complete, sorted, the same for any number of processes."""

import csv
import pickle

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank, get_world_size
from mmpretrain.structures import DataSample

from abaw_mm.evaluation import DumpPredictions, dump_predictions


def frames(hidden=False):
    out = []
    for clip, number in [('b c', 2), ('a', 1), ('b c', 1), ('a', 3), ('a', 2)]:
        sample = DataSample(metainfo=dict(clip=clip, frame_no=number))
        if not hidden:
            sample.set_gt_label(number)
        score = torch.softmax(torch.arange(8.) * number, 0)
        out.append(sample.set_pred_score(score).set_pred_label(7).to_dict())
    return out


def dump(path, data):
    metric = DumpPredictions(str(path))
    metric.process(None, data)
    assert metric.evaluate(len(data)) == {}


def test_npz(tmp_path):
    dump(tmp_path / 'deep/er/out.npz', frames() + frames()[:1])
    data = np.load(tmp_path / 'deep/er/out.npz')  # allow_pickle stays False
    assert data['clip'].tolist() == ['a', 'a', 'a', 'b c', 'b c']
    assert data['frame_no'].tolist() == [1, 2, 3, 1, 2]
    assert data['gt_label'].tolist() == [1, 2, 3, 1, 2]
    assert data['pred_label'].tolist() == [7] * 5
    assert data['classes'].tolist()[-1] == 'Other'
    np.testing.assert_allclose(
        data['pred_score'][2], torch.softmax(torch.arange(8.) * 3, 0), rtol=1e-6)


def test_csv_and_hidden_labels(tmp_path):
    dump(tmp_path / 'out.csv', frames(hidden=True))
    rows = list(csv.DictReader((tmp_path / 'out.csv').open()))
    assert [row['clip'] for row in rows] == ['a', 'a', 'a', 'b c', 'b c']
    assert rows[0]['gt_label'] == '-1' and float(rows[0]['Other']) > 0.6
    assert sum(float(rows[1][name]) for name in list(rows[1])[4:]) == pytest.approx(1, abs=1e-5)


def test_pkl_is_mmpretrains(tmp_path):
    dump(tmp_path / 'out.pkl', frames())
    rows = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert rows[0]['clip'] == 'a' and rows[0]['pred_score'].shape == (8, )
    assert rows[0]['gt_label'].tolist() == [1]


def check_process(path):
    dump_of_rank = frames()[get_rank()::get_world_size()]
    metric = DumpPredictions(path)
    metric.process(None, dump_of_rank)
    metric.evaluate(5)


def test_two_processes_write_the_same_file(tmp_path, run_distributed):
    dump(tmp_path / 'one.csv', frames())
    run_distributed(check_process, str(tmp_path / 'two.csv'))
    assert (tmp_path / 'one.csv').read_bytes() == (tmp_path / 'two.csv').read_bytes()


def test_whole_or_not_at_all(tmp_path, monkeypatch):
    def fails(path, results, classes):
        path.write_text('half')
        raise OSError('disk full')

    dump(tmp_path / 'out.csv', frames())
    before = (tmp_path / 'out.csv').read_bytes()
    monkeypatch.setitem(dump_predictions.WRITERS, '.csv', fails)
    with pytest.raises(OSError, match='disk full'):
        dump(tmp_path / 'out.csv', frames()[:2])
    assert (tmp_path / 'out.csv').read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['out.csv']


def test_refuses_other_kinds_of_file():
    with pytest.raises(ValueError, match=r'\.npz, \.csv, \.pkl'):
        DumpPredictions('out.json')
