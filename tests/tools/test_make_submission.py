"""tools/make_submission.py."""

import numpy as np
import pytest

HEADER = 'Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'


@pytest.fixture
def folder(tmp_path):
    """Predictions of frames 1 and 4 of a clip, and a list of six frames of it."""
    np.savez(
        tmp_path / 'predictions.npz',
        clip=np.array(['video65'] * 2),
        frame_no=np.array([1, 4]),
        pred_score=np.eye(8, dtype=np.float32)[[2, 5]],
        classes=np.array(HEADER.split(',')),
    )
    rows = [f'video65/{i:05d}.jpg,' for i in range(1, 7)]
    (tmp_path / 'list.txt').write_text('\n'.join([f'image_location,{HEADER}', *rows]))
    return tmp_path


@pytest.fixture
def run(folder, run_tool, monkeypatch):
    """Run the command in the folder: status, output and errors."""
    monkeypatch.chdir(folder)
    return lambda *args: run_tool('make_submission.py', *args, '--frames', 'list.txt')


def labels(path):
    return [int(line.rpartition(',')[2]) for line in path.read_text().splitlines()[1:]]


def test_submission_is_written_and_passes_the_check(run, folder):
    status, out, _ = run('predictions.npz', '--out', 'sub/predictions.txt')
    assert status == 0 and labels(folder / 'sub/predictions.txt') == [2, 2, 5, 5, 5, 5]
    assert '6 frames of 1 clips; 4 without a prediction (66.67%), filled by' in out
    assert 'Disgust 2  Fear 0  Happiness 0  Sadness 4' in out
    status, out, _ = run('--check', 'sub/predictions.txt')
    assert status == 0 and 'in order, one class for every frame of list.txt' in out
    with open(folder / 'sub/predictions.txt', 'a') as file:
        file.write('video65/00009.jpg,0\n')
    status, _, err = run('--check', 'sub/predictions.txt')
    assert status == 1 and 'not in the list' in err and 'would be rejected' in err


def test_rules_and_formats(run, folder):
    assert run('predictions.npz', '--out', 'a.txt', '--fill', 'Fear')[0] == 0
    assert labels(folder / 'a.txt') == [2, 3, 3, 5, 3, 3]
    per_clip = ('--format', 'per-clip', '--fill', 'previous')
    assert run('predictions.npz', '--out', 'b', *per_clip)[0] == 0
    assert (folder / 'b/video65.txt').read_text() == f'{HEADER}\n2\n2\n2\n5\n5\n5\n'
    assert run('--check', 'b')[0] == 0


def test_clip_without_crops_is_named(run, folder):
    with open(folder / 'list.txt', 'a') as file:
        file.write('\nvideo7/00001.jpg,')
    status, _, err = run('predictions.npz', '--out', 'a.txt')
    assert status == 1 and "'video7'" in err and '--empty-clip' in err
    assert not (folder / 'a.txt').exists()
    status, out, _ = run('predictions.npz', '--out', 'a.txt', '--empty-clip', 'Neutral')
    assert status == 0 and "1 clips without any prediction, filled with Neutral: 'video7'" in out
    assert labels(folder / 'a.txt')[-1] == 0


@pytest.mark.parametrize(
    ('args', 'message'),
    [
        (('gone.npz', '--out', 'a.txt'), 'gone.npz: no such file'),
        (('predictions.npz', '--out', 'a.txt', '--fill', 'linear'), "--fill: got 'linear'"),
        (('--check', 'gone.txt'), 'gone.txt: no such file'),
    ],
)
def test_user_errors(run, folder, args, message):
    status, _, err = run(*args)
    assert status == 1 and message in err and not (folder / 'a.txt').exists()


def test_other_classes_are_refused(run, folder):
    data = dict(np.load(folder / 'predictions.npz'))
    data['classes'] = data['classes'][::-1]
    np.savez(folder / 'predictions.npz', **data)
    status, _, err = run('predictions.npz', '--out', 'a.txt')
    assert status == 1 and 'predictions.npz: got 8 classes Other' in err


@pytest.mark.parametrize(
    'args',
    [
        ('--check', 'a.txt', '--out', 'b.txt'),
        ('predictions.npz',),
        ('--out', 'a.txt'),
    ],
)
def test_wrong_arguments(run, args):
    assert run(*args)[0] == 2
