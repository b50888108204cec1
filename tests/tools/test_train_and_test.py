"""The commands that users type, as they type them."""

import hashlib
import json
import os
import re
import runpy
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPO = Path(__file__).parents[2]
TOOLS = REPO / 'tools'


def run(*command, check=True, cwd=REPO, **env):
    """Run a command from the repository with this interpreter first on the PATH."""
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        'PORT': str(port),
        'OMP_NUM_THREADS': '1',
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        **{key: str(value) for key, value in env.items()},
    }
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
    )
    if check:
        assert result.returncode == 0, result.stdout[-4000:]
    return result


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A five-line config of one's own, trained by dist_train.sh on two CPU processes."""
    from conftest import write_clip

    folder = tmp_path_factory.mktemp('tools')
    root = folder / 'affwild2'
    rng = np.random.default_rng(0)
    for split, clips in (('Train_Set', 3), ('Validation_Set', 2)):
        for i in range(clips):
            labels = rng.integers(-1, 8, 15).tolist()
            write_clip(root, split, f'{split} {i}_left', labels, missing=(5,), size=32)
    rows = [f'Validation_Set 0_left/{i:05d}.jpg,' for i in range(1, 16)]
    header = 'image_location,Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other'
    (root / 'list.txt').write_text('\n'.join([header, *rows]))
    config = folder / 'mine.py'
    dataset = f'dict(data_root={str(root)!r})'
    config.write_text(
        f"_base_ = ['{os.path.relpath(REPO / 'configs/res18_srp_affwild2.py', folder)}']\n"
        f'train_dataloader = dict(num_workers=1, batch_size=2, dataset={dataset})\n'
        f'val_dataloader = test_dataloader = dict(num_workers=1, batch_size=4, dataset={dataset})\n'
        "model = dict(neck=dict(norm_cfg=dict(type='SyncBN')))\n"
        'optim_wrapper = dict(accumulative_counts=2)\n'
        'train_cfg = dict(max_iters=4, val_interval=2)\n'
        'default_hooks = dict(checkpoint=dict(interval=2), logger=dict(interval=1))\n'
    )
    result = run(
        'bash', TOOLS / 'dist_train.sh', config, 2, '--work-dir', folder / 'run', '--tensorboard'
    )
    return folder, config, result.stdout


def test_dist_train_on_two_cpu_processes(trained):
    folder, _, log = trained
    assert 'batch: 2 x 2 = 4 frames per step' in log
    assert log.count('SyncBN') >= 1  # one line says that BN takes its place
    assert log.count('started from random weights') == 2
    assert (folder / 'run/iter_4.pth').is_file()
    assert list((folder / 'run').glob('best_affwild2_macro_f1_iter_*.pth'))
    assert list((folder / 'run').rglob('events.out.tfevents.*'))
    assert 'macro-F1' in log


def test_score_is_the_same_on_one_process_and_two(trained):
    folder, config, _ = trained
    frames = {}
    for processes in (1, 2):
        out = folder / f'metrics{processes}.json'
        run(
            'bash',
            TOOLS / 'dist_test.sh',
            config,
            folder / 'run/iter_4.pth',
            processes,
            '--work-dir',
            folder / 'test',
            '--out',
            out,
            '--out-item',
            'metrics',
        )
        frames[processes] = json.loads(out.read_text())
    assert frames[1] == frames[2]
    # and what two processes scored while they trained is the score of the checkpoint
    lines = next((folder / 'run').glob('*/vis_data/scalars.json')).read_text().splitlines()
    while_training = [json.loads(line) for line in lines if 'affwild2/macro_f1' in line][-1]
    assert {key: while_training[key] for key in frames[1]} == pytest.approx(frames[1])
    support = sum(v for k, v in frames[1].items() if k.startswith('affwild2/support'))
    assert support % 2 == 1 or support > 20


def test_out_keeps_every_frames_scores(trained):
    folder, config, _ = trained
    out = folder / 'pred.npz'
    result = run(
        sys.executable,
        TOOLS / 'test.py',
        config,
        folder / 'run/iter_4.pth',
        '--out',
        out,
        '--work-dir',
        folder / 'test',
    )
    data = np.load(out)
    assert f'Scores of {len(data["frame_no"])} frames' in result.stdout
    assert data['pred_score'].shape == (len(data['clip']), 8)
    assert set(data['clip']) == {'Validation_Set 0_left', 'Validation_Set 1_left'}
    checkpoint = (folder / 'run/iter_4.pth').read_bytes()
    assert (data['sha256'], data['config']) == (hashlib.sha256(checkpoint).hexdigest(), 'mine')
    assert 5 not in data['frame_no']
    np.testing.assert_allclose(data['pred_score'].sum(1), 1, atol=1e-5)
    assert (data['pred_score'].argmax(1) == data['pred_label']).all()


