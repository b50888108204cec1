"""SIGTERM and Ctrl-C end a training with a checkpoint, and ``--resume`` gives the same weights."""

import os
import signal
import time
from pathlib import Path

import pytest
from fault_run import (
    assert_same_state,
    finish,
    list_drafts,
    start,
    wait_for,
    write_config,
)

from abaw_mm.apis import train

SIGNALS = [signal.SIGTERM, signal.SIGINT]
ONE_QUICK = [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]


def ending(number):
    """Return what a process ends with after a signal."""
    return pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit)


def hooks(**options):
    return {'custom_hooks': [dict(type='SignalAtStep', **options)]}


def check_stopped(work_dir, step):
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / f'iter_{step}.pth')
    assert not list_drafts(work_dir)


@pytest.fixture
def handlers():
    """Handlers of this process, which a training must restore."""
    before = [signal.getsignal(number) for number in SIGNALS]
    yield
    assert [signal.getsignal(number) for number in SIGNALS] == before


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp('unbroken')
    config = write_config(folder)
    train(str(config), work_dir=str(folder / 'run'))
    return config, folder / 'run'


@pytest.mark.parametrize('number', ONE_QUICK)
def test_signal_saves_the_running_step(unbroken, tmp_path, handlers, number):
    config, whole = unbroken
    with ending(number) as error:
        train(str(config), work_dir=str(tmp_path), cfg_options=hooks(step=3, number=int(number)))
    if number == signal.SIGTERM:
        assert error.value.code == 143
    check_stopped(tmp_path, 3)
    assert not (tmp_path / 'iter_4.pth').exists()
    train(str(config), work_dir=str(tmp_path), resume='auto')
    assert_same_state(whole / 'iter_6.pth', tmp_path / 'iter_6.pth')


@pytest.mark.slow
def test_accumulated_gradients_are_applied_first(tmp_path, handlers):
    accumulate = {'optim_wrapper.accumulative_counts': 2}
    config = write_config(tmp_path)
    train(str(config), work_dir=str(tmp_path / 'whole'), cfg_options=accumulate)
    with ending(signal.SIGTERM):
        options = {**accumulate, **hooks(step=3, number=15)}
        train(str(config), work_dir=str(tmp_path / 'run'), cfg_options=options)
    check_stopped(tmp_path / 'run', 4)
    train(str(config), work_dir=str(tmp_path / 'run'), resume='auto', cfg_options=accumulate)
    assert_same_state(tmp_path / 'whole/iter_6.pth', tmp_path / 'run/iter_6.pth')


@pytest.mark.slow
def test_signal_in_a_validation_saves_the_step_before_it(unbroken, tmp_path, handlers):
    config, whole = unbroken
    interval = {'train_cfg.val_interval': 3}
    with ending(signal.SIGTERM):
        options = {**interval, **hooks(step=3, number=15, phase='val')}
        train(str(config), work_dir=str(tmp_path), cfg_options=options)
    check_stopped(tmp_path, 3)
    train(str(config), work_dir=str(tmp_path), resume='auto', cfg_options=interval)
    assert_same_state(whole / 'iter_6.pth', tmp_path / 'iter_6.pth')


@pytest.mark.slow
@pytest.mark.parametrize('number', SIGNALS)
@pytest.mark.parametrize('rank', [0, 1])
def test_two_processes_agree_on_the_step(tmp_path, number, rank):
    """Only one of them receives the signal."""
    config = write_config(tmp_path)
    status, output = finish(start('train.py', config, '--work-dir', tmp_path / 'a', processes=2))
    assert status == 0, output
    broken = write_config(tmp_path, **hooks(step=3, number=int(number), rank=rank))
    run = ('train.py', broken, '--work-dir', tmp_path / 'b')
    status, output = finish(start(*run, processes=2))
    assert status == 128 + number and 'Traceback' not in output, output
    check_stopped(tmp_path / 'b', 3)
    resume = ('train.py', write_config(tmp_path), '--work-dir', tmp_path / 'b', '--resume')
    status, output = finish(start(*resume, processes=2))
    assert status == 0, output
    assert_same_state(tmp_path / 'a/iter_6.pth', tmp_path / 'b/iter_6.pth')


@pytest.mark.slow
@pytest.mark.parametrize('number', SIGNALS)
@pytest.mark.parametrize('processes', [1, 2])
@pytest.mark.parametrize('everyone', [False, True])
def test_command_ends_with_a_checkpoint(tmp_path, processes, number, everyone):
    """The signal goes to the command, or to its group with the workers, as Ctrl-C does."""
    marker = tmp_path / 'marker'
    settings = dict(
        train_cfg=dict(max_iters=2000, val_interval=2000), **hooks(step=3, marker=str(marker))
    )
    config = write_config(tmp_path, **settings)
    command = ('train.py', config, '--work-dir', tmp_path / 'run')
    process = start(*command, processes=processes)
    wait_for(marker, process)
    (os.killpg if everyone else os.kill)(process.pid, number)
    status, output = finish(process)
    assert status == 128 + number and 'Traceback' not in output, output
    step = int((tmp_path / 'run/last_checkpoint').read_text().split('_')[-1].split('.')[0])
    assert 3 <= step < 100
    check_stopped(tmp_path / 'run', step)


@pytest.mark.slow
@pytest.mark.parametrize('processes', [1, 2])
def test_second_interrupt_stops_at_once(tmp_path, processes):
    marker = tmp_path / 'marker'
    config = write_config(tmp_path, **hooks(step=3, marker=str(marker), seconds=60))
    process = start('train.py', config, '--work-dir', tmp_path / 'run', processes=processes)
    wait_for(marker, process)
    time.sleep(0.5)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    status, output = finish(process)
    assert status == 130 and 'Traceback' not in output, output
    assert time.monotonic() - begin < 30
    assert not list((tmp_path / 'run').glob('*.pth'))


def is_running(pid):
    """Return whether a process runs; a zombie, which nobody has waited for, does not."""
    try:
        return Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[0] != 'Z'
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_workers_end_with_a_killed_training(tmp_path):
    marker = tmp_path / 'marker'
    config = write_config(tmp_path, **hooks(step=3, marker=str(marker), seconds=60))
    process = start('train.py', config, '--work-dir', tmp_path / 'run')
    wait_for(marker, process)
    children = Path(f'/proc/{process.pid}/task/{process.pid}/children').read_text().split()
    assert children
    process.kill()
    process.wait()
    time.sleep(1)  # a worker of PyTorch itself looks for its process every 5 seconds
    assert not [child for child in children if is_running(child)]


@pytest.mark.slow
def test_signal_before_the_first_step_ends_the_command(tmp_path):
    config = write_config(tmp_path)
    process = start('train.py', config, '--work-dir', tmp_path / 'run')
    wait_for(tmp_path / 'run/.lock', process)
    process.send_signal(signal.SIGTERM)
    status, output = finish(process)
    assert status == 143 and 'Traceback' not in output, output
