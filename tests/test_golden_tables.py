"""Golden results of everything that keeps frames as columns, to show that a refactor keeps them.

Each case computes something from small inputs that are the same everywhere, and is compared with
what ``golden_tables.json`` holds. Where results are meant to change, write that file again and look
at its diff: ``ABAW_MM_WRITE_GOLDEN=1 python -m pytest tests/test_golden_tables.py``.

Short arrays are kept as values, long ones as a digest of their little-endian bytes. All access to
the classes that hold the columns is in the functions of the first section.
"""

import base64
import hashlib
import itertools
import json
import logging
import math
import os
import pickle
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.logging import MMLogger
from mmpretrain.datasets import KFoldDataset
from torch.utils.data import Subset

from abaw_mm.datasets import (
    EXPRESSIONS,
    AffWild2Dataset,
    ClipFeatureDataset,
    FeatureFolder,
    FrameStrideSampler,
)
from abaw_mm.datasets.annotations import read_annotation_folder
from abaw_mm.datasets.crops.crop_folder import CropFolder
from abaw_mm.datasets.folds import split_folds
from abaw_mm.datasets.samplers.frame_stride import get_frame_table
from abaw_mm.evaluation import MacroF1
from abaw_mm.evaluation.metrics.dump_predictions import DumpPredictions
from abaw_mm.evaluation.metrics.macro_f1 import mean_f1
from abaw_mm.evaluation.predictions.postprocess import Postprocess, average, class_shares
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.evaluation.predictions.score_predictions import score_predictions
from abaw_mm.evaluation.predictions.search_smoothing import search_smoothing
from abaw_mm.evaluation.submission.gap_filler import GapFiller, find_empty_clips
from abaw_mm.evaluation.submission.submission import Submission
from abaw_mm.structures import FrameTable, merge_tables
from abaw_mm.visualization.report.calibration import calibrate
from abaw_mm.visualization.report.clip_bootstrap import confusion_per_clip, interval, resample_f1
from abaw_mm.visualization.report.mistakes import find_mistakes, locate_crops
from abaw_mm.visualization.report.scored_run import score_run

FILE = Path(__file__).with_name('golden_tables.json')
WRITE = os.environ.get('ABAW_MM_WRITE_GOLDEN') == '1'
FOLDER = 'annotations/EXPR_Recognition_Challenge'
TRAIN, VAL, TEST = f'{FOLDER}/Train_Set', f'{FOLDER}/Validation_Set', 'test_set_format.txt'
RESULT_COLUMNS = ('clip_id', 'frame_no', 'gt_label', 'pred_label', 'pred_score')

# ------------------------------------------------------ access: what a refactor may have to change


def columns_of(index) -> dict[str, np.ndarray]:
    """Columns of the frames of a dataset, and the names of its clips."""
    return dict(
        clips=np.array(index.clips, dtype=str),
        clip_id=index.clip_id,
        frame_no=index.frame_no,
        label=index['label'],
        root_id=index['source'],
    )


def counts_of(index) -> dict:
    """What was read and what was left out."""
    return index.counts


def make_results(clips: list[str], **columns: np.ndarray):
    """Results of frames, as one process has them."""
    return FrameTable(clips, columns.pop('clip_id'), columns.pop('frame_no'), columns)


def merge(parts: list):
    """Results of several processes as one."""
    return merge_tables(parts, ['gt_label'])


def make_predictions(clips: list[str], sha256: str = 'ab' * 32, **columns: np.ndarray):
    """Predictions of the eight classes."""
    table = make_results(clips, **columns)
    return Predictions(
        clips, table.clip_id, table.frame_no, table.columns, EXPRESSIONS, sha256, 'res18'
    )


def read_predictions(path: Path):
    """Predictions from a file."""
    return Predictions.read(path)


def write_predictions(predictions, path: Path) -> None:
    """Predictions into a file."""
    predictions.write(path)


def result_columns(results) -> dict[str, np.ndarray]:
    """Columns of results or predictions, the names of the clips, and the clip of each frame."""
    columns = {name: results[name] for name in RESULT_COLUMNS[2:]}
    return dict(
        clips=np.array(results.clips, dtype=str),
        clip=results.clip,
        clip_id=results.clip_id,
        frame_no=results.frame_no,
        **columns,
    )


def source_of(predictions) -> dict:
    """Where predictions come from."""
    return dict(
        classes=list(predictions.classes), sha256=predictions.sha256, config=predictions.config
    )


def take(results, rows: np.ndarray):
    """Some rows of results or predictions."""
    return results.take(rows)


def make_filler(rule: str = 'interpolate', **options):
    """What fills gaps."""
    return GapFiller(rule, **options)


def answer(frames: Path, predictions, filler, **options) -> tuple:
    """A submission, its columns, where it was filled, and the clips without any prediction."""
    submission = Submission.answer(frames, predictions, filler, **options)
    columns = dict(
        clips=np.array(submission.clips, dtype=str),
        clip_id=submission.clip_id,
        frame_no=submission.frame_no,
        label=submission['label'],
        filled=submission['is_filled'],
    )
    return submission, columns, find_empty_clips(predictions, submission.clips)


def write_list(submission, path: Path) -> None:
    """Write a submission as one file."""
    submission.write_list(path)


