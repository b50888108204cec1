"""Regression test of the classes that store frames as columns.

Each case computes results from small generated inputs. ``golden_tables.json`` has the expected
results, with long arrays as a digest of their little-endian bytes. A failure shows the value to
store if a result is meant to change.
"""

import base64
import hashlib
import json
import os
import pickle
import re
import zlib
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_clip, write_features

from abaw_mm.datasets import EXPRESSIONS, AffWild2Dataset, ClipFeatureDataset, FrameStrideSampler
from abaw_mm.datasets.annotations import LIST_HEADER
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.metrics.macro_f1 import mean_f1
from abaw_mm.evaluation.postprocessing.postprocess import Postprocess
from abaw_mm.evaluation.predictions.score_predictions import score_predictions
from abaw_mm.evaluation.submission import GapFiller, Submission
from abaw_mm.structures import FrameTable, merge_tables
from abaw_mm.visualization.report.clip_bootstrap import confusion_per_clip, interval, resample_f1
from abaw_mm.visualization.report.tracks.calibration import calibrate

TRAIN, TEST = 'annotations/EXPR_Recognition_Challenge/Train_Set', 'test_set_format.txt'
FILE = Path(__file__).with_name('golden_tables.json')
STORED = json.loads(FILE.read_text(), parse_float=lambda x: pytest.approx(float(x), rel=1e-9))
VIDEOS = {'v 3': 40, 'v1': 60, 'v1_left': 35, 'v2': 48, 'v4_right': 52, 'v5': 3}  # frames


def digest(data: bytes) -> str:
    """Return the first 64 bits of SHA-256, in hex."""
    return hashlib.sha256(data).hexdigest()[:16]


def pack_array(value: np.ndarray | torch.Tensor) -> list:
    """Return the dtype, shape and values of an array; a digest replaces more than 18 values."""
    if isinstance(value, torch.Tensor):
        return ['tensor', *pack_array(value.numpy())]
    array = np.ascontiguousarray(value, value.dtype.newbyteorder('<'))
    values = digest(array.tobytes()) if array.size > 18 else array.tolist()
    return [array.dtype.str, list(array.shape), values]


def pack(value: object) -> object:
    """Convert a value to JSON types, and NaN to ``'nan'``."""
    return json.loads(json.dumps(value, default=pack_array), parse_constant=str.lower)


def pack_text(text: str) -> dict:
    """Return the beginning, length and digest of a text."""
    return dict(first=text.split('\n')[0][:60], length=len(text), sha256=digest(text.encode()))


def list_columns(table: FrameTable) -> dict[str, np.ndarray]:
    """Return the clips, frames and columns of a table by the names that the file uses."""
    stored = dict(source='root_id', is_filled='filled')
    columns = {stored.get(name, name): column for name, column in table.columns.items()}
    clips = np.array(table.clips, dtype=str)
    return dict(clips=clips, clip_id=table.clip_id, frame_no=table.frame_no, **columns)


