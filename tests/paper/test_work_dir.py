"""Work dir of a sweep: lock, checkpoints, logs and differences of settings."""

import json
import os
import subprocess
import zipfile

import pytest

from abaw_mm.errors import UserError
from abaw_mm.paper.work_dir import (
    WorkDir,
    WorkDirInUseError,
    find_error,
    find_last_checkpoint,
    read_step_times,
)


def test_lock_names_its_holder_and_is_released(tmp_path):
    first, second = WorkDir(tmp_path / 'work'), WorkDir(tmp_path / 'work')
    with first.lock():
        with pytest.raises(WorkDirInUseError, match=f'process ID {os.getpid()} on ') as error:
            with second.lock():
                pass
        assert isinstance(error.value, UserError) and 'another --work-dir' in str(error.value)
    with second.lock():
        pass


def test_lock_outlives_a_sweep_whose_training_still_runs(tmp_path):
    work_dir = WorkDir(tmp_path)
    with work_dir.lock() as lock:
        training = subprocess.Popen(['sleep', '60'], pass_fds=(lock,))
    try:
        with pytest.raises(WorkDirInUseError, match='a training that it started'):
            with work_dir.lock():
                pass
    finally:
        training.kill()
        training.wait()
    with work_dir.lock():
        pass


def test_incomplete_checkpoint_is_removed(tmp_path):
    assert find_last_checkpoint(tmp_path) is None
    for step in (5, 10):
        with zipfile.ZipFile(tmp_path / f'iter_{step}.pth', 'w') as file:
            file.writestr('state', 'x' * 1000)
    complete = (tmp_path / 'iter_10.pth').read_bytes()
    (tmp_path / 'iter_100.pth').write_bytes(complete[:500])
    assert find_last_checkpoint(tmp_path) == tmp_path / 'iter_10.pth'
    assert not (tmp_path / 'iter_100.pth').exists()


def test_step_times_are_those_of_the_later_attempt(tmp_path):
    attempts = {'20260101': {1: 0.5, 2: 0.5, 3: 0.5}, '20260102': {3: 0.1, 4: 0.1}}
    for attempt, times in attempts.items():
        path = tmp_path / attempt / 'vis_data/scalars.json'
        path.parent.mkdir(parents=True)
        lines = [json.dumps(dict(step=step, time=t, loss=1.0)) for step, t in times.items()]
        path.write_text('\n'.join([*lines, '{"step": 5, "ti']))  # cut off by a kill
    assert read_step_times(tmp_path) == {1: 0.5, 2: 0.5, 3: 0.1, 4: 0.1}


@pytest.mark.parametrize(
    'log, line',
    [
        ('a\nValueError: x\n', 'ValueError: x'),
        (
            '[rank1]: torch.cuda.OutOfMemoryError: y\nE\n'
            'torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n====\n',
            'OutOfMemoryError: y',
        ),
        ('only this\n\n', 'only this'),
        ('', 'the log is empty'),
    ],
)
def test_error_is_found_in_a_log(log, line):
    assert find_error(log) == line


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'damaged or wrong file'),
        (b'[1, 2]', 'a list instead of an object'),
        (b'\xff\xfe', 'damaged or wrong file'),
        (b'{"macro_f1": "x"}', "got macro_f1='x', expected a number"),
        (b'{"macro_f1": 1, "accuracy": 2, "time": []}', 'got time.train_s=None, expected a number'),
    ],
)
def test_damaged_result_is_named(tmp_path, content, message):
    path = tmp_path / 'row/seed0/result.json'
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(UserError, match=rf'result\.json: .*{message}.*delete it'):
        WorkDir(tmp_path).read_result('row', 0)


def test_damaged_checkpoint_is_removed(tmp_path):
    for step in (5, 10):
        with zipfile.ZipFile(tmp_path / f'iter_{step}.pth', 'w') as file:
            file.writestr('state', 'x' * 1000)
    data = bytearray((tmp_path / 'iter_10.pth').read_bytes())
    data[500] ^= 1
    (tmp_path / 'iter_10.pth').write_bytes(data)
    assert find_last_checkpoint(tmp_path) == tmp_path / 'iter_5.pth'


def test_damaged_lines_of_a_log_are_left_out(tmp_path):
    path = tmp_path / 'time/vis_data/scalars.json'
    path.parent.mkdir(parents=True)
    lines = [b'{"step": 1, "time": 0.5, "loss": 1}', b'\xff', b'3', b'{"step": [], "time": 1}']
    path.write_bytes(b'\n'.join([*lines, b'{"step": "2", "time": 0.5, "loss": 1}', b'{"st']))
    assert read_step_times(tmp_path) == {1: 0.5}
