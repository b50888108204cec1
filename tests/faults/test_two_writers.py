"""A second run in a folder is refused, and no lock outlives its holder."""

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress

import pytest
import torch
from fault_run import finish, start, write_config
from mmengine.config import Config
from mmpretrain.registry import MODELS

from abaw_mm.apis import extract_features, train
from abaw_mm.errors import FileAccessError
from abaw_mm.files import lock_folder

HOLD = (
    'import os, sys, time; from abaw_mm.files import lock_folder\n'
    'with lock_folder(sys.argv[1], "--out"):\n'
    '    worker = os.fork()  # as a worker of a data loader, it may outlive its process\n'
    '    if worker:\n'
    '        print(worker, flush=True)\n'
    '    time.sleep(60)'
)


@pytest.fixture
def hold():
    """Return a function that locks a folder in another process; gives the process."""
    holders, workers = [], []

    def start_holder(folder):
        command = [sys.executable, '-c', HOLD, str(folder)]
        holders.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        workers.append(int(holders[-1].stdout.readline()))
        return holders[-1]

    yield start_holder
    for holder in holders:
        holder.kill()
        holder.wait()
    for worker in workers:
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)


@pytest.mark.slow
def test_lock_names_its_holder_and_ends_with_it(tmp_path, hold):
    (tmp_path / '.iter_2.other-7.part.pth').touch()
    holder = hold(tmp_path)
    assert os.listdir(tmp_path) == ['.lock']  # the draft of a killed run was deleted
    year = time.strftime('%Y')
    message = (
        f'--out: {tmp_path} is in use by process {holder.pid} on {socket.gethostname()} since '
        rf'{year}-\d\d-\d\d \d\d:\d\d:\d\d; wait until it ends'
    )
    for _ in range(2):  # to ask does not take the lock
        with pytest.raises(FileAccessError, match=message), lock_folder(tmp_path, '--out'):
            pass
    holder.kill()
    holder.wait()
    with lock_folder(tmp_path, '--out'):  # its forked worker lives on
        assert f'process {os.getpid()} on ' in (tmp_path / '.lock').read_text()


def test_file_system_without_locks_gives_a_warning(tmp_path, monkeypatch, logged_warnings):
    def refuse(file, operation):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr('fcntl.lockf', refuse)
    with lock_folder(tmp_path, '--out'):
        pass
    assert f'--out: the file system of {tmp_path} has no locks (No loc' in logged_warnings[-1]


@pytest.mark.slow
def test_second_training_in_a_work_dir_is_refused(tmp_path, hold):
    config = write_config(tmp_path, workers=0)
    holder = hold(tmp_path / 'run')
    recorded = tmp_path / 'run' / config.name
    recorded.write_text('of the running training')
    for resume in (None, 'auto'):
        with pytest.raises(FileAccessError, match=f'--work-dir: .*in use by process {holder.pid} '):
            train(str(config), work_dir=str(tmp_path / 'run'), resume=resume)
    assert not list((tmp_path / 'run').rglob('*.json'))  # nothing was logged
    assert recorded.read_text() == 'of the running training'
    short = {'train_cfg.max_iters': 1}
    train(str(config), work_dir=str(tmp_path / 'other'), cfg_options=short)
    holder.kill()
    holder.wait()
    train(str(config), work_dir=str(tmp_path / 'run'), cfg_options=short)
    assert (tmp_path / 'run/iter_1.pth').is_file()


@pytest.mark.slow
def test_second_extraction_into_a_folder_is_refused(tmp_path, hold):
    config = write_config(tmp_path, workers=0)
    model = MODELS.build(Config.fromfile(config).model)
    torch.save(dict(state_dict=model.state_dict(), meta={}), tmp_path / 'a.pth')
    arguments = (str(config), str(tmp_path / 'a.pth'), str(tmp_path / 'out'))
    options = dict(split=['val'], work_dir=str(tmp_path / 'log'))
    holder = hold(tmp_path / 'out')
    with pytest.raises(FileAccessError, match=f'--out: .*in use by process {holder.pid} '):
        extract_features(*arguments, **options)
    assert os.listdir(tmp_path / 'out') == ['.lock']
    holder.kill()
    holder.wait()
    (tmp_path / 'out/clips').mkdir()
    (tmp_path / 'out/clips/.a.other-7.part.npy').touch()  # of a killed extraction
    folder = extract_features(*arguments, **options)
    assert len(folder.index.clips) == len(os.listdir(tmp_path / 'out/clips')) == 3
    options['split'] = ['train']
    assert len(extract_features(*arguments, **options).index.clips) == 6  # both splits remain


@pytest.mark.slow
@pytest.mark.parametrize('processes', [1, 2])
def test_refused_training_is_one_line(tmp_path, hold, processes):
    config = write_config(tmp_path)
    holder = hold(tmp_path / 'run')
    command = ('train.py', config, '--work-dir', tmp_path / 'run')
    status, output = finish(start(*command, processes=processes))
    assert status == 1 and 'Traceback' not in output, output
    assert len(re.findall(f'in use by process {holder.pid} ', output)) == 1