def write_per_clip(submission, folder: Path) -> None:
    """Write a submission as one file per clip."""
    submission.write_per_clip(folder)


def window_columns(dataset: ClipFeatureDataset) -> dict[str, np.ndarray]:
    """Clip and first frame of each window."""
    return dict(window_clip=dataset.window_clip, window_start=dataset.window_start)


def feature_numbers(folder: FeatureFolder) -> dict[str, np.ndarray]:
    """The numbers of the frames of each clip that have features."""
    return {clip: folder.frame_numbers(clip) for clip in folder.index.clips}


# ------------------------------------------------------------------------------ comparing


def digest(data: bytes) -> str:
    """The first 64 bits of SHA-256, in hex; all of it would double the file."""
    return hashlib.sha256(data).hexdigest()[:16]


def pack(value: object, most: int = 18) -> object:
    """A value as JSON can hold it: of an array dtype, shape and values.

    More than ``most`` values are replaced by their digest.
    """
    if isinstance(value, torch.Tensor):
        return ['tensor', *pack(value.numpy(), most)]
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value)  # also of a memory map
        array = array.astype(array.dtype.newbyteorder('<'))
        values = digest(array.tobytes()) if array.size > most else pack(array.tolist())
        return [array.dtype.str, list(array.shape), values]
    if isinstance(value, dict):
        return {str(key): pack(part, most) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [pack(part, most) for part in value]
    if isinstance(value, np.generic):
        return pack(value.item())
    if isinstance(value, float) and math.isnan(value):
        return 'nan'
    return value


def pack_text(text: str, most: int = 400) -> object:
    """A text, or how it begins, its length and a digest."""
    if len(text) <= most:
        return text
    return dict(first=text.split('\n')[0][:60], length=len(text), sha256=digest(text.encode()))


def differences(got: object, want: object, at: str = '') -> Iterator[str]:
    """Where two values of JSON differ; floats may by their last digits."""
    if isinstance(got, dict) and isinstance(want, dict):
        for key in sorted({*got, *want}):
            if key in got and key in want:
                yield from differences(got[key], want[key], f'{at}/{key}')
            else:
                yield f'{at}/{key}: {"is new" if key in got else "is gone"}'
    elif isinstance(got, list) and isinstance(want, list) and len(got) == len(want):
        for i, pair in enumerate(zip(got, want, strict=True)):
            yield from differences(*pair, f'{at}/{i}')
    elif isinstance(got, float) and isinstance(want, float):
        if not math.isclose(got, want, rel_tol=1e-9, abs_tol=1e-12):
            yield f'{at}: got {got!r}, expected {want!r}'
    elif type(got) is not type(want) or got != want:
        yield f'{at}: got {got!r}, expected {want!r}'


def read_golden() -> dict:
    """What the file holds."""
    return json.loads(FILE.read_text(encoding='utf-8')) if FILE.is_file() else {}


def write_golden(name: str, result: dict) -> None:
    """Take one case into the file; a line for each of its values, so that a diff is readable."""
    golden = {**read_golden(), name: result}
    cases = []
    for case in CASES:
        if case in golden:
            lines = [
                f'  {json.dumps(key)}: {json.dumps(value, separators=(",", ":"))}'
                for key, value in golden[case].items()
            ]
            cases.append(f' {json.dumps(case)}: {{\n' + ',\n'.join(lines) + '\n }')
    FILE.write_text('{\n' + ',\n'.join(cases) + '\n}\n', encoding='utf-8')


# --------------------------------------------------------------------------------- inputs


@dataclass
class World:
    """What the cases work with.

    Attributes:
        root (Path): The ``tiny`` data.
        tmp (Path): A folder for whatever a case writes.
        make_clip, make_features (Callable): Of ``conftest.py``.
        mini (Callable): Gives the root of ``affwild2_mini``, or skips the case.
        log (Callable): Lines of information logged so far, with the root's path left out.
    """

    root: Path
    tmp: Path
    make_clip: Callable
    make_features: Callable
    mini: Callable
    log: Callable

    def dataset(self, ann_file: str | list[str] = TRAIN, **options) -> AffWild2Dataset:
        """A dataset of the tiny data, straight from the folders unless a cache is given."""
        options = dict(data_root=str(self.root), index_cache=None) | options
        return AffWild2Dataset(ann_file, **options)

    def windows(self, ann_file: str | list[str] = TRAIN, **options) -> ClipFeatureDataset:
        """Windows over features of the tiny data."""
        features = self.tmp / 'features'
        if not features.is_dir():
            self.make_features(features, self.root)
        return ClipFeatureDataset(str(features), ann_file, data_root=str(self.root), **options)


@pytest.fixture
def world(tiny, tmp_path, make_clip, make_features, request, caplog) -> World:
    """Return the :class:`World` of a case."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    caplog.set_level(logging.INFO)

    def log() -> list[str]:
        lines = [r.getMessage() for r in caplog.records if r.levelno == logging.INFO]
        return [re.sub(rf'{re.escape(str(tmp_path))}/\w+/', '', line) for line in lines]

    yield World(
        tiny,
        tmp_path,
        make_clip,
        make_features,
        lambda: request.getfixturevalue('affwild2_mini'),
        log,
    )
    logger.removeHandler(caplog.handler)


VIDEOS = {'v1': 60, 'v1_left': 35, 'v2': 48, 'v 3': 40, 'v4_right': 52, 'v5': 3}


def made_columns(seed: int = 0, hidden: int = 7) -> tuple[list[str], dict[str, np.ndarray]]:
    """Predictions of six clips with gaps: true classes last some frames, most are found.

    Args:
        seed: Of the scores; frames and labels are always the same.
        hidden: One label of so many is hidden; 0 hides none, 1 all.
    """
    frames, noise = np.random.default_rng(5), np.random.default_rng(seed)
    clips, parts = sorted(VIDEOS), []
    for clip_id, clip in enumerate(clips):
        number = np.flatnonzero(frames.integers(0, 10, VIDEOS[clip]) > 1) + 1
        label = frames.integers(0, 8, VIDEOS[clip])[number // 9]
        weight = noise.integers(1, 60, (len(number), 8))
        weight[np.arange(len(number)), label] += 25
        score = (weight / weight.sum(axis=1, keepdims=True)).astype(np.float32)
        if hidden:
            label = np.where(frames.integers(0, hidden, len(number)) == 0, -1, label)
        parts.append((np.full(len(number), clip_id), number, label, score.argmax(1), score))
    columns = dict(zip(RESULT_COLUMNS, map(np.concatenate, zip(*parts, strict=True)), strict=True))
    return clips, {
        name: column if column.dtype == np.float32 else column.astype(np.int32)
        for name, column in columns.items()
    }


def predicted(seed: int = 0, hidden: int = 7, **options):
    """Predictions of :func:`made_columns`."""
    clips, columns = made_columns(seed, hidden)
    return make_predictions(clips, **columns, **options)


def labelled(predictions):
    """The frames of predictions that have a label."""
    return take(predictions, np.flatnonzero(result_columns(predictions)['gt_label'] != -1))


def processes(number: int, hidden: int = 7) -> list:
    """Results as some processes have them: every so many frames, the last one padded.

    Each process meets the clips in another order and knows only those that it has met.
    """
    clips, columns = made_columns(hidden=hidden)
    size, parts = len(columns['frame_no']), []
    padded = np.resize(np.random.default_rng(number).permutation(size), -(-size // 7) * 7)
    for rank in range(number):
        rows = padded[rank::number]
        part = {name: column[rows] for name, column in columns.items()}
        met = list(dict.fromkeys(part['clip_id'].tolist()))
        place = np.array([met.index(i) if i in met else -1 for i in range(len(clips))], np.int32)
        part['clip_id'] = place[part['clip_id']]
        parts.append(make_results([clips[i] for i in met], **part))
    return parts


def annotations(start_index: int = 1) -> dict[str, np.ndarray]:
    """Labels of every frame that fit :func:`made_columns`, and of a clip without predictions.

    Frames without a prediction have a label, too, or there were nothing to fill.
    """
    clips, columns = made_columns()
    labels = {}
    for clip_id, clip in enumerate(clips):
        rows = columns['clip_id'] == clip_id
        label = (np.arange(VIDEOS[clip] + 1 - start_index) // 11 % 8).astype(np.int8)
        label[columns['frame_no'][rows] - start_index] = columns['gt_label'][rows]
        labels[clip] = label
    return labels | {'empty': np.array([3, 3, -1, 4], np.int8)}


# --------------------------------------------------------------------------- 1. index rows


def index_record(w: World, dataset: AffWild2Dataset, root: Path | None = None) -> dict:
    """All rows of a dataset, as columns and as data infos."""
    infos = [dict(dataset.get_data_info(i)) for i in range(len(dataset))]
    lines = []
    for info in infos:
        info['img_path'] = os.path.relpath(info['img_path'], root or w.root)
        lines.append(json.dumps(info))
    out = dict(
        columns=columns_of(dataset.frames),
        counts=counts_of(dataset.frames),
        rows=len(dataset),
        infos=pack_text('\n'.join(lines)),
    )
    if dataset.listed is None:
        out['gt_labels'] = dataset.get_gt_labels()
    else:
        out.update(listed=columns_of(dataset.listed), listed_counts=counts_of(dataset.listed))
    return pack(out)


def index_case(
    ann_file: str | list[str] = TRAIN,
    prepare: Callable[[World], object] = lambda w: None,
    **options,
) -> Callable[[World], dict]:
    """A case of a dataset from the folders, and the same from the cache."""

    def case(w: World) -> dict:
        prepare(w)
        # from the folders; from the folders into the cache; from the cache
        records = [
            dict(
                index_record(w, w.dataset(ann_file, index_cache=cache, **options)), log=w.log()[-1]
            )
            for cache in (None, '.frame_index', '.frame_index')
        ]
        assert records[0] == records[1] == records[2]
        cache = sorted(path.name for path in (w.root / '.frame_index').iterdir())
        return dict(records[0], cache_files=cache)

    return case


def add_second_root(w: World) -> None:
    """A clip of which either root has frames that the other lacks, and one in each alone."""
    w.make_clip(w.root, 'Train_Set', 'video20', [1, 1, 2, -1, 5, 5], missing=(2, 3))
    w.make_clip(w.root, 'Train_Set', 'video20', [1, 1, 2, -1, 5, 5], missing=(1, 5), crops='more')
    w.make_clip(w.root, 'Train_Set', 'video21', [6, 7, 0], crops='more')


def add_odd_clips(w: World) -> None:
    """A clip without crops, and one with more crops than labels."""
    w.make_clip(w.root, 'Train_Set', 'none', [1, 2, 3], missing=(1, 2, 3))
    w.make_clip(w.root, 'Train_Set', 'beyond', [1] * 6)
    w.make_clip(w.root, 'Train_Set', 'beyond', [2, 3, 4])


def start_at_zero(w: World) -> None:
    """Other data, whose crops count from 0."""
    w.root = w.tmp / 'zero'
    w.make_clip(w.root, 'Train_Set', 'a', [0, 1, -1, 3], start=0)
    w.make_clip(w.root, 'Train_Set', 'b', [4, 5, 6, 7, 7], start=0, missing=(0, 3))


def write_fold(w: World) -> None:
    """A file of clips' names."""
    (w.root / 'fold.txt').write_text('video10_left\nface clip 3\n')


def long_list(w: World) -> None:
    """A list of frames of two clips, neither sorted nor all there."""
    w.make_clip(w.root, 'Test_Set', 'a b', [0] * 9, missing=(4, 9))
    header = (w.root / TEST).read_text().split('\n')[0]
    order = np.random.default_rng(3).permutation(13)
    frames = [('video65', i + 1) if i < 4 else ('a b', i - 3) for i in order.tolist()]
    rows = [f'{clip}/{number:05d}.jpg,' for clip, number in frames]
    (w.root / TEST).write_text('\n'.join([header, *rows]))


def subsets(w: World) -> dict:
    """``get_subset``, ``get_subset_``, ``ConcatDataset`` and the columns that samplers see."""
    train, val, changed = w.dataset(), w.dataset(VAL), w.dataset()
    changed.get_subset_([5, 2, 30])
    both = ConcatDataset([train, val])
    k_fold = KFoldDataset(
        dict(type='AffWild2Dataset', ann_file=TRAIN, data_root=str(w.root)),
        fold=1,
        num_splits=3,
        seed=4,
    )
    infos = [both.get_data_info(i) for i in (0, 35, 36, -1)]
    out = dict(
        subset_first=index_record(w, train.get_subset(4)),
        subset_rows=index_record(w, train.get_subset([7, -1, 0])),
        in_place=index_record(w, changed),
        concat_rows=len(both),
        concat=[(i['clip'], i['frame_no'], i['gt_label'], i['sample_idx']) for i in infos],
    )
    for name, dataset in (
        ('concat', both),
        ('repeat', RepeatDataset(val, 3)),
        ('subset', Subset(both, [40, 3, 3, 17])),
        ('k_fold', k_fold),
    ):
        table = get_frame_table(dataset)
        out[f'columns_{name}'] = (table.clip_id, table.frame_no, table['label'])
    return pack(out)


def mini_index(w: World) -> dict:
    """Real faces in the official layout."""
    root = w.mini()
    out = {}
    for split, ann_file in (('train', TRAIN), ('val', VAL), ('test', TEST)):
        dataset = w.dataset(ann_file, data_root=str(root))
        out[split] = index_record(w, dataset, root)
        out[f'{split}_log'] = w.log()[-1]
    return out


def cache_bytes(w: World) -> dict:
    """Check the bytes of the cache file, and that a file of those bytes is loaded.

    What it was made from, a hash of times, is the only part that differs from run to run.
    """

    def swap(data: bytes, made_from: bytes) -> bytes:
        start = data.index(b'\n') + 9  # behind magic, length and checksum of the header
        size = int.from_bytes(data[start - 8 : start - 4], 'little')
        header = re.sub(
            rb'"made_from": "[0-9a-f]{32}"',
            b'"made_from": "%s"' % made_from,
            data[start : start + size],
        )
        crc32 = zlib.crc32(header).to_bytes(4, 'little')
        return data[: start - 4] + crc32 + header + data[start + size :]

    options = dict(clips=['1-30-1280x720', 'face clip 3'], index_cache='.frame_index')
    direct = index_record(w, w.dataset(**options))
    (path,) = (w.root / '.frame_index').iterdir()
    made_from = re.search(rb'"made_from": "([0-9a-f]{32})"', path.read_bytes())[1]
    plain = base64.b64encode(swap(path.read_bytes(), b'0' * 32)).decode()
    old = plain if WRITE else read_golden()['index: bytes of the cache']['file']
    path.write_bytes(swap(base64.b64decode(old), made_from))
    before = path.stat()
    assert index_record(w, w.dataset(**options)) == direct
    after = path.stat()
    kept = (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    return dict(name=path.name, file=plain, old_file_is_loaded=kept)


# -------------------------------------------------------- 2. merged results and predictions


def merged(hidden: int) -> Callable[[World], dict]:
    """Results of 1, 2, 3 and 7 processes together are the same."""

    def case(w: World) -> dict:
        records = [
            pack(result_columns(merge(processes(number, hidden)))) for number in (1, 2, 3, 7)
        ]
        assert all(record == records[0] for record in records)
        nothing = take(processes(1)[0], np.empty(0, int))
        again = merge([nothing, *processes(2, hidden), merge(processes(3, hidden))])
        assert pack(result_columns(again))['frame_no'] == records[0]['frame_no']
        return dict(
            records[0],
            nothing=pack(result_columns(merge([nothing, nothing]))),
            clips_of_parts=[list(p.clips) for p in processes(3, hidden)],
        )

    return case


def samples(hidden: int, as_arrays: bool) -> list[list[dict]]:
    """Make batches of data samples as mmengine passes them to a metric, the last one padded."""
    clips, columns = made_columns(hidden=hidden)
    tensors = {
        name: torch.from_numpy(column.astype(np.int64) if name != 'pred_score' else column)
        for name, column in columns.items()
    }
    if hidden == 1:
        del tensors['gt_label']
    size = len(columns['frame_no'])
    rows = np.resize(np.random.default_rng(9).permutation(size), -(-size // 16) * 16)
    if as_arrays:
        return [
            [dict({k: v[part] for k, v in tensors.items()}, clips=clips)]
            for part in rows.reshape(-1, 16)
        ]
    batches = []
    for part in rows.reshape(-1, 16):
        batches.append([])
        for row in part:
            sample = {k: v[row] if k == 'pred_score' else v[[row]] for k, v in tensors.items()}
            sample.update(clip=clips[sample.pop('clip_id')], frame_no=int(sample.pop('frame_no')))
            batches[-1].append(sample)
    return batches


def evaluate(metric, hidden: int, as_arrays: bool) -> dict:
    """Figures of a metric."""
    metric.dataset_meta = dict(classes=EXPRESSIONS)
    for batch in samples(hidden, as_arrays):
        metric.process(None, batch)
    return metric.evaluate(len(made_columns()[1]['frame_no']))


def macro_f1(w: World) -> dict:
    """Figures of ``MacroF1``, from data samples and from arrays."""
    out = {}
    for absent in ('zero', 'skip'):
        figures = [evaluate(MacroF1(absent=absent), 0, arrays) for arrays in (False, True)]
        assert figures[0] == figures[1]
        out[absent] = figures[0]
    out['hidden'] = evaluate(MacroF1(), 1, True)
    out['other_images'] = other_images()
    return out


def other_images() -> dict:
    """Figures of frames that only have a path."""
    metric = MacroF1(num_classes=3, prefix='other')
    metric.process(
        None,
        [
            dict(
                img_path=f'{i % 5}.jpg',
                gt_label=torch.tensor([i % 5 % 3]),
                pred_label=torch.tensor([i % 5 // 2]),
                pred_score=torch.eye(3)[i % 5 // 2],
            )
            for i in range(7)
        ],
    )
    return metric.evaluate(5)


def files_of_predictions(hidden: int) -> Callable[[World], dict]:
    """The three files of ``DumpPredictions``, and what is read from the ``.npz``."""

    def case(w: World) -> dict:
        checkpoint = w.tmp / 'checkpoint.pth'
        checkpoint.write_bytes(b'weights')
        for kind, arrays in itertools.product(('npz', 'csv', 'pkl'), (False, True)):
            metric = DumpPredictions(
                str(w.tmp / f'{arrays}.{kind}'), checkpoint=str(checkpoint), config='res18.py'
            )
            assert evaluate(metric, hidden, arrays) == {}
        out = {}
        for arrays in (False, True):
            with np.load(w.tmp / f'{arrays}.npz', allow_pickle=False) as file:
                npz = {name: file[name] for name in file.files}
            rows = pickle.loads((w.tmp / f'{arrays}.pkl').read_bytes())
            read = read_predictions(w.tmp / f'{arrays}.npz')
            csv = (w.tmp / f'{arrays}.csv').read_bytes().decode()
            record = dict(
                npz=pack(npz, 12),
                npz_names=list(npz),
                csv=pack_text(csv),
                csv_head=csv.splitlines()[:3],
                pkl_rows=len(rows),
                pkl_keys=list(rows[0]),
                pkl_first=pack(rows[0]),
                pkl_types={key: type(value).__name__ for key, value in rows[0].items()},
                pkl_all=digest(json.dumps(pack(rows)).encode()),
                read=pack(result_columns(read)),
                source=source_of(read),
            )
            assert out in ({}, record)
            out = record
        return out

    return case


def read_any_order(w: World) -> dict:
    """A file of another program: rows in any order, only the arrays that are needed."""
    predictions = predicted()
    columns = result_columns(predictions)
    rows = np.random.default_rng(1).permutation(len(columns['frame_no']))
    arrays = dict(
        clip=columns['clip'][rows],
        frame_no=columns['frame_no'][rows].astype(np.uint16),
        pred_score=columns['pred_score'][rows].astype(np.float64),
        classes=np.array(EXPRESSIONS),
    )
    np.savez(w.tmp / 'few.npz', **arrays)
    np.savez(w.tmp / 'none.npz', **{k: v[:0] if k != 'classes' else v for k, v in arrays.items()})
    write_predictions(predictions, w.tmp / 'same.npz')
    few, none = read_predictions(w.tmp / 'few.npz'), read_predictions(w.tmp / 'none.npz')
    same = read_predictions(w.tmp / 'same.npz')
    assert pack(result_columns(same)) == pack(columns) and source_of(same) == source_of(predictions)
    part = take(predictions, np.flatnonzero(columns['clip'] == 'v2'))
    return pack(
        dict(
            few=result_columns(few),
            source=source_of(few),
            none=result_columns(none),
            one_clip=result_columns(part),
            source_of_part=source_of(part),
        )
    )


# ------------------------------------------------------------------------ 3. submissions


def asked_frames(w: World, pattern: str = '{:05d}.jpg', empty: int = 0) -> Path:
    """A list of all frames of three clips and a clip without predictions, every clip shuffled."""
    header = (w.root / TEST).read_text().split('\n')[0]
    rng, rows = np.random.default_rng(2), []
    for clip, size in (('v5', 5), ('v 3', 44), ('v1_left', 35), ('empty', empty)):
        rows += [f'{clip}/{pattern.format(i + 1)},' for i in rng.permutation(size).tolist()]
    rows = rows[20:] + rows[:20]  # a clip's frames need not be together
    path = w.tmp / 'asked.txt'
    path.write_text('\n'.join([header, *rows]) + '\n')
    return path


def submission_case(
    rule: str, pattern: str = '{:05d}.jpg', empty: int = 0, **options
) -> Callable[[World], dict]:
    """What is sent to a challenge, by some rule."""

    def case(w: World) -> dict:
        submission, columns, empty_clips = answer(
            asked_frames(w, pattern, empty),
            predicted(hidden=1),
            make_filler(rule, **options),
            filename_tmpl=pattern,
        )
        write_list(submission, w.tmp / 'out.txt')
        write_per_clip(submission, w.tmp / 'out')
        text = (w.tmp / 'out.txt').read_bytes().decode()
        files = sorted((w.tmp / 'out').iterdir())
        return dict(
            columns=pack(columns),
            empty_clips=empty_clips,
            size=len(submission),
            list_head=text.splitlines()[:4],
            list=pack_text(text),
            per_clip={path.name: pack_text(path.read_bytes().decode()) for path in files},
        )

    return case


# ---------------------------------------------------------------------------- 4. windows


def window_case(ann_file: str | list[str] = TRAIN, **options) -> Callable[[World], dict]:
    """All items of windows over features, array by array."""

    def case(w: World) -> dict:
        long_list(w)
        write_fold(w)
        dataset = w.windows(ann_file, **options)
        items = [dataset[i] for i in range(len(dataset))]
        arrays = {
            name: np.stack([item[name].numpy() for item in items])
            for name in items[0]
            if isinstance(items[0][name], torch.Tensor)
        }
        return pack(
            dict(
                windows=window_columns(dataset),
                frames=columns_of(dataset.frames),
                counts=counts_of(dataset.frames),
                arrays=arrays,
                keys=list(items[0]),
                clips=np.array([item['clip'] for item in items]),
                sample_idx=np.array([item['sample_idx'] for item in items]),
                log=w.log()[-1],
            )
        )

    return case


def feature_index(w: World) -> dict:
    """What a folder of features holds, and what is planned when crops have changed."""
    w.make_features(w.tmp / 'features', w.root)
    with np.load(w.tmp / 'features/index.npz', allow_pickle=False) as file:
        index = {name: file[name] for name in file.files}
    files = sorted(path.name for path in (w.tmp / 'features/clips').iterdir())
    folder = FeatureFolder.open(w.tmp / 'features')
    numbers = {clip: np.array(number) for clip, number in feature_numbers(folder).items()}
    rows = {clip: folder.read(clip) for clip in numbers}
    todo = folder.plan(
        FrameTable.from_clips(
            dict(video65=[1, 2, 3], new=[4, 9], video11_right=numbers['video11_right'])
        )
    )
    with np.load(w.tmp / 'features/index.npz', allow_pickle=False) as file:
        later = {name: file[name] for name in file.files}
    return pack(
        dict(
            meta=folder.meta,
            dim=folder.dim,
            index=index,
            files=files,
            numbers=numbers,
            rows=rows,
            todo=todo,
            later=later,
            numbers_later=feature_numbers(FeatureFolder.open(w.tmp / 'features')),
        )
    )


# ---------------------------------------------------------------------------- 5. sampler


def sampled(w: World) -> AffWild2Dataset:
    """Training data with clips long enough to draw from."""
    for clip, size in (('long', 57), ('longer', 83)):
        labels = np.random.default_rng(size).integers(-1, 8, size) // 2
        w.make_clip(w.root, 'Train_Set', clip, labels.tolist(), missing=(5, 6, 20))
    return w.dataset()


def drawn(sampler: FrameStrideSampler) -> dict:
    """Three epochs of a sampler."""
    return {f'epoch {epoch}': pack(sampler.draw(epoch)) for epoch in range(3)}


def draws(w: World) -> dict:
    """What is drawn of a plain dataset, of rows in any order, and of several datasets."""
    data = sampled(w)
    shuffled = Subset(data, np.random.default_rng(4).permutation(len(data))[:90].tolist())
    several = ConcatDataset([data, w.dataset(VAL)])
    balance = dict(oversample_thr=0.3)
    return {
        name: drawn(FrameStrideSampler(dataset, **dict(dict(stride=4, seed=3), **options)))
        for name, dataset, options in (
            ('clip', data, dict(offset='clip')),
            ('epoch', data, dict(offset='epoch')),
            ('number', data, dict(offset=2)),
            ('stride 10', data, dict(stride=10, seed=11)),
            ('in order', data, dict(stride=3, shuffle=False)),
            ('all', data, dict(stride=1)),
            ('balanced', data, dict(class_balance=balance)),
            ('balanced, in order', data, dict(class_balance=balance, shuffle=False)),
            ('shuffled subset', shuffled, dict(stride=5)),
            ('shuffled subset, in order', shuffled, dict(stride=5, shuffle=False, offset=0)),
            ('shuffled subset, balanced', shuffled, dict(class_balance=balance)),
            ('several', several, dict(stride=6)),
            ('repeated', RepeatDataset(data, 2), dict(stride=9)),
            ('list', w.dataset(TEST), dict(stride=2)),
        )
    }


def shares_of_ranks(w: World) -> dict:
    """What each of some processes gets, with the keys of its random numbers."""
    data, out = sampled(w), {}
    for infinite, ranks in itertools.product((False, True), (1, 3)):
        for rank in range(ranks):
            sampler = FrameStrideSampler(data, stride=7, seed=5, infinite=infinite)
            sampler.rank, sampler.world_size = rank, ranks
            sampler.set_epoch(1)
            sampler.skip(2)
            rows = np.array(list(itertools.islice(sampler, 30)))
            out[f'infinite {infinite}, {rank} of {ranks}'] = pack(
                dict(rows=rows, size=len(sampler), keys=sampler.keys(0, 32))
            )
    return out


# ---------------------------------------------------------------------------- 6. figures


def scores(w: World) -> dict:
    """Figures of labelled frames with a crop, and of all labelled frames."""
    out = {}
    for name, predictions, options in (
        ('labels of the predictions', predicted(), {}),
        ('absent skipped', take(predicted(), np.arange(60)), dict(absent='skip')),
        (
            'annotations',
            predicted(),
            dict(labels=annotations(), filler=make_filler(empty_clip='Neutral')),
        ),
        (
            'previous',
            predicted(hidden=1),
            dict(labels=annotations(), filler=make_filler('previous', empty_clip='Fear')),
        ),
        (
            'from 0',
            predicted(hidden=1),
            dict(labels=annotations(0), filler=make_filler('Anger'), start_index=0),
        ),
    ):
        result = score_predictions(predictions, **options)
        out[name] = dict(
            with_crop=result.with_crop,
            all_labelled=result.all_labelled,
            num_filled=result.num_filled,
            empty_clips=result.empty_clips,
        )
    return pack(out)


def postprocessed(w: World) -> dict:
    """Predictions after each step, all of them together, and the mean of two."""
    shares = class_shares(annotations(), 8)
    result = {'shares': shares}
    for name, options in dict(
        nothing={},
        box=dict(width=3),
        gaussian=dict(method='gaussian', width=2),
        median=dict(method='median', width=4),
        hold=dict(hold=4),
        tau=dict(tau=0.7, prior=shares),
        all=dict(method='median', width=2, hold=3, tau=1.0, prior=shares),
    ).items():
        result[name] = dict(result_columns(Postprocess(**options)(predicted())))
    mean = average([predicted(), predicted(1, sha256='cd' * 32)], ['one', 'other'])
    result['mean'] = result_columns(mean) | source_of(mean)
    for name in ('nothing', *list(result)[2:]):  # the frames stay as they are
        for column in ('clips', 'clip', 'clip_id', 'frame_no', 'gt_label'):
            assert pack(result[name][column]) == pack(result_columns(predicted())[column])
            del result[name][column]
    return pack(result)


CANDIDATES = [
    Postprocess(),
    Postprocess(width=2),
    Postprocess(method='median', width=5),
    Postprocess(method='gaussian', width=3, hold=4),
]


def smoothing_search(w: World) -> dict:
    """Which smoothing is chosen. Where scikit-learn deals other folds, there is no figure."""
    columns = result_columns(predicted())
    labels = {clip: columns['gt_label'][columns['clip'] == clip] for clip in VIDEOS}
    folds = split_folds(labels, 3)
    if not WRITE and folds != read_golden()['figures: search']['folds']:
        pytest.skip('another version of scikit-learn deals other folds')
    found = search_smoothing(predicted(), CANDIDATES, num_folds=3)
    return pack(
        dict(
            folds=folds,
            before=found.before,
            scores=found.scores,
            best=found.best,
            chosen=found.chosen,
            held_out=found.held_out,
        )
    )


def report_figures(w: World) -> dict:
    """Confusion, bootstrap, calibration and mistakes, as the report shows them."""
    known = labelled(predicted())
    columns, run = result_columns(known), score_run(known)
    right = columns['pred_label'] == columns['gt_label']
    part = calibrate(known.confidence, right, 6)
    confusion = confusion_per_clip(known, 8)
    f1, support = resample_f1(confusion, draws=50, seed=2)
    values = {
        f'{n} of {most}': find_mistakes(known, n, per_clip=most)
        for n, most in ((5, 1), (24, 3), (100, 100))
    }
    return pack(
        dict(
            confusion=confusion,
            support=support,
            resampled=100 * mean_f1(f1, support)[:10],
            interval=interval(mean_f1(f1, support)),
            run_macro_f1=run.macro_f1,
            run_interval=run.interval,
            run_confusion=run.confusion,
            run_precision=run.precision,
            run_recall=run.recall,
            run_f1=run.f1,
            run_f1_intervals=run.f1_intervals,
            run_predicted=run.predicted,
            run_right=run.is_correct,
            run_error=run.calibration.error,
            calibration=dict(
                edges=part.edges,
                count=part.count,
                confidence=part.confidence,
                accuracy=part.accuracy,
                error=part.error,
            ),
            confidence=known.confidence,
            mistakes=values,
        ),
        most=64,
    )


def located(w: World) -> dict:
    """Locate the crops of predicted frames in two roots."""
    add_second_root(w)
    roots = [CropFolder(w.root / name) for name in ('cropped_aligned', 'more')]
    labels = read_annotation_folder(str(w.root / TRAIN), ['video20', 'video21'])
    number = np.array([1, 2, 3, 5, 6, 1, 3], np.int32)
    clip_id = np.array([0, 0, 0, 0, 0, 1, 1], np.int32)
    label = np.array(
        [
            labels[clip][n - 1]
            for clip, n in zip(np.array(['video20', 'video21'])[clip_id], number, strict=True)
        ],
        np.int32,
    )
    predictions = make_predictions(
        ['video20', 'video21'],
        clip_id=clip_id,
        frame_no=number,
        gt_label=label,
        pred_label=np.zeros(7, np.int32),
        pred_score=np.eye(8, dtype=np.float32)[np.zeros(7, int)],
    )
    return pack(dict(owner=locate_crops(predictions, roots), label=label))


# ------------------------------------------------------------------------------ the cases

CASES: dict[str, Callable[[World], dict]] = {
    'index: train': index_case(),
    'index: validation': index_case(VAL),
    'index: both folders': index_case([TRAIN, VAL]),
    'index: list': index_case(TEST),
    'index: list in any order': index_case(TEST, long_list),
    'index: list, one clip': index_case(TEST, long_list, clips=['a b']),
    'index: clips by name': index_case(clips=['face clip 3', '1-30-1280x720']),
    'index: clips by file': index_case(prepare=write_fold, clips='fold.txt'),
    'index: two roots': index_case(
        prepare=add_second_root, data_prefix=['cropped_aligned', 'more']
    ),
    'index: two roots, the other first': index_case(
        prepare=add_second_root, data_prefix=['more', 'cropped_aligned']
    ),
    'index: clips without crops and beyond': index_case(prepare=add_odd_clips),
    'index: from 0': index_case(prepare=start_at_zero, start_index=0),
    'index: first rows': index_case(indices=5),
    'index: last rows': index_case(VAL, indices=-4),
    'index: some rows': index_case(indices=[20, 3, 3, -1]),
    'index: list, some rows': index_case(TEST, indices=[2, 0]),
    'index: subsets': subsets,
    'index: real faces': mini_index,
    'index: bytes of the cache': cache_bytes,
    'results: merged': merged(7),
    'results: merged, labels hidden': merged(1),
    'results: macro-F1': macro_f1,
    'predictions: files': files_of_predictions(7),
    'predictions: files, labels hidden': files_of_predictions(1),
    'predictions: rows in any order': read_any_order,
    'submission: interpolate': submission_case('interpolate'),
    'submission: previous': submission_case('previous'),
    'submission: previous from Neutral': submission_case('previous', start_class='Neutral'),
    'submission: nearest': submission_case('nearest', pattern='{:06d}.png'),
    'submission: a class': submission_case('Sadness', empty=3),
    'submission: empty clip': submission_case('interpolate', empty=4, empty_clip='Anger'),
    'windows: of 1': window_case(window=1),
    'windows: of 4 with context': window_case(window=4, context=3, test_mode=True),
    'windows: overlapping': window_case(window=6, context=1, step=2),
    'windows: longer than clips': window_case(window=64, context=5),
    'windows: both folders, two clips': window_case(
        [TRAIN, VAL], window=5, clips=['5-60-1920x1080-1', 'video10_left']
    ),
    'windows: clips by file': window_case(window=8, context=2, clips='fold.txt'),
    'windows: list': window_case(TEST, window=2, context=1, test_mode=True),
    'windows: list, overlapping': window_case(TEST, window=5, step=3),
    'windows: feature folder': feature_index,
    'sampler: draws': draws,
    'sampler: ranks and keys': shares_of_ranks,
    'figures: scores': scores,
    'figures: postprocessed': postprocessed,
    'figures: search': smoothing_search,
    'figures: report': report_figures,
    'figures: crops': located,
}


@pytest.mark.parametrize('name', CASES)
def test_golden(world: World, name: str) -> None:
    """A case gives what it gave when the file was written."""
    result = json.loads(json.dumps(pack(CASES[name](world))))
    if WRITE:
        write_golden(name, result)
    assert list(differences(result, read_golden()[name])) == []


def test_every_case_is_golden() -> None:
    """The file holds the cases, and nothing else."""
    assert list(read_golden()) == list(CASES)
