"""The command ``abaw-mm``: names, configs by name, several processes, an installed wheel."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sklearn.metrics import f1_score

from abaw_mm.cli import console
from abaw_mm.evaluation import Predictions

REPO = Path(__file__).parents[2]


def test_every_script_has_a_name():
    scripts = {path.relative_to(REPO).as_posix() for path in (REPO / 'tools').rglob('*.py')}
    named = {script for script in console.COMMANDS.values() if script.startswith('tools/')}
    assert named == scripts - {'tools/launch.py'}


@pytest.mark.parametrize('name', console.COMMANDS)
def test_help_has_an_example(name, capsys):
    with pytest.raises(SystemExit) as end:
        console.main([name, '--help'])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f'usage: abaw-mm {name} [-h]')
    assert f'\n    python {console.COMMANDS[name]} ' in text


def test_list_of_commands_fits_a_terminal(capsys):
    assert console.main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[: lines.index('examples:')])) <= 80
    assert '  train            Train a model from a config' in lines


def test_unknown_command_names_the_closest(capsys):
    assert console.main(['trian']) == 2
    assert capsys.readouterr().err == (
        "abaw-mm: got the command 'trian', which does not exist; did you mean train?\n"
    )


def test_error_names_the_command_and_the_closest_config(capsys):
    assert console.main(['stats', 'res18_srp_afwild2']) == 1
    error = capsys.readouterr().err
    assert error.startswith("abaw-mm stats: config='res18_srp_afwild2': no such file")
    assert 'such as res18_srp_affwild2;' in error


def test_config_by_name(capsys):
    assert console.main(['stats', 'res18_srp_demo']) == 0
    assert 'res18_srp_demo, an image of 112x112 pixels' in capsys.readouterr().out


def test_completion_completes_commands_and_configs():
    script = (
        console.format_completion() + 'COMP_WORDS=(abaw-mm "$1" "$2"); COMP_CWORD=$3; _abaw_mm\n'
    )
    script += 'echo "${COMPREPLY[@]}"'

    def complete(*words):
        done = subprocess.run(['bash', '-c', script, 'x', *words], capture_output=True, text=True)
        return done.stdout.split()

    assert complete('tr', '', '1') == ['train']
    assert complete('train', 'res50_srp_affwild2_p', '2') == ['res50_srp_affwild2_plain']


@pytest.mark.parametrize('value', [[], ['two'], ['-1']])
def test_number_of_processes_is_checked(value, capsys):
    assert console.main(['train', 'x', '--nproc', *value]) == 2
    assert '--nproc: expected a number of processes' in capsys.readouterr().err


@pytest.mark.slow
def test_wheel_trains_and_tests_without_the_repository(tmp_path):
    build = f'from setuptools.build_meta import build_wheel; build_wheel({str(tmp_path)!r})'
    subprocess.run([sys.executable, '-c', build], cwd=REPO, check=True, capture_output=True)
    (wheel,) = tmp_path.glob('*.whl')
    subprocess.run(
        [sys.executable, '-m', 'zipfile', '-e', str(wheel), str(tmp_path / 'site')], check=True
    )
    names = {path.stem for path in (REPO / 'configs').glob('*.py')}

    def run(*arguments):
        command = [sys.executable, '-m', 'abaw_mm.cli.console', *map(str, arguments)]
        env = dict(os.environ, PYTHONPATH=str(tmp_path / 'site'))
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert names <= set(run('completion').replace('"', ' ').split())
    run('demo', 'data/demo', '--train-clips', 6, '--val-clips', 2, '--frames', 40)
    small = ['--cfg-options', 'train_cfg.max_iters=2', 'train_cfg.val_interval=2']
    small += ['default_hooks.checkpoint.interval=2', 'train_dataloader.batch_size=4']
    run('train', 'res18_srp_demo', '--nproc', 2, '--work-dir', 'run', *small)
    (best,) = (tmp_path / 'run').glob('best_*.pth')
    run('test', 'res18_srp_demo', best, '--out', 'scores.npz')
    run('report', 'scores.npz', '--out', 'report.html')
    scored = Predictions.read(tmp_path / 'scores.npz')
    f1 = f1_score(scored['gt_label'], scored['pred_label'], labels=range(8), average='macro')
    (title,) = re.findall(r'macro-F1 ([\d.]+)</title>', (tmp_path / 'report.html').read_text())
    assert float(title) == pytest.approx(100 * f1, abs=0.06)
