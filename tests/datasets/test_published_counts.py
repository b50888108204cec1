"""Sets with the published counts of the VA, the AU and the multi-task track: rows, no pictures."""

import numpy as np
import pytest

from abaw_mm.datasets.annotations import LIST_HEADERS
from abaw_mm.datasets.frame_index import FrameReader
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.submission import Submission, check_submission
from abaw_mm.evaluation.submission.fill_tracks import make_filler
from abaw_mm.structures import FrameTable
from abaw_mm.structures.tasks import ACTION_UNITS, get_targets

pytestmark = pytest.mark.slow
# Annotated frames with and without a crop. The number of clips of VA's validation set is published.
SETS = [
    ('va', 1_653_757, 26_387, 356),
    ('va', 376_323, 5_698, 76),
    ('au', 1_356_694, 2_829, 295),
    ('au', 445_836, 9, 105),
]
# Rows, clips, annotated rows of each part, rows without any, rows that repeat an image. Of the
# validation set, only the expressions are counted in public.
MULTI_TASK = [
    (142_382, 257, dict(va=103_917, label=90_645, au=103_316), 49, 951),
    (26_876, 50, dict(va=26_876, label=15_440, au=26_876), 0, 210),
]
LISTS = [('va', 927_210, 162), ('au', 729_736, 141), ('mtl', 51_159, 48)]
HIDDEN = dict(va='-5,-5', au=','.join(['-1'] * 12))
HEADERS = dict(va='valence,arousal', au=','.join(ACTION_UNITS))


def spread(total, parts, rng):
    """Split a number into random parts of at least 1."""
    cuts = np.sort(rng.choice(np.arange(1, total), parts - 1, replace=False))
    return np.diff([0, *cuts, total])


def make_reader(path, task):
    return FrameReader(
        str(path),
        data_root='',
        start_index=1,
        filename_tmpl='{:05d}.jpg',
        clips=None,
        owner='test',
        task=task,
    )


@pytest.mark.parametrize(('task', 'seen', 'unseen', 'clips'), SETS)
def test_clip_files(tmp_path, task, seen, unseen, clips):
    rng = np.random.default_rng(0)
    hidden = seen // 10
    lines = seen + unseen + hidden
    kind = np.repeat([0, 1, 2], [seen, unseen, hidden])  # with a crop, without one, not annotated
    rng.shuffle(kind)
    if task == 'va':
        values = rng.integers(-1000, 1001, (lines, 2)) / 1000
        texts = np.char.add(np.char.add(values[:, 0].astype(str), ','), values[:, 1].astype(str))
    else:
        code = rng.integers(0, 4096, lines)
        values = code[:, None] >> np.arange(12) & 1
        words = np.array([','.join(str(c >> k & 1) for k in range(12)) for c in range(4096)])
        texts = words[code]
    texts = np.where(kind == 2, HIDDEN[task], texts)
    crops, at = {}, 0
    for clip, size in enumerate(spread(lines, clips, rng).tolist()):
        part = slice(at, at + size)
        at += size
        name = f'{clip}-30-1280x720'
        (tmp_path / f'{name}.txt').write_text('\n'.join([HEADERS[task], *texts[part]]) + '\n')
        crops[name] = np.flatnonzero(kind[part] != 1) + 1
    frames = make_reader(tmp_path, task).read(
        lambda names: FrameTable.from_clips(
            {name: crops[name] for name in names},
            source={name: np.zeros(len(crops[name]), np.int8) for name in names},
        )
    )
    assert len(frames) == seen and len(frames.clips) == clips and frames.is_sorted()
    assert frames.counts['lines'] == lines
    assert (frames.counts['missing'], frames.counts['unlabelled']) == (unseen, hidden)
    column = frames[get_targets(task)[0].column]
    np.testing.assert_allclose(column.sum(axis=0), values[kind == 0].sum(axis=0), atol=1)
    assert sum(x.nbytes for x in (frames.clip_id, frames.frame_no, column)) < 35e6


