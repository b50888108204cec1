"""Submissions of the VA, AU and multi-task tracks: written, read back by plain code, checked."""

import csv
import shlex
from pathlib import Path

import numpy as np
import pytest

from abaw_mm.evaluation import Predictions
from abaw_mm.structures import FrameTable

HEADERS = {
    'va': 'image_location,valence,arousal',
    'au': 'image_location,AU1,AU2,AU4,AU6,AU7,AU10,AU12,AU15,AU23,AU24,AU25,AU26',
    'mtl': 'image,valence,arousal,expression,aus',
}
FRAMES = {'a': [1, 2, 3, 4, 5, 6], 'b c': [1, 2, 3, 4]}


@pytest.fixture
def run(run_tool, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *args: run_tool('make_submission.py', *args)


def make_truth(size):
    rng = np.random.default_rng(4)
    au = rng.integers(0, 2, (size, 12))
    au[0], au[1] = 0, 1
    return dict(va=rng.uniform(-1, 1, (size, 2)).round(3), label=np.arange(size) % 8, au=au)


def write_files(task, frames=FRAMES, missing=(), steps=()):
    """Write the list of a track and perfect predictions; return the rows of the list."""
    table = FrameTable.from_clips(frames)
    names = [f'{clip}/{n:05d}.jpg' for clip, n in zip(table.clip, table.frame_no, strict=True)]
    truth = make_truth(len(table))
    score = np.full((len(table), 8), 0.01)
    score[np.arange(len(table)), truth['label']] = 0.93
    columns = dict(
        va=dict(pred_va=np.float32(truth['va']), gt_va=np.full((len(table), 2), -5, np.float32)),
        au=dict(pred_au=np.float32(0.1 + 0.8 * truth['au']), gt_au=np.full((len(table), 12), -1)),
    )
    expression = dict(
        pred_score=np.float32(score), pred_label=truth['label'], gt_label=np.full(len(table), -1)
    )
    columns['mtl'] = columns['va'] | columns['au'] | expression
    rows = [row for row, name in enumerate(names) if name not in missing]
    part = FrameTable(table.clips, table.clip_id, table.frame_no, columns[task]).take(rows)
    Predictions(part.clips, part.clip_id, part.frame_no, part.columns, steps=steps).write('p.npz')
    listed = [*names, names[2]] if task == 'mtl' else names  # the multi-task list repeats frames
    with open('list.txt', 'w') as file:
        file.write('\n'.join([HEADERS[task], *(f'{name},' for name in listed)]) + '\n')
    return names, listed, truth


def read_plain(path):
    """Read a submission by hand: names and values of the rows."""
    with open(path, newline='') as file:
        header, *rows = csv.reader(file)
    return ','.join(header), [row[0] for row in rows], [row[1:] for row in rows]


def ccc(x, y):
    return 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)


def f1(x, y):
    return 2 * np.sum(x & y) / (np.sum(x) + np.sum(y))


@pytest.mark.parametrize(('task', 'best'), [('va', 1), ('au', 1), ('mtl', 3)])
def test_perfect_predictions_get_the_best_score_from_the_file(run, task, best):
    names, listed, truth = write_files(task)
    status, out, err = run('p.npz', '--frames', 'list.txt', '--out', 'sub.txt')
    assert status == 0, err
    assert f'{len(listed)} frames of 2 clips; 0 without a prediction' in out
    header, found, rows = read_plain('sub.txt')
    assert header == HEADERS[task] and found == listed
    if task == 'mtl':
        assert {row[-1] for row in rows} == {''}
        rows = [row[:-1] for row in rows]
    values = np.array(rows, float)
    order = [names.index(name) for name in listed]
    score = 0.0
    if task in ('va', 'mtl'):
        score += np.mean([ccc(values[:, k], truth['va'][order, k]) for k in (0, 1)])
    if task == 'mtl':
        labels, expected = values[:, 2], truth['label'][order]
        score += np.mean([f1(labels == k, expected == k) for k in range(8)])
    if task in ('au', 'mtl'):
        units = values[:, -12:] == 1
        score += np.mean([f1(units[:, k], truth['au'][order, k] == 1) for k in range(12)])
    assert score == pytest.approx(best, abs=1e-5)
    assert run('--check', 'sub.txt', '--frames', 'list.txt')[0] == 0


