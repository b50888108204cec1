"""tools/reproduce_tables.py."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from mmengine.config import DictAction

from abaw_mm.paper.rows import ROWS, TRAININGS

REPO = Path(__file__).parents[2]
TOOL = REPO / 'tools/reproduce_tables.py'


@pytest.fixture
def tool(load_tool):
    before = signal.getsignal(signal.SIGTERM)
    yield load_tool('reproduce_tables.py')
    signal.signal(signal.SIGTERM, before)


def test_list_has_a_command_for_each_row(tool, capsys):
    assert tool.main(['--list', '--nproc', '2']) == 0
    lines = capsys.readouterr().out.splitlines()
    commands = [line.strip() for line in lines if line.startswith('    bash')]
    assert len(commands) == len(ROWS)
    for row, command in zip(ROWS, commands, strict=True):
        training = TRAININGS[row.training]
        words = shlex.split(command)
        assert words[:4] == ['bash', 'tools/dist_train.sh', f'configs/{training.config}', '2']
        options = {  # parsed as tools/train.py does
            key: DictAction._parse_iterable(value)
            for key, _, value in (word.partition('=') for word in words[5:])
        }
        assert options.pop('checkpoint') == f'{training.init.upper()}.pth'
        assert options == training.options
    assert sum('(34.85)' in line for line in lines) == 5


def test_list_of_some_rows(tool, capsys):
    init = ['--init', 'res18_contrawarping=random']
    assert tool.main(['--list', '--tables', '2', '--rows', 'res18_gap', *init]) == 0
    out = capsys.readouterr().out
    assert out.count('bash') == 1 and 'checkpoint' not in out


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--tables', '6'], 'invalid choice: 6'),
        (['--rows', 'res19'], "invalid choice: 'res19'"),
        (['--init', 'res18_byol'], 'expected NAME=PATH'),
    ],
)
def test_wrong_arguments(tool, capsys, flags, message):
    with pytest.raises(SystemExit) as status:
        tool.main(flags)
    assert status.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize(
    'flags, message',
    [
        (['--init', 'res19=random'], "got the name 'res19'"),
        (['--init', 'res18_byol=gone.pth'], 'res18_byol=gone.pth: no such file'),
        (['--init', 'res18_byol=random', '--data-root', 'gone'], 'gone'),
    ],
)
def test_user_errors_are_reported(tool, capsys, tmp_path, flags, message):
    assert tool.main(['--work-dir', str(tmp_path), *flags]) == 1
    err = capsys.readouterr().err
    assert message in err and 'Traceback' not in err


def test_report_without_runs_gives_reasons(tool, capsys, tmp_path):
    assert tool.main(['--work-dir', str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == '18 rows not run'
    report = json.loads((tmp_path / 'report.json').read_text())
    assert all(
        row['state'] == 'not run' and 'no ' in row['reason']
        for table in report['tables']
        for row in table['rows']
    )
    assert (tmp_path / 'report.md').read_text().count('not run') >= 18


def small(tiny, work_dir, names, processes, *init):
    """Return the command of a small sweep."""
    options = {
        'train_cfg.max_iters': 8,
        'train_dataloader.batch_size': 4 // processes,
        'train_dataloader.num_workers': 0,
        'test_dataloader.num_workers': 0,
        'train_dataloader.persistent_workers': False,
        'test_dataloader.persistent_workers': False,
        'model.backbone.base_channels': 8,
        'model.backbone.stem_channels': 8,
        'model.neck.in_channels': 64,
    }
    command = [sys.executable, TOOL, '--tables', 1, 4, '--rows', *names, '--data-root', tiny]
    command += ['--work-dir', work_dir, '--budget', 'mini', '--nproc', processes, '--init', *init]
    command += ['--cfg-options', *(f'{key}={value}' for key, value in options.items())]
    return [str(part) for part in command]


def run(command):
    return subprocess.run(
        command,
        cwd=REPO,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        text=True,
        timeout=900,
        stdout=subprocess.PIPE,
    )


def rows_of(work_dir):
    """Return the report's rows by training."""
    report = json.loads((work_dir / 'report.json').read_text())
    return {row['training']: row for table in report['tables'] for row in table['rows']}


