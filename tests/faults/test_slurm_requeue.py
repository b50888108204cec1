"""``slurm_train.sh --requeue`` continues, with stubs in place of Slurm's commands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from fault_run import REPO, assert_same_state, find_free_port, finish, start, write_config

SBATCH = """
echo "$@" >> FOLDER/sbatch
while [ "${1#-}" != "$1" ]; do  # options; -p has a value of its own
    if [ "$1" = -p ]; then shift; fi
    shift
done
export SLURM_JOB_ID=7 SLURM_CPUS_PER_TASK=1
bash "$@"
"""
SRUN = """
echo "$@" >> FOLDER/srun
while [ "$1" != python ]; do shift; done
export SLURM_NTASKS=2 SLURM_NODELIST=localhost SLURM_JOB_NODELIST=localhost
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & other=$!
SLURM_PROCID=0 SLURM_LOCALID=0 "$@"
status=$?
wait "$other" && exit "$status"
"""
SCONTROL = """
if [ "$1" = requeue ]; then echo "$@" >> FOLDER/requeued
elif [ "$2" = job ]; then echo 'JobId=7 JobState=STATE Reason=None'
else echo 127.0.0.1; fi
"""


@pytest.fixture
def slurm(tmp_path):
    """Return a function that runs slurm_train.sh with given bodies of Slurm's commands."""

    def run(*args, srun=SRUN, state='RUNNING'):
        folder = tmp_path / 'bin'
        folder.mkdir(exist_ok=True)
        for name, body in (('sbatch', SBATCH), ('srun', srun), ('scontrol', SCONTROL)):
            text = body.replace('FOLDER', str(tmp_path)).replace('STATE', state)
            (folder / name).write_text(f'#!/usr/bin/env bash\n{text}')
            (folder / name).chmod(0o755)
        paths = [str(folder), str(Path(sys.executable).parent), os.environ['PATH']]
        python_path = (REPO / 'tests', Path(__file__).parent)
        return subprocess.run(
            ['bash', str(REPO / 'tools/slurm_train.sh'), *map(str, args)],
            env={
                **os.environ,
                'PATH': os.pathsep.join(paths),
                'PYTHONPATH': os.pathsep.join(map(str, python_path)),
                'GPUS': '2',
                'GPUS_PER_NODE': '0',
                'MASTER_PORT': str(find_free_port()),
                'OMP_NUM_THREADS': '1',
            },
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=240,
        )

    return run


@pytest.mark.parametrize(
    ('status', 'state', 'requeued'),
    [
        (143, 'RUNNING', True),  # the time limit is near
        (143, 'CANCELLED', False),  # scancel
        (143, 'PREEMPTED', False),  # Slurm starts the job again
        (0, 'RUNNING', False),
        (1, 'RUNNING', False),  # an error, which would come again
        (130, 'RUNNING', False),
    ],
)
def test_job_is_queued_again_before_its_time_limit(slurm, tmp_path, status, state, requeued):
    srun = f'echo "$@" > FOLDER/srun; exit {status}'
    result = slurm('--requeue', 'part', 'job', 'a b.py', 'run', '--amp', srun=srun, state=state)
    assert result.returncode == status
    assert (tmp_path / 'requeued').exists() == requeued
    assert (tmp_path / 'srun').read_text() == (
        f'--kill-on-bad-exit=1 --cpus-per-task=1 python -u {REPO}/tools/train.py a b.py '
        '--work-dir=run --resume --amp --launcher=slurm\n'
    )
    assert (
        (tmp_path / 'sbatch')
        .read_text()
        .startswith(
            '-p part --job-name=job --ntasks=2 --cpus-per-task=5 --signal=TERM@60 --requeue '
            '--open-mode=append '
        )
    )


def test_without_requeue_the_tasks_run_at_once(slurm, tmp_path):
    result = slurm('part', 'job', 'a.py', 'run', srun='echo "$@" > FOLDER/srun; exit 143')
    assert result.returncode == 143 and not (tmp_path / 'sbatch').exists()
    assert '--resume' not in (tmp_path / 'srun').read_text()


@pytest.mark.slow
def test_requeued_training_gives_the_same_weights(slurm, tmp_path):
    config = write_config(tmp_path)
    whole = ('train.py', config, '--work-dir', tmp_path / 'whole')
    status, output = finish(start(*whole, processes=2))
    assert status == 0, output
    hook = dict(type='SignalAtStep', step=3, number=15, rank=1)
    write_config(tmp_path, custom_hooks=[hook])
    job = ('--requeue', 'part', 'job', config, tmp_path / 'run')
    result = slurm(*job)
    assert result.returncode == 143 and (tmp_path / 'requeued').exists(), result.stdout
    assert (tmp_path / 'run/iter_3.pth').is_file()
    result = slurm(*job)  # the hook does nothing after its step
    assert result.returncode == 0, result.stdout
    assert_same_state(tmp_path / 'whole/iter_6.pth', tmp_path / 'run/iter_6.pth')