@pytest.mark.parametrize(
    ('rule', 'expected'),
    [('interpolate', [2 / 3, 1 / 3]), ('nearest', [1.0, 0.0]), ('previous', [1.0, 1.0])],
)
def test_valence_and_arousal_of_a_gap(run, rule, expected):
    _, _, truth = write_files('va', missing=['a/00003.jpg', 'a/00004.jpg'])
    assert run('p.npz', '--frames', 'list.txt', '--out', 'sub.txt', '--fill', rule)[0] == 0
    before, after = truth['va'][1], truth['va'][4]
    values = np.array(read_plain('sub.txt')[2], float)[2:4]
    for row, weight in zip(values, expected, strict=True):
        np.testing.assert_allclose(row, weight * before + (1 - weight) * after, atol=1e-6)


def test_thresholds_of_the_steps_decide_on_units(run):
    write_files('au', steps=('threshold ' + ' '.join(['0.95', *['0.05'] * 11]),))
    assert run('p.npz', '--frames', 'list.txt', '--out', 'sub.txt')[0] == 0
    assert read_plain('sub.txt')[2] == [['0'] + ['1'] * 11] * 10  # 0.1 and 0.9 everywhere


@pytest.mark.parametrize(
    ('task', 'values', 'expected'),
    [
        ('va', '0.5,-1', ['0.500000', '-1.000000']),
        ('au', '1' + ',0' * 11, ['1'] + ['0'] * 11),
        ('mtl', '0,0,Neutral' + ',1' * 12, ['0.000000'] * 2 + ['0'] + ['1'] * 12 + ['']),
    ],
)
def test_clip_without_any_prediction(run, task, values, expected):
    write_files(task, missing=[f'b c/{n:05d}.jpg' for n in range(1, 5)])
    status, _, err = run('p.npz', '--frames', 'list.txt', '--out', 'sub.txt')
    assert status == 1 and "no prediction for 1 of the 2 wanted clips, 'b c'" in err
    flags = ('--empty-clip', values)
    assert run('p.npz', '--frames', 'list.txt', '--out', 'sub.txt', *flags)[0] == 0
    assert read_plain('sub.txt')[2][6] == expected


@pytest.mark.parametrize('task', ['va', 'au'])
def test_per_clip_files(run, task):
    _, _, truth = write_files(task)
    flags = ('--frames', 'list.txt', '--out', 'sub', '--format', 'per-clip')
    assert run('p.npz', *flags)[0] == 0
    with open('sub/b c.txt') as file:
        header, *lines = file.read().splitlines()
    assert header == HEADERS[task].partition(',')[2]
    values = np.array([line.split(',') for line in lines], float)
    np.testing.assert_allclose(values, truth[task][6:], atol=1e-6)
    assert run('--check', 'sub', '--frames', 'list.txt')[0] == 0
    with open('sub/a.txt', 'w') as file:
        file.write(header + '\n0' + ',0' * len(values[0]) + '\n')
    status, _, err = run('--check', 'sub', '--frames', 'list.txt')
    assert status == 1 and 'a.txt: 1 line with another number of values' in err


@pytest.mark.parametrize(
    ('task', 'flags', 'message'),
    [
        ('va', ['--fill', 'Neutral'], "--fill: got 'Neutral', expected interpolate, previous"),
        ('au', ['--start-class', 'Fear'], "--start-class: got 'Fear' for the track 'au'"),
        ('va', ['--empty-clip', 'Neutral'], "--empty-clip: got 'Neutral', expected 2 values"),
        ('va', ['--empty-clip', '0,2'], "--empty-clip: got '0,2', expected 2 values"),
        ('mtl', ['--format', 'per-clip'], "--format per-clip: got predictions of the track 'mtl'"),
        ('va', ['--task', 'au'], "p.npz: got predictions of the track 'va', expected 'au'"),
    ],
)
def test_option_without_meaning_for_the_track_is_an_error(run, task, flags, message):
    write_files(task)
    status, _, err = run('p.npz', '--frames', 'list.txt', '--out', 'sub.txt', *flags)
    assert status == 1 and message in err and 'Traceback' not in err