@pytest.mark.slow
def test_plain_config_trains_and_has_the_scores_of_the_fast_one(trained):
    """The fast run's checkpoint in plain mmpretrain, with an object a frame."""
    folder, config, _ = trained
    plain = folder / 'mine_plain.py'
    plain.write_text(config.read_text().replace('res18_srp_affwild2', 'res18_srp_affwild2_plain'))
    scores = {}
    for name, *flags in (
        (plain,),
        (
            config,
            '--cfg-options',
            'model.mixed_precision=False',
            '--show-dir',
            folder / 'pictures',
            '--interval',
            4,
        ),
        (config, '--cfg-options', 'model.mixed_precision=False'),
    ):
        out = folder / f'{name.stem}.npz'
        result = run(
            sys.executable,
            TOOLS / 'test.py',
            name,
            folder / 'run/iter_4.pth',
            '--work-dir',
            folder / 'test',
            '--out',
            out,
            *flags,
        )
        scores[len(scores)] = np.load(out)
        assert 'macro-F1' in result.stdout
    assert list((folder / 'pictures').rglob('*.*'))
    for other in (1, 2):
        for column in ('clip', 'frame_no', 'gt_label', 'pred_label'):
            np.testing.assert_array_equal(scores[0][column], scores[other][column])
        np.testing.assert_allclose(scores[0]['pred_score'], scores[other]['pred_score'], atol=1e-5)
    result = run('bash', TOOLS / 'dist_train.sh', plain, 2, '--work-dir', folder / 'plain')
    assert 'affwild2/macro_f1' in result.stdout


def test_list_of_frames_needs_no_labels(trained):
    folder, config, _ = trained
    out = folder / 'list.csv'
    result = run(
        sys.executable,
        TOOLS / 'test.py',
        config,
        folder / 'run/iter_4.pth',
        '--out',
        out,
        '--work-dir',
        folder / 'test',
        '--amp',
        '--tta',
        '--cfg-options',
        'test_dataloader.dataset.ann_file=list.txt',
    )
    assert 'labels of all 14 frames are hidden' in result.stdout
    assert len(out.read_text().splitlines()) == 15


def run_here(command):
    """A tool's main function in this process, which saves importing torch: its output."""
    tool = runpy.run_path(str(REPO / command[1]))
    assert tool['main'](command[2:]) == 0


@pytest.mark.slow
def test_the_commands_of_submission_md(trained, monkeypatch, capsys):
    """As they stand there, in a folder with the data where they expect it."""
    folder, config, _ = trained
    root = folder / 'submission'
    (root / 'data').mkdir(parents=True)
    (root / 'data/affwild2').symlink_to(folder / 'affwild2')
    (root / 'tools').symlink_to(TOOLS)
    shutil.copy(folder / 'affwild2/list.txt', folder / 'affwild2/test_set_format.txt')
    text = (REPO / 'docs/submission.md').read_text()
    text = '\n'.join(re.findall(r'```bash\n(.*?)```', text, re.S)).replace('\\\n', ' ')
    text = re.sub(r'\bCONFIG\b', str(config), text)
    text = re.sub(r'\bCHECKPOINT\b', str(folder / 'run/iter_4.pth'), text)
    text = re.sub(r'(search_smoothing.*)', r'\1 --folds 2', text)  # there are two clips
    commands = [shlex.split(line, comments=True) for line in text.splitlines()]
    commands = [command for command in commands if command]
    assert len(commands) == 8
    monkeypatch.chdir(root)
    monkeypatch.setenv('PYTHONPATH', str(REPO))
    for command in commands:
        if command[1].startswith(('tools/test.py', 'tools/dist_test.sh')):
            run(*command, cwd=root)
        else:
            run_here(command)
    out = capsys.readouterr().out
    assert 'all labelled' in out and 'predictions.txt: in order' in out
    assert 'gain on clips left out: ' in out and 'smooth.npz: 14 frames' in out
    rows = (root / 'predictions.txt').read_text().splitlines()
    lines = (root / 'predictions/Validation_Set 0_left.txt').read_text().splitlines()
    assert len(rows) == len(lines) == 16 and rows[5].startswith('Validation_Set 0_left/00005.jpg,')
    test = np.load(root / 'test.npz')
    asked = dict(zip(test['frame_no'].tolist(), test['pred_label'].tolist(), strict=True))
    assert all(asked.get(n, int(row[-1])) == int(row[-1]) for n, row in enumerate(rows[1:], 1))
    # the frames of that clip in the validation set have the same scores
    validation = np.load(root / 'validation.npz')
    both = dict(zip(test['frame_no'], test['pred_score'], strict=True))
    for clip, n, score in zip(
        *(validation[x] for x in ('clip', 'frame_no', 'pred_score')), strict=True
    ):
        if clip == 'Validation_Set 0_left':
            np.testing.assert_allclose(score, both[n], atol=1e-5)