def read_report(work_dir):
    """Return the report without times, dates and command."""
    report = json.loads((work_dir / 'report.json').read_text())
    report.pop('date')
    report.pop('command')
    for table in report['tables']:
        for row in table['rows']:
            row.pop('time')
            for result in row['runs']:
                assert result.pop('time')['frames_per_s'] > 0
    return report


@pytest.mark.slow
def test_killed_sweep_of_two_processes_resumes_to_the_same_report(tiny, tmp_path):
    names = 'res18_simsiam', 'res18_byol'
    command = small(tiny, tmp_path / 'killed', names, 2, 'res18_simsiam=random')
    run_dir = tmp_path / 'killed/res18_simsiam/seed0'
    process = subprocess.Popen(
        command,
        cwd=REPO,
        start_new_session=True,
        env=dict(os.environ, OMP_NUM_THREADS='1'),
        stderr=subprocess.DEVNULL,
    )
    end = time.monotonic() + 600
    while not (run_dir / 'last_checkpoint').exists() and time.monotonic() < end:
        time.sleep(0.02)  # this file is written after the checkpoint is complete
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    # torchrun's processes have sessions of their own; they must end, too.
    time.sleep(1)
    steps = sorted(run_dir.glob('iter_*.pth'))
    assert steps and not (run_dir / 'iter_8.pth').exists()
    result = run(command)
    assert result.returncode == 0 and '1 rows done' in result.stdout
    assert 'resumed epoch: 0, iter: ' in (run_dir / 'train.log').read_text()
    uninterrupted = tmp_path / 'uninterrupted'
    assert run(small(tiny, uninterrupted, names, 2, 'res18_simsiam=random')).returncode == 0
    assert read_report(uninterrupted) == read_report(tmp_path / 'killed')
    rows = rows_of(uninterrupted)
    assert rows['res18_simsiam']['weights'] == 'random' and rows['res18_simsiam']['trainable'] > 0
    assert rows['res18_byol']['state'] == 'not run'
    assert 'no weights res18_byol' in rows['res18_byol']['reason']


@pytest.mark.slow
def test_weights_are_loaded_and_wrong_ones_fail_only_their_row(tiny, tmp_path):
    from mmpretrain.models import ResNet

    good, other = tmp_path / 'good.pth', tmp_path / 'other.pth'
    backbone = ResNet(18, base_channels=8, stem_channels=8).state_dict()
    torch.save(dict(state_dict=backbone), good)
    torch.save(dict(state_dict=dict(fc=torch.zeros(2, 2))), other)
    result = run(
        small(
            tiny,
            tmp_path / 'work',
            ('res18_simsiam', 'res18_frozen4'),
            1,
            f'res18_simsiam={other}',
            f'res18_contrawarping={good}',
        )
    )
    assert result.returncode == 1
    assert '1 rows failed' in result.stdout and '1 rows done' in result.stdout
    rows = rows_of(tmp_path / 'work')
    failed = rows['res18_simsiam']['failures'][0]
    assert failed['error'].startswith('InvalidValueError: SSLPretrained: ')
    assert str(other) in (tmp_path / 'work' / failed['log']).read_text()
    assert rows['res18_frozen4']['mean'] >= 0
    assert len(rows['res18_frozen4']['weights']['sha256']) == 64
    folder = tmp_path / 'work/res18_frozen4/seed0'
    assert 'random weights' not in (folder / 'train.log').read_text()
    trained = torch.load(folder / 'iter_8.pth', weights_only=False)['state_dict']
    for name, tensor in backbone.items():  # all stages are frozen
        assert torch.equal(trained[f'backbone.{name}'], tensor)