def test_list_of_another_track_is_refused(run):
    write_files('va')
    with open('other.txt', 'w') as file:
        file.write(HEADERS['au'] + '\na/00001.jpg\n')
    status, _, err = run('p.npz', '--frames', 'other.txt', '--out', 'sub.txt')
    assert status == 1 and 'other.txt, line 1: got the header' in err and 'AU track' in err


def edit(number, line):
    """Return a function that replaces a line, counted from 0; None removes it."""
    return lambda lines: [*lines[:number], *([] if line is None else [line]), *lines[number + 1 :]]


ONES = ',1' * 12
FAULTS = [
    ('va', edit(0, HEADERS['au']), "line 1: got the header 'image_location,AU1"),
    ('au', edit(0, HEADERS['va']), "line 1: got the header 'image_location,valence"),
    ('mtl', edit(0, HEADERS['va']), "line 1: got the header 'image_location,valence"),
    ('va', edit(1, 'a/00001.jpg,nan,0'), "is not a number, expected -1..1: line 2: 'nan'"),
    ('va', edit(1, 'a/00001.jpg,0,1.5'), "out of range, expected -1..1: line 2: '1.5'"),
    ('va', edit(1, 'a/00001.jpg,0'), 'another number of values, expected a/00001.jpg and 2'),
    ('au', edit(1, 'a/00001.jpg,2' + ',1' * 11), 'action unit out of range, expected 0..1: line 2'),
    ('au', edit(1, 'a/00001.jpg,0.7' + ',1' * 11), 'action unit is not an integer'),
    ('mtl', edit(1, f'a/00001.jpg,0,0,8{ONES},'), 'class out of range, expected 0..7: line 2'),
    ('mtl', edit(1, f'a/00001.jpg,0,0,-1{ONES},'), 'class out of range, expected 0..7: line 2'),
    ('mtl', edit(1, f'a/00001.jpg,0,0,1{ONES}'), '15 values and a comma at the end'),
    ('mtl', edit(11, None), '1 of 11 frames are missing'),
    ('va', edit(3, None), '1 of 10 frames are missing'),
    ('va', lambda lines: [*lines, lines[1]], '1 frames are repeated'),
    ('mtl', lambda lines: [*lines, lines[3]], '1 frames are repeated'),
    ('au', lambda lines: [lines[0], *lines[:0:-1]], 'not in the order of the list'),
    ('va', lambda lines: [line + '\r' for line in lines], 'end as on Windows'),
    ('mtl', lambda lines: ['\ufeff' + lines[0], *lines[1:]], 'byte order mark'),
]


@pytest.mark.parametrize(('task', 'change', 'message'), FAULTS)
def test_check_finds_what_a_server_would_reject(run, tmp_path, task, change, message):
    write_files(task)
    assert run('p.npz', '--frames', 'list.txt', '--out', 'sub.txt')[0] == 0
    lines = change((tmp_path / 'sub.txt').read_text().splitlines())
    (tmp_path / 'sub.txt').write_bytes(('\n'.join(lines) + '\n').encode())
    status, _, err = run('--check', 'sub.txt', '--frames', 'list.txt')
    assert status == 1 and message in err and 'would be rejected' in err


def test_commands_of_the_docs_run(run, tmp_path):
    text = (Path(__file__).parents[2] / 'docs/submission.md').read_text()
    block = text.partition('## The other tracks')[2].partition('```bash\n')[2].partition('```')[0]
    write_files('va', missing=[f'b c/{n:05d}.jpg' for n in range(1, 5)])
    (tmp_path / 'p.npz').rename('va.npz')
    (tmp_path / 'list.txt').rename('va_list.txt')
    commands = [shlex.split(line)[2:] for line in block.strip().split('\n')]
    assert len(commands) == 2
    for command in commands:
        status, _, err = run(*command)
        assert status == 0, err