def test_tta_averages_a_frame_and_its_mirror_image(trained):
    folder, config, _ = trained
    result = run(
        sys.executable,
        TOOLS / 'test.py',
        config,
        folder / 'run/iter_4.pth',
        '--tta',
        '--work-dir',
        folder / 'test',
    )
    assert 'affwild2/macro_f1' in result.stdout


def test_resume_amp_and_scaled_rate(trained):
    folder, config, _ = trained
    result = run(
        'bash',
        TOOLS / 'dist_train.sh',
        config,
        2,
        '--work-dir',
        folder / 'run',
        '--resume',
        '--amp',
        '--auto-scale-lr',
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_iters=5',
    )
    assert 'resumed epoch: 0, iter: 4' in result.stdout
    assert (folder / 'run/iter_5.pth').is_file()
    assert 'macro-F1' not in result.stdout


def test_single_process_training(trained):
    folder, config, _ = trained
    run(
        sys.executable,
        TOOLS / 'train.py',
        config,
        '--work-dir',
        folder / 'single',
        '--no-validate',
        '--no-pin-memory',
        '--no-persistent-workers',
        '--cfg-options',
        'train_cfg.max_iters=1',
    )
    assert (folder / 'single/iter_1.pth').is_file()


@pytest.mark.parametrize(
    ('arguments', 'message', 'status'),
    [
        (('train.py', 'gone.py'), "config='gone.py': no such file", 1),
        (
            ('train.py', 'CONFIG', '--cfg-options', 'checkpoint=gone.pth'),
            "checkpoint='gone.pth': no such file",
            1,
        ),
        (('train.py', 'CONFIG', '--resume', 'gone.pth'), "load_from='gone.pth': no such file", 1),
        (
            ('train.py', 'CONFIG', '--cfg-options', 'model.bakcbone.depth=50'),
            "unexpected keyword argument 'bakcbone'",
            1,
        ),
        (('test.py', 'CONFIG', 'gone.pth'), "CHECKPOINT='gone.pth': no such file", 1),
        (('test.py', 'CONFIG', 'CHECKPOINT', '--out', 'x.json'), 'that ends in one of', 1),
        (('test.py', 'CONFIG', 'CONFIG'), 'mine.py', 1),
        (('train.py', 'CONFIG', '--cfg-options', 'amp'), "got 'amp', expected KEY=VALUE", 2),
        (('train.py', 'CONFIG', '--cfg-options', 'x=[1,(2]'), 'brackets', 2),
    ],
)
def test_mistakes_are_told_in_one_message_before_anything_starts(
    trained, arguments, message, status
):
    folder, config, _ = trained
    names = {'CONFIG': config, 'CHECKPOINT': folder / 'run/iter_4.pth'}
    arguments = [names.get(argument, argument) for argument in arguments]
    result = run(
        sys.executable,
        TOOLS / arguments[0],
        *arguments[1:],
        '--work-dir',
        folder / 'bad',
        check=False,
    )
    assert result.returncode == status
    assert 'Traceback' not in result.stdout
    lines = result.stdout.strip().splitlines()
    line = lines[-2 if status == 1 else -1]  # argparse's is the last
    assert line.startswith(f'{arguments[0]}: ') and message in line


@pytest.mark.slow
def test_two_processes_tell_a_mistake_once_and_torchrun_nothing(trained):
    folder, config, _ = trained
    dataset = 'train_dataloader.dataset.data_root'
    arguments = [
        'bash',
        TOOLS / 'dist_train.sh',
        config,
        2,
        '--work-dir',
        folder / 'bad',
        '--cfg-options',
        f'{dataset}={folder / "gone"}',
    ]
    result = run(*arguments, check=False)
    assert result.returncode == 1
    assert result.stdout.count('no folder of crops') == 1
    for noise in ('Traceback', 'ChildFailedError', 'closing signal', 'exitcode'):
        assert noise not in result.stdout
    result = run(*arguments, check=False, ABAW_MM_TRACEBACK=1)
    assert result.returncode == 1
    assert result.stdout.count('Traceback') >= 2 and 'ChildFailedError' in result.stdout
    assert ', in full_init' in result.stdout
    result = run(*arguments[:-1], 'foo', check=False)  # wrong flags
    assert result.returncode == 2 and result.stdout.count("got 'foo', expected KEY=VALUE") == 1
    assert 'ChildFailedError' not in result.stdout