@pytest.mark.parametrize(('rows', 'clips', 'annotated', 'none', 'repeated'), MULTI_TASK)
def test_multi_task_files(tmp_path, rows, clips, annotated, none, repeated):
    rng = np.random.default_rng(0)
    sizes = spread(rows - repeated, clips, rng)
    numbers = [np.cumsum(rng.integers(2, 41, size)) for size in sizes]  # every 2nd to 40th frame
    clip_id = np.repeat(np.arange(clips), sizes)
    images = np.stack([clip_id, np.concatenate(numbers)], axis=1)
    images = np.concatenate([images, rng.choice(images, repeated, replace=False)])
    rng.shuffle(images)
    mask = {}
    anywhere = np.arange(none, rows)  # the first rows have no annotation at all
    for name, number in annotated.items():
        mask[name] = np.zeros(rows, bool)
        mask[name][rng.choice(anywhere, number, replace=False)] = True
    empty = ~np.logical_or.reduce(list(mask.values()))
    mask['va'][np.flatnonzero(empty)[none:]] = True  # others get a part, at the cost of some row
    several = np.flatnonzero(mask['va'] & (mask['label'] | mask['au']) & ~empty)
    mask['va'][several[: mask['va'].sum() - annotated['va']]] = False
    va = rng.integers(-1000, 1001, (rows, 2)) / 1000
    label, au = rng.integers(0, 8, rows), rng.integers(0, 2, (rows, 12))
    va[~mask['va']], label[~mask['label']], au[~mask['au']] = -5, -1, -1
    header = f'image,valence,arousal,expression,{HEADERS["au"]}'
    lines = [
        f'video{clip}/{number:05d}.jpg,{v},{a},{c},{",".join(map(str, units))}'
        for (clip, number), (v, a), c, units in zip(
            images.tolist(), va.tolist(), label.tolist(), au.tolist(), strict=True
        )
    ]
    path = tmp_path / 'training_set_annotations.txt'
    path.write_text('\n'.join([header, *lines]) + '\n')
    listed = {f'video{i}': np.unique(own) for i, own in enumerate(numbers)}
    frames = make_reader(path, 'mtl').read(
        lambda names: FrameTable.from_clips(
            {name: listed[name] for name in names},
            source={name: np.zeros(len(listed[name]), np.int8) for name in names},
        )
    )
    assert frames.counts['lines'] == rows and len(frames.clips) == clips
    assert frames.counts['unlabelled'] == none and len(frames) == rows - none
    for target in get_targets('mtl'):
        values = frames[target.column]
        assert np.count_nonzero(target.is_annotated(values)) == annotated[target.column]
    assert frames['label'].sum(dtype=int) == label.sum() + none
    unique = len(np.unique(images[~empty_rows(mask)], axis=0))
    assert len(frames.find_duplicates()) == len(frames) - unique
    table = make_reader(path, 'mtl').read_annotations()
    assert len(table) == rows and len(table.find_duplicates()) == repeated


def empty_rows(mask):
    return ~np.logical_or.reduce(list(mask.values()))


@pytest.mark.parametrize(('task', 'rows', 'clips'), LISTS)
def test_test_set_is_answered(tmp_path, task, rows, clips):
    """Every row of the list gets an answer; a frame in 70 has no crop."""
    rng = np.random.default_rng(0)
    sizes = spread(rows, clips, rng).tolist()
    names = [f'video{i:03d}_left' for i in range(clips)]
    step = 4 if task == 'mtl' else 1
    lines = [
        f'{name}/{number:05d}.jpg,'
        for name, size in zip(names, sizes, strict=True)
        for number in range(1, step * size + 1, step)
    ]
    frames = tmp_path / 'list.txt'
    frames.write_text('\n'.join([LIST_HEADERS[task], *lines]) + '\n')
    listed = make_reader(frames, task).read_list()
    assert len(listed) == rows and len(listed.clips) == clips
    table = listed.take(rng.random(rows) < 69 / 70).sort()
    size = len(table)
    columns = {}
    for target in get_targets(task):
        shape = (size, *target.shape)
        columns[target.ground_truth] = np.full(shape, target.hidden, np.float32)
    if 'gt_va' in columns:
        columns['pred_va'] = rng.uniform(-1, 1, (size, 2)).astype(np.float32)
    if 'gt_label' in columns:
        label = rng.integers(0, 8, size)
        score = np.full((size, 8), 0.05, np.float32)
        score[np.arange(size), label] = 0.65
        columns |= dict(pred_label=label, pred_score=score)
        columns['gt_label'] = columns['gt_label'].astype(np.int32)
    if 'gt_au' in columns:
        columns['pred_au'] = rng.random((size, 12), dtype=np.float32)
        columns['gt_au'] = columns['gt_au'].astype(np.int32)
    predictions = Predictions(table.clips, table.clip_id, table.frame_no, columns)
    answer = Submission.answer(frames, predictions, make_filler(task))
    assert answer['is_filled'].sum() == rows - size
    answer.write_list(tmp_path / 'predictions.txt')
    with open(tmp_path / 'predictions.txt') as file:
        assert sum(1 for _ in file) == rows + 1
    assert check_submission(tmp_path / 'predictions.txt', frames) == []
