"""Training and testing by the commands that users type, in processes of their own."""

import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import HEADER, write_clip

REPO = Path(__file__).parents[2]
TOOLS = REPO / 'tools'


def find_free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


def run(*command, check=True, cwd=REPO, **env):
    """Run a command with this interpreter first on the PATH; names alone are found in tools/."""
    command = [str(part) for part in command]
    if command[0].endswith('.sh'):
        command[:1] = ['bash', str(TOOLS / command[0])]
    elif command[0].endswith('.py'):
        command[:1] = ['python', str(TOOLS / command[0])]
    environment = {
        **os.environ,
        'PORT': str(find_free_port()),
        'OMP_NUM_THREADS': '1',
        'PATH': f'{Path(sys.executable).parent}{os.pathsep}{os.environ["PATH"]}',
        **{key: str(value) for key, value in env.items()},
    }
    result = subprocess.run(
        command,
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
    """Folder, config and log of a training by dist_train.sh on two CPU processes."""
    folder = tmp_path_factory.mktemp('tools')
    root = folder / 'affwild2'
    rng = np.random.default_rng(0)
    for split, clips in (('Train_Set', 3), ('Validation_Set', 2)):
        for i in range(clips):
            labels = rng.integers(-1, 8, 15).tolist()
            write_clip(root, split, f'{split} {i}_left', labels, missing=(5,), size=32)
    rows = [f'Validation_Set 0_left/{i:05d}.jpg,' for i in range(1, 16)]
    (root / 'list.txt').write_text('\n'.join([f'image_location,{HEADER}', *rows]))
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
    result = run('dist_train.sh', config, 2, '--work-dir', folder / 'run', '--tensorboard')
    return folder, config, result.stdout


@pytest.fixture(scope='module')
def score(trained):
    """Run tools/test.py on the trained checkpoint."""
    folder, config, _ = trained

    def score(*flags, config=config):
        checkpoint = folder / 'run/iter_4.pth'
        return run('test.py', config, checkpoint, '--work-dir', folder / 'test', *flags).stdout

    return score


def test_dist_train_on_two_cpu_processes(trained):
    folder, _, log = trained
    assert 'batch: 2 x 2 x 2 accumulated steps = 8 frames per update' in log
    assert 'SyncBN' in log  # a line says that it is replaced by BN
    assert log.count('started from random weights') == 2
    assert (folder / 'run/iter_4.pth').is_file()
    assert list((folder / 'run').glob('best_affwild2_macro_f1_iter_*.pth'))
    assert list((folder / 'run').rglob('events.out.tfevents.*'))
    assert 'macro-F1' in log


def test_curves_have_the_right_steps_and_values(trained):
    event_accumulator = pytest.importorskip(
        'tensorboard.backend.event_processing.event_accumulator'
    )
    folder, _, log = trained
    path = next((folder / 'run').glob('*/vis_data/scalars.json'))
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    events = event_accumulator.EventAccumulator(str(path.parent)).Reload()
    curve = [(event.step, event.value) for event in events.Scalars('affwild2/macro_f1')]
    scores = [float(score) for score in re.findall(r'^macro-F1 +([\d.]+)$', log, re.M)]
    assert [step for step, _ in curve] == [2, 4]  # val_interval=2
    assert [value for _, value in curve] == pytest.approx(scores, abs=0.0051)
    assert [
        (row['step'], row['affwild2/macro_f1']) for row in rows if 'affwild2/macro_f1' in row
    ] == [(step, pytest.approx(value, abs=1e-4)) for step, value in curve]
    losses = [(row['step'], row['loss']) for row in rows if 'loss' in row]
    assert [step for step, _ in losses] == [1, 2, 3, 4]
    assert [(e.step, e.value) for e in events.Scalars('loss')] == [
        (step, pytest.approx(loss)) for step, loss in losses
    ]
    names = {*events.Tags()['scalars'], *(name for row in rows for name in row)}
    assert not [name for name in names if 'support' in name]


@pytest.mark.slow
def test_score_does_not_depend_on_the_number_of_processes(trained):
    folder, config, _ = trained
    metrics = {}
    for processes in (1, 2):
        out = folder / f'metrics{processes}.json'
        flags = ('--work-dir', folder / 'test', '--out', out, '--out-item', 'metrics')
        run('dist_test.sh', config, folder / 'run/iter_4.pth', processes, *flags)
        metrics[processes] = json.loads(out.read_text())
    assert metrics[1] == metrics[2]
    # Two processes scored the same weights during training.
    lines = next((folder / 'run').glob('*/vis_data/scalars.json')).read_text().splitlines()
    during_training = [json.loads(line) for line in lines if 'affwild2/macro_f1' in line][-1]
    support = sum(metrics[1].pop('affwild2/support').values())
    assert support % 2 == 1 or support > 20
    assert {key: during_training[key] for key in metrics[1]} == pytest.approx(metrics[1])


def test_out_has_the_scores_of_every_frame(trained, score):
    folder, _, _ = trained
    out = folder / 'pred.npz'
    log = score('--out', out)
    data = np.load(out)
    assert f'Wrote the scores of {len(data["frame_no"])} frames' in log
    assert data['pred_score'].shape == (len(data['clip']), 8)
    assert set(data['clip']) == {'Validation_Set 0_left', 'Validation_Set 1_left'}
    checkpoint = (folder / 'run/iter_4.pth').read_bytes()
    assert (data['sha256'], data['config']) == (hashlib.sha256(checkpoint).hexdigest(), 'mine')
    assert 5 not in data['frame_no']  # without a crop
    np.testing.assert_allclose(data['pred_score'].sum(1), 1, atol=1e-5)
    assert (data['pred_score'].argmax(1) == data['pred_label']).all()


@pytest.mark.slow
def test_plain_config_gives_the_same_scores(trained, score):
    """Compare one object per frame, as the config or pictures need it, with batches of arrays."""
    folder, config, _ = trained
    plain = folder / 'mine_plain.py'
    plain.write_text(config.read_text().replace('res18_srp_affwild2', 'res18_srp_affwild2_plain'))
    float32 = ('--cfg-options', 'model.mixed_precision=False')
    pictures = ('--show-dir', folder / 'pictures', '--interval', 4)
    scores = []
    for path, flags in ((plain, ()), (config, (*float32, *pictures)), (config, float32)):
        out = folder / 'scores.npz'
        assert 'macro-F1' in score('--out', out, *flags, config=path)
        scores.append(dict(np.load(out)))
    assert len(list(folder.glob('pictures/*/*.png'))) == -(-len(scores[0]['clip']) // 4)
    for other in scores[1:]:
        for column in ('clip', 'frame_no', 'gt_label', 'pred_label'):
            np.testing.assert_array_equal(scores[0][column], other[column])
        np.testing.assert_allclose(scores[0]['pred_score'], other['pred_score'], atol=1e-5)
    result = run('dist_train.sh', plain, 2, '--work-dir', folder / 'plain')
    assert re.search(r'^macro-F1 +[\d.]+$', result.stdout, re.M)


@pytest.mark.slow
@pytest.mark.parametrize(
    ('flags', 'line', 'rows'),
    [
        (
            ('test_dataloader.dataset.ann_file=list.txt',),
            'gt_label of all 14 frames are hidden',
            14,
        ),
        (('test_evaluator.absent=skip',), '\nmacro-F1 ', None),
    ],
)
def test_augmented_score_in_mixed_precision(trained, score, flags, line, rows):
    folder, _, _ = trained
    out = folder / 'augmented.csv'
    assert line in score('--out', out, '--amp', '--tta', '--cfg-options', *flags)
    assert rows is None or len(out.read_text().splitlines()) == rows + 1


@pytest.mark.slow
def test_commands_of_submission_md(trained, monkeypatch, run_tool):
    """The commands of the docs, word for word, in a folder laid out as the docs say."""
    folder, config, _ = trained
    root = folder / 'submission'
    (root / 'data').mkdir(parents=True)
    (root / 'data/affwild2').symlink_to(folder / 'affwild2')
    (root / 'tools').symlink_to(TOOLS)
    shutil.copy(folder / 'affwild2/list.txt', folder / 'affwild2/test_set_format.txt')
    # tests/tools/test_submission_of_tracks.py runs those of the other tracks.
    text = (REPO / 'docs/submission.md').read_text()
    text = re.sub(r'\n## The other tracks\n.*?(?=\n## )', '', text, flags=re.S)
    text = '\n'.join(re.findall(r'```bash\n(.*?)```', text, re.S)).replace('\\\n', ' ')
    text = re.sub(r'\bCONFIG\b', str(config), text)
    text = re.sub(r'\bCHECKPOINT\b', str(folder / 'run/iter_4.pth'), text)
    text = re.sub(r'(search_postprocessing.*)', r'\1 --folds 2', text)  # there are two clips
    commands = [shlex.split(line, comments=True) for line in text.splitlines()]
    commands = [command for command in commands if command]
    assert len(commands) == 8
    monkeypatch.chdir(root)
    monkeypatch.setenv('PYTHONPATH', str(REPO))
    out = ''
    for command in commands:
        if command[1].startswith(('tools/test.py', 'tools/dist_test.sh')):
            run(*command, cwd=root)
        else:
            status, printed, error = run_tool(command[1].removeprefix('tools/'), *command[2:])
            assert status == 0, error
            out += printed
    assert 'all labelled' in out and 'predictions.txt: in order' in out
    assert 'held-out gain: ' in out and 'smooth.npz: 14 frames' in out
    rows = (root / 'predictions.txt').read_text().splitlines()
    lines = (root / 'predictions/Validation_Set 0_left.txt').read_text().splitlines()
    assert len(rows) == len(lines) == 16 and rows[5].startswith('Validation_Set 0_left/00005.jpg,')
    test = np.load(root / 'test.npz')
    classes = dict(zip(test['frame_no'].tolist(), test['pred_label'].tolist(), strict=True))
    assert all(classes.get(n, int(row[-1])) == int(row[-1]) for n, row in enumerate(rows[1:], 1))
    # The frames of this clip have the same scores in the validation set.
    validation = np.load(root / 'validation.npz')
    scores = dict(zip(test['frame_no'], test['pred_score'], strict=True))
    columns = (validation[name] for name in ('clip', 'frame_no', 'pred_score'))
    for clip, n, pred_score in zip(*columns, strict=True):
        if clip == 'Validation_Set 0_left':
            np.testing.assert_allclose(pred_score, scores[n], atol=1e-5)


@pytest.mark.slow
def test_resume_with_flags(trained):
    folder, config, _ = trained
    flags = ('--resume', '--amp', '--auto-scale-lr', '--no-validate')
    options = ('--cfg-options', 'train_cfg.max_iters=5')
    log = run('dist_train.sh', config, 2, '--work-dir', folder / 'run', *flags, *options).stdout
    assert 'resumed epoch: 0, iter: 4' in log
    assert (folder / 'run/iter_5.pth').is_file()
    assert 'macro-F1' not in log


def test_single_process_training(trained):
    folder, config, _ = trained
    flags = ('--no-validate', '--no-pin-memory', '--no-persistent-workers')
    options = ('--cfg-options', 'train_cfg.max_iters=1')
    run('train.py', config, '--work-dir', folder / 'single', *flags, *options)
    assert (folder / 'single/iter_1.pth').is_file()


@pytest.mark.parametrize(
    ('command', 'message', 'status'),
    [
        ('train.py gone.py', "config='gone.py': no such file", 1),
        ('train.py CONFIG --resume gone.pth', "load_from='gone.pth': no such file", 1),
        ('train.py CONFIG --cfg-options checkpoint=gone.pth', "checkpoint='gone.pth': no such", 1),
        ('train.py CONFIG --cfg-options model.bakcbone.depth=5', "unknown argument 'bakcb", 1),
        ('test.py CONFIG gone.pth', "CHECKPOINT='gone.pth': no such file", 1),
        ('test.py CONFIG CHECKPOINT --out-item metrics --out x.npz', 'that ends in one of', 1),
        ('test.py CONFIG CHECKPOINT --out x.json', 'that ends in one of', 1),
        ('test.py CONFIG CONFIG', 'mine.py', 1),
        ('test.py PRETRAINING CHECKPOINT', 'got a config without test_dataloader', 1),
        ('train.py CONFIG --cfg-options amp', "got 'amp', expected KEY=VALUE", 2),
        ('train.py CONFIG --cfg-options x=[1,(2]', 'brackets', 2),
    ],
)
def test_mistake_is_one_line(trained, run_tool, monkeypatch, command, message, status):
    folder, config, _ = trained
    paths = dict(
        CONFIG=config,
        CHECKPOINT=folder / 'run/iter_4.pth',
        PRETRAINING=REPO / 'configs/res18_byol_faces.py',
    )
    tool, *args = [str(paths.get(part, part)) for part in command.split()]
    monkeypatch.setattr(sys, 'argv', [f'tools/{tool}'])
    got_status, _, error = run_tool(tool, *args, '--work-dir', folder / 'bad')
    assert got_status == status
    lines = [line for line in error.splitlines() if line.startswith(f'{tool}: ')]
    assert len(lines) == 1 and re.search(message, lines[0])


@pytest.mark.slow
def test_two_processes_report_a_mistake_once(trained):
    folder, config, _ = trained
    command = ('dist_train.sh', config, 2, '--work-dir', folder / 'bad', '--cfg-options')
    option = f'train_dataloader.dataset.data_root={folder / "gone"}'
    result = run(*command, option, check=False)
    assert result.returncode == 1
    assert result.stdout.count('no folder of crops') == 1
    for noise in ('Traceback', 'ChildFailedError', 'closing signal', 'exitcode'):
        assert noise not in result.stdout

    result = run(*command, option, check=False, ABAW_MM_TRACEBACK=1)
    assert result.returncode == 1
    assert result.stdout.count('Traceback') >= 2 and 'ChildFailedError' in result.stdout
    assert ', in full_init' in result.stdout

    result = run(*command, 'foo', check=False)  # wrong arguments
    assert result.returncode == 2 and result.stdout.count("got 'foo', expected KEY=VALUE") == 1
    assert 'ChildFailedError' not in result.stdout

    torchrun = (sys.executable, '-m', 'torch.distributed.run', '--nproc_per_node=2', '--standalone')
    result = run(*torchrun, TOOLS / 'train.py', 'gone.py', '--launcher', 'pytorch', check=False)
    assert re.search(r"\[rank \d\] train.py: config='gone.py': no such file", result.stdout)


@pytest.mark.parametrize(
    ('script', 'status', 'report'),
    [
        ('import os; os.kill(os.getpid(), 9)', 1, 'SIGKILL'),
        ('raise SystemExit(3)', 3, '^$'),
        ('raise OSError("a bug")', 1, 'OSError: a bug'),
    ],
)
def test_launcher_reports_what_the_process_could_not(tmp_path, script, status, report):
    path = tmp_path / 'script.py'
    path.write_text(script)
    result = run('launch.py', '--nproc_per_node=1', path, check=False)
    assert result.returncode == status and re.search(report, result.stdout)


@pytest.mark.parametrize('script', ['dist_train', 'dist_test', 'slurm_train', 'slurm_test'])
def test_scripts_without_arguments_print_their_usage(script):
    result = run(f'{script}.sh', check=False)
    assert result.returncode == 2 and result.stdout.startswith(f'usage: bash tools/{script}.sh ')


@pytest.fixture
def fake_srun(tmp_path):
    """A replacement for srun that records its arguments and runs two tasks on this machine."""
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
def test_slurm_scripts_train_and_score_in_two_tasks(trained, fake_srun):
    folder, config, _ = trained
    path = [str(fake_srun / 'bin'), str(Path(sys.executable).parent), os.environ['PATH']]
    env = dict(
        PATH=os.pathsep.join(path),
        GPUS=2,
        MASTER_PORT=find_free_port(),
        SRUN_ARGS='--quotatype=auto --mem=4G',
    )
    flags = ('--no-validate', '--cfg-options', 'train_cfg.max_iters=1')
    result = run('slurm_train.sh', 'part', 'job', config, fake_srun / 'run', *flags, **env)
    assert (
        (fake_srun / 'arguments')
        .read_text()
        .startswith(
            '-p part --job-name=job --gres=gpu:2 --ntasks-per-node=2 --ntasks=2 --cpus-per-task=5 '
            '--signal=TERM@60 --kill-on-bad-exit=1 --quotatype=auto --mem=4G python -u'
        )
    )
    assert 'batch: 2 x 2 x 2 accumulated steps = 8 frames per update' in result.stdout
    assert (fake_srun / 'run/iter_1.pth').is_file()
    checkpoint, work_dir = folder / 'run/iter_4.pth', fake_srun / 'test'
    command = ('slurm_test.sh', 'part', 'job', config, checkpoint, '--work-dir', work_dir)
    assert 'macro-F1' in run(*command, **env).stdout


@pytest.mark.slow
def test_browse_dataset_of_mmpretrain(trained):
    import mmpretrain

    folder, config, _ = trained
    plain = folder / 'browse.py'
    plain.write_text(config.read_text().replace('res18_srp_affwild2', 'res18_srp_affwild2_plain'))
    tool = Path(mmpretrain.__file__).parent / '.mim/tools/visualization/browse_dataset.py'
    if not tool.is_file():
        pytest.skip('mmpretrain was installed without its tools')
    script = (
        'import runpy, sys, abaw_mm; sys.argv = sys.argv[1:]; '
        'runpy.run_path(sys.argv[0], run_name="__main__")'
    )
    flags = ('-o', folder / 'browse', '-n', 4, '-m', 'pipeline')
    run(sys.executable, '-c', script, tool, plain, *flags)
    assert len(list((folder / 'browse').rglob('*.jpg'))) == 4


@pytest.mark.parametrize('number', ['--work-dir', '0', 'two'])
def test_missing_number_of_processes_is_one_line(number):
    result = run('dist_train.sh', 'configs/res18_srp_demo.py', number, check=False)
    assert result.returncode == 2
    assert result.stdout.strip() == (
        f"NUM_PROCESSES: got '{number}', expected a number of processes, such as 2"
    )