def make_predictions(hidden: int = 7) -> Predictions:
    """Make predictions of six clips with missing frames; one of ``hidden`` labels is hidden."""
    frames, noise, parts = np.random.default_rng(5), np.random.default_rng(0), []
    for clip_id, size in enumerate(VIDEOS.values()):
        frame_no = np.flatnonzero(frames.integers(0, 10, size) > 1) + 1
        label = frames.integers(0, 8, size)[frame_no // 9]  # changes every nine frames
        weight = noise.integers(1, 60, (len(frame_no), 8))
        weight[np.arange(len(frame_no)), label] += 25
        score = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
        label = np.where(frames.integers(0, hidden, len(frame_no)) == 0, -1, label)
        parts.append((np.full(len(frame_no), clip_id), frame_no, label, score.argmax(1), score))
    *columns, score = map(np.concatenate, zip(*parts, strict=True))
    clip_id, frame_no, label, predicted = (column.astype(np.int32) for column in columns)
    columns = dict(gt_label=label, pred_label=predicted, pred_score=score)
    return Predictions(list(VIDEOS), clip_id, frame_no, columns, EXPRESSIONS, 'ab' * 32, 'res18')


@pytest.fixture
def root(tiny: Path) -> Path:
    """Return a data root whose list has frames of two clips in random order, some without crop."""
    write_clip(tiny, 'Test_Set', 'a b', [0] * 9, missing=(4, 9))
    order = np.random.default_rng(3).permutation(13).tolist()
    rows = [f'video65/{i + 1:05d}.jpg,' if i < 4 else f'a b/{i - 3:05d}.jpg,' for i in order]
    (tiny / TEST).write_text('\n'.join([LIST_HEADER, *rows]))
    return tiny


def index_rows(root: Path, ann_file: str = TRAIN, **options) -> dict:
    """Return all rows of a dataset, which are the same with and without the index cache."""
    records = []
    for cache in (None, '.frame_index', '.frame_index'):  # the second writes it, the third reads it
        data = AffWild2Dataset(ann_file, data_root=str(root), index_cache=cache, **options)
        infos = '\n'.join(json.dumps(data.get_data_info(i)) for i in range(len(data)))
        record = dict(rows=len(data), infos=pack_text(infos.replace(f'{root}/', '')))
        record.update(counts=data.frames.counts, columns=list_columns(data.frames))
        if data.listed is None:
            record.update(gt_labels=data.get_gt_labels())
        else:
            record.update(listed_counts=data.listed.counts, listed=list_columns(data.listed))
        records.append(pack(record))
    assert records[0] == records[1] == records[2]
    return dict(records[0], cache_files=os.listdir(root / '.frame_index'))


def index_of_two_roots(root: Path) -> dict:
    """Return the rows of two folders of crops that share one clip."""
    labels = [1, 1, 2, -1, 5, 5]
    write_clip(root, 'Train_Set', 'video20', labels, missing=(2, 3))
    write_clip(root, 'Train_Set', 'video20', labels, missing=(1, 5), crops='more')
    write_clip(root, 'Train_Set', 'video21', [6, 7, 0], crops='more')
    return index_rows(root, data_prefix=['cropped_aligned', 'more'])


def index_from_zero(root: Path) -> dict:
    """Return the rows of crops that are numbered from 0."""
    root = root.with_name('zero')
    write_clip(root, 'Train_Set', 'a', [0, 1, -1, 3], start=0)
    write_clip(root, 'Train_Set', 'b', [4, 5, 6, 7, 7], start=0, missing=(0, 3))
    return index_rows(root, start_index=0)


def index_cache(root: Path) -> dict:
    """Return the name and bytes of a cache file, without the hash of modification times."""
    clips = ['1-30-1280x720', 'face clip 3']
    AffWild2Dataset(TRAIN, data_root=str(root), index_cache='.frame_index', clips=clips)
    (path,) = (root / '.frame_index').iterdir()
    data = path.read_bytes()
    start = data.index(b'\n') + 9  # the header follows the magic line, its length and its CRC-32
    end = start + int.from_bytes(data[start - 8 : start - 4], 'little')
    header = re.sub(rb'(?<="made_from": ")[0-9a-f]{32}', b'0' * 32, data[start:end])
    data = data[: start - 4] + zlib.crc32(header).to_bytes(4, 'little') + header + data[end:]
    return dict(name=path.name, file=base64.b64encode(data).decode())


def merged_results(root: Path) -> dict:
    """Merge the results of 1, 3 and 7 processes, which have 21 frames twice."""
    table, records = make_predictions(), []
    for number in (1, 3, 7):
        order = np.random.default_rng(number).permutation(len(table))
        padded, parts = np.resize(order, len(order) + 21), []
        for rank in range(number):
            rows = padded[rank::number]
            columns = {name: column[rows] for name, column in table.columns.items()}
            parts.append(FrameTable.from_rows(table.clip[rows], table.frame_no[rows], **columns))
        records.append(pack(list_columns(merge_tables(parts, ['gt_label']))))
    assert records[0] == records[1] == records[2]
    return records[0]


def prediction_files(root: Path) -> dict:
    """Write predictions as ``.npz``, ``.csv`` and ``.pkl``, and read the first one back."""
    sha256 = hashlib.sha256(b'weights').hexdigest()
    table = replace(make_predictions(), sha256=sha256, config='res18.py')
    for kind in ('npz', 'csv', 'pkl'):
        table.write(root / f'out.{kind}')
    with np.load(root / 'out.npz', allow_pickle=False) as file:
        npz = dict(file)
    csv = (root / 'out.csv').read_bytes().decode()
    rows = pickle.loads((root / 'out.pkl').read_bytes())
    return dict(
        npz=npz,
        csv=pack_text(csv),
        csv_head=csv.splitlines()[:3],
        pkl_first=rows[0],
        pkl_all=digest(json.dumps(pack(rows)).encode()),
        read=list_columns(Predictions.read(root / 'out.npz')),
    )


def submission(root: Path, rule: str, pattern: str = '{:05d}.jpg', empty: int = 0) -> dict:
    """Fill the frames of three clips, and of one without predictions, by a rule."""
    rng, rows, out = np.random.default_rng(2), [], root / 'out'
    for clip, size in (('v5', 5), ('v 3', 44), ('v1_left', 35), ('empty', empty)):
        rows += [f'{clip}/{pattern.format(i + 1)},' for i in rng.permutation(size).tolist()]
    lines = [LIST_HEADER, *rows[20:], *rows[:20]]  # the frames of a clip are not contiguous
    (root / TEST).write_text('\n'.join(lines) + '\n')
    filler, predictions = GapFiller(rule), make_predictions(hidden=1)
    table = Submission.answer(root / TEST, predictions, filler, filename_tmpl=pattern)
    table.write_list(root / 'out.txt')
    table.write_per_clip(out)
    return dict(
        columns=list_columns(table),
        list=pack_text((root / 'out.txt').read_bytes().decode()),
        per_clip={path.name: path.read_bytes().decode() for path in out.iterdir()},
    )


def window_items(root: Path, ann_file: str = TRAIN, **options) -> dict:
    """Return the windows of a dataset of features, with the arrays of all items."""
    write_features(root / 'features', root)
    data = ClipFeatureDataset(str(root / 'features'), ann_file, data_root=str(root), **options)
    items = [data[i] for i in range(len(data))]
    windows = dict(window_clip=data.window_clip, window_start=data.window_start)
    arrays = {name: np.stack([np.asarray(item[name]) for item in items]) for name in items[0]}
    clips, rows = arrays.pop('clip'), arrays.pop('sample_idx')
    return dict(windows=windows, arrays=arrays, clips=clips, sample_idx=rows)


def load_long_clips(root: Path) -> AffWild2Dataset:
    """Return training data with clips that are long enough to sample."""
    for clip, size in (('long', 57), ('longer', 83)):
        labels = np.random.default_rng(size).integers(-1, 8, size) // 2
        write_clip(root, 'Train_Set', clip, labels.tolist(), missing=(5, 6, 20))
    return AffWild2Dataset(TRAIN, data_root=str(root), index_cache=None)


def sampler_draws(root: Path) -> dict:
    """Draw two epochs with each kind of offset, with class balance, and of a shuffled subset."""
    data, draws = load_long_clips(root), {}
    rows = np.random.default_rng(4).permutation(len(data))[:90].tolist()
    for name, options in {
        'clip': dict(offset='clip'),
        'epoch': dict(offset='epoch'),
        'number': dict(offset=2),
        'balanced': dict(class_balance=dict(oversample_thr=0.3)),
        'shuffled subset': dict(dataset=torch.utils.data.Subset(data, rows), stride=5),
    }.items():
        sampler = FrameStrideSampler(**dict(dataset=data, stride=4, seed=3) | options)
        draws[name] = {f'epoch {epoch}': sampler.draw(epoch) for epoch in (0, 1)}
    return draws


def sampler_keys(root: Path) -> dict:
    """Return the rows of the second of three processes, and the keys of its random numbers."""
    sampler = FrameStrideSampler(load_long_clips(root), stride=7, seed=5)
    sampler.rank, sampler.world_size = 1, 3
    sampler.set_epoch(1)
    sampler.skip(2)
    share = dict(rows=np.array(list(sampler)), size=len(sampler), keys=sampler.keys(0, 32))
    return {'infinite False, 1 of 3': share}


def filled_scores(root: Path) -> dict:
    """Score the frames with a crop, and all labelled frames after their gaps are filled."""
    predictions, labels = make_predictions(), {'empty': np.array([3, 3, -1, 4], np.int8)}
    for (clip, size), rows in zip(VIDEOS.items(), predictions.rows_by_clip(), strict=True):
        labels[clip] = (np.arange(size) // 11 % 8).astype(np.int8)
        labels[clip][predictions.frame_no[rows] - 1] = predictions['gt_label'][rows]
    filler = GapFiller('interpolate', empty_clip='Neutral')
    return {'annotations': vars(score_predictions(predictions, labels, filler))}


def smoothed_predictions(root: Path) -> dict:
    """Smooth predictions by each method."""
    widths = dict(box=3, gaussian=2, median=4)
    steps = {method: Postprocess(method=method, width=width) for method, width in widths.items()}
    steps['hold'] = Postprocess(hold=4)
    tables = {name: step(make_predictions()) for name, step in steps.items()}
    return {name: {c: t[c] for c in ('pred_label', 'pred_score')} for name, t in tables.items()}


def report_figures(root: Path) -> dict:
    """Calibrate predictions and bootstrap their macro F1 over clips."""
    table = make_predictions()
    table = table.take(np.flatnonzero(table['gt_label'] != -1))
    confusion = confusion_per_clip(table, 8)
    f1, support = resample_f1(confusion, draws=50, seed=2)
    scores = mean_f1(f1, support)
    part = calibrate(table.confidence, table['pred_label'] == table['gt_label'], 6)
    figures = dict(confusion=confusion, support=support, resampled=100 * scores[:10])
    return figures | dict(interval=interval(scores), calibration=vars(part))


CASES = {
    'index: train': index_rows,
    'index: list in any order': partial(index_rows, ann_file=TEST),
    'index: two roots': index_of_two_roots,
    'index: from 0': index_from_zero,
    'index: bytes of the cache': index_cache,
    'results: merged': merged_results,
    'predictions: files': prediction_files,
    'submission: interpolate': partial(submission, rule='interpolate'),
    'submission: previous': partial(submission, rule='previous'),
    'submission: nearest': partial(submission, rule='nearest', pattern='{:06d}.png'),
    'submission: a class': partial(submission, rule='Sadness', empty=3),
    'windows: of 4 with context': partial(window_items, window=4, context=3, test_mode=True),
    'windows: list': partial(window_items, ann_file=TEST, window=2, context=1, test_mode=True),
    'sampler: draws': sampler_draws,
    'sampler: ranks and keys': sampler_keys,
    'figures: scores': filled_scores,
    'figures: postprocessed': smoothed_predictions,
    'figures: report': report_figures,
}


@pytest.mark.parametrize('name', CASES | STORED)
def test_results_equal_stored_results(root: Path, name: str) -> None:
    assert pack(CASES[name](root)) == STORED[name]