def test_a_process_that_was_killed_has_torchruns_report(tmp_path):
    script = tmp_path / 'killed.py'
    script.write_text('import os; os.kill(os.getpid(), 9)\n')
    result = run(sys.executable, TOOLS / 'launch.py', '--nproc_per_node=1', script, check=False)
    assert result.returncode == 1 and 'SIGKILL' in result.stdout
    script.write_text('raise SystemExit(3)\n')
    result = run(sys.executable, TOOLS / 'launch.py', '--nproc_per_node=1', script, check=False)
    assert result.returncode == 3 and not result.stdout


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_scripts_without_arguments_tell_their_use(script):
    result = run('bash', TOOLS / f'{script}.sh', check=False)
    assert result.returncode == 2 and result.stdout.startswith('usage: bash tools/')


@pytest.fixture
def fake_srun(tmp_path):
    """A Slurm without a cluster: notes its arguments and runs the tasks as Slurm would."""
    srun = tmp_path / 'bin/srun'
    srun.parent.mkdir()
    srun.write_text(
        '#!/usr/bin/env bash\n'
        f'echo "$@" > {tmp_path}/arguments\n'
        'while [ "$1" != python ]; do shift; done\n'
        'export SLURM_NTASKS=2 SLURM_NODELIST=localhost SLURM_JOB_NODELIST=localhost\n'
        'for task in 1 0; do\n'
        '  SLURM_PROCID=$task SLURM_LOCALID=$task "$@" & tasks="${tasks:-} $!"\n'
        'done\n'
        'for task in $tasks; do wait "$task" || exit 1; done\n'
    )
    scontrol = tmp_path / 'bin/scontrol'
    scontrol.write_text('#!/usr/bin/env bash\necho 127.0.0.1\n')
    for script in (srun, scontrol):
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return tmp_path


@pytest.mark.slow
def test_slurm(trained, fake_srun):
    folder, config, _ = trained
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    path = os.pathsep.join(
        [str(fake_srun / 'bin'), str(Path(sys.executable).parent), os.environ['PATH']]
    )
    env = dict(PATH=path, GPUS=2, MASTER_PORT=port, SRUN_ARGS='--quotatype=auto --mem=4G')
    result = run(
        'bash',
        TOOLS / 'slurm_train.sh',
        'part',
        'job',
        config,
        fake_srun / 'run',
        '--no-validate',
        '--cfg-options',
        'train_cfg.max_iters=1',
        **env,
    )
    arguments = (fake_srun / 'arguments').read_text()
    assert arguments.startswith(
        '-p part --job-name=job --gres=gpu:2 --ntasks-per-node=2 --ntasks=2 --cpus-per-task=5 '
        '--kill-on-bad-exit=1 --quotatype=auto --mem=4G python -u'
    )
    assert 'batch: 2 x 2 = 4 frames per step' in result.stdout
    assert (fake_srun / 'run/iter_1.pth').is_file()
    result = run(
        'bash',
        TOOLS / 'slurm_test.sh',
        'part',
        'job',
        config,
        folder / 'run/iter_4.pth',
        '--work-dir',
        fake_srun / 'test',
        **env,
    )
    assert 'macro-F1' in result.stdout


def test_browse_dataset_of_mmpretrain(trained):
    import mmpretrain

    folder, fast, _ = trained
    config = folder / 'browse.py'  # an object a frame
    config.write_text(fast.read_text().replace('res18_srp_affwild2', 'res18_srp_affwild2_plain'))
    tool = Path(mmpretrain.__file__).parent / '.mim/tools/visualization/browse_dataset.py'
    if not tool.is_file():
        pytest.skip('this mmpretrain was installed without its tools')
    run(
        sys.executable,
        '-c',
        (
            'import runpy, sys, abaw_mm; sys.argv = sys.argv[1:]; '
            'runpy.run_path(sys.argv[0], run_name="__main__")'
        ),
        tool,
        config,
        '-o',
        folder / 'browse',
        '-n',
        4,
        '-m',
        'pipeline',
    )
    assert len(list((folder / 'browse').rglob('*.jpg'))) == 4
