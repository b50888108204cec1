"""Sweep: runs, records, interruptions and changed settings."""

import json
import os
import signal
import time
import zipfile
from pathlib import Path

import pytest
import torch

from abaw_mm.paper import sweep as module
from abaw_mm.paper.report import make_report, to_markdown
from abaw_mm.paper.rows import ROWS, Training
from abaw_mm.paper.sweep import RANDOM, Sweep
from abaw_mm.paper.work_dir import WorkDir, WorkDirInUseError

REPO = Path(__file__).parents[2]
ITERS = 20
# Replacements for tools/train.py and tools/test.py that take milliseconds. The "weights" are a
# number that depends on seed and step, and on the checkpoint that a resumed training starts from.
TRAIN = """
import argparse, json, os, sys, time, zipfile
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument('config')
for flag in ('--work-dir', '--resume', '--launcher'):
    parser.add_argument(flag)
parser.add_argument('--no-validate', action='store_true')
parser.add_argument('--cfg-options', nargs='+')
args = parser.parse_args()
cfg = {}
exec(Path(args.config).read_text(), cfg)
iters = cfg['train_cfg']['max_iters']
seed = int(args.cfg_options[0].split('=')[1])
if cfg['optim_wrapper']['optimizer']['momentum'] == 0.123:
    sys.exit('Traceback (most recent call last):\\n  ...\\nValueError: got 0.123, expected 0.9')
step, value = 0, 1000 + seed
if args.resume:
    with zipfile.ZipFile(args.resume) as file:
        step, value = json.loads(file.read('state'))
work_dir = Path(args.work_dir)
log = work_dir / f'{time.time():020.6f}/vis_data/scalars.json'
log.parent.mkdir(parents=True)
while step < iters:
    time.sleep(SLEEP)
    step += 1
    value = (value * 31 + step) % 10007
    with log.open('a') as file:
        print(json.dumps(dict(step=step, time=0.01, loss=1.0)), file=file)
    if step % 5 == 0:
        path = work_dir / f'iter_{step}.pth'
        path.write_bytes(b'half a checkpoint')
        time.sleep(SLEEP)
        with zipfile.ZipFile(path, 'w') as file:
            file.writestr('state', json.dumps([step, value]))
"""
TEST = """
import json, sys, zipfile
from pathlib import Path
checkpoint, out = sys.argv[2], sys.argv[sys.argv.index('--out') + 1]
with zipfile.ZipFile(checkpoint) as file:
    step, value = json.loads(file.read('state'))
Path(out).write_text(json.dumps({
    'affwild2/macro_f1': value / 107, 'affwild2/accuracy': 50.0, 'affwild2/f1_Fear': float(step)}))
"""
STATS = dict(trainable=9199624, total=11982408, flops=1839803904, shape=[224, 224], parts={})


@pytest.fixture
def root(tmp_path):
    """A repository with our configs and the replaced tools."""
    root = tmp_path / 'root'
    (root / 'tools').mkdir(parents=True)
    (root / 'configs').symlink_to(REPO / 'configs')
    (root / 'tools/analysis_tools').symlink_to(REPO / 'tools/analysis_tools')
    (root / 'tools/train.py').write_text(TRAIN.replace('SLEEP', '0.001'))
    (root / 'tools/test.py').write_text(TEST)
    return root


@pytest.fixture
def make(root, tiny, monkeypatch):
    """Make a sweep with the replaced tools; statistics of its models are given."""

    def make(name='work', names=('res18_gap', 'res18_frozen4'), **options):
        options = (
            dict(
                init={'res18_contrawarping': RANDOM},
                data_root=str(tiny),
                cfg_options={'train_cfg.max_iters': ITERS},
            )
            | options
        )
        made = Sweep(root, WorkDir(root.parent / name), list(names), **options)
        for training in made.runnable:
            folder = made.work_dir.folder(training)
            folder.mkdir(parents=True, exist_ok=True)
            (folder / 'stats.json').write_text(json.dumps(STATS))
        return made

    monkeypatch.setattr(module, 'POLL_S', 0.02)
    return make


def run(sweep):
    return [at.finished for at in sweep.run() if at.finished]


def report(sweep):
    """Return the JSON report without times and paths."""
    made = json.loads(json.dumps(make_report(sweep, ['x'], 'today'), default=str))
    for table in made['tables']:
        for row in table['rows']:
            row.pop('time')
            for result in row['runs']:
                result.pop('time')
    return json.loads(json.dumps(made).replace(str(sweep.work_dir.path), 'WORK_DIR'))


def row_of(made, training):
    return next(
        row for table in made['tables'] for row in table['rows'] if row['training'] == training
    )


def scored(seed, iters=ITERS):
    value = 1000 + seed
    for step in range(1, iters + 1):
        value = (value * 31 + step) % 10007
    return value / 107


def test_runs_each_training_once_and_reports_it_in_each_row(make):
    sweep = make(names=['res18', 'res18_gap'], seeds=3)
    finished = run(sweep)
    assert len(finished) == 6
    assert finished[0] == f'res18, seed 0: macro-F1 {scored(0):.2f}'
    made = make_report(sweep, ['python', 'x y'], 'today')
    scores = [scored(seed) for seed in range(3)]
    mean = sum(scores) / 3
    spread = (sum((score - mean) ** 2 for score in scores) / 2) ** 0.5
    done = [row for table in made['tables'] for row in table['rows'] if row['state'] == 'done']
    assert sorted(row['training'] for row in done) == ['res18'] * 5 + ['res18_gap']
    for row in done:
        assert row['mean'] == pytest.approx(mean) and row['spread'] == pytest.approx(spread)
        assert row['difference'] == pytest.approx(mean - row['paper'])
        assert row['trainable'] == 9199624 and row['flops'] == 1839803904
        assert row['time'] == pytest.approx(dict(train_s=0.2, frames_per_s=12800))
    assert made['command'] == "python 'x y'"
    assert made['data']['train']['frames'] == 36 and made['data']['val']['clips'] == 2
    text = to_markdown(made)
    assert (
        f'| GAP | 30.92 | {mean:.2f} ± {spread:.2f} | {mean - 30.92:+.2f} | random | 9.200 | '
        '11.982 | 1.840 | 0:00 | 12800.0 |'
    ) in text
    assert '| BYOL | 31.74 | not run | - | - | - | - | - | - | - |' in text
    assert '- Sup. MS1M; SimSiam; BYOL: not run: not asked for (--tables, --rows)' in text
    for row in ROWS:
        assert f'| {row.label} | {row.paper:.2f} | ' in text
    # Only the last checkpoint remains, and a second call has nothing to do.
    checkpoints = sweep.work_dir.folder('res18', 0).glob('*.pth')
    assert [path.name for path in checkpoints] == ['iter_20.pth']
    assert run(make(names=['res18', 'res18_gap'], seeds=3)) == []


def test_report_of_a_miniature_says_so(make):
    sweep = make(names=['res18_gap'], budget='mini')
    run(sweep)
    assert 'prove only that everything runs' in to_markdown(make_report(sweep, ['x'], 'today'))
    assert row_of(report(sweep), 'res18_gap')['options']['data_preprocessor.crop_size'] == 112


def test_skipped_trainings_have_a_reason(make):
    trainings = {
        'res18': Training('res18_srp_affwild2.py', 'res18_contrawarping'),
        'res18_byol': Training('res18_srp_affwild2.py', 'res18_byol'),
        'res50': Training('gone.py', 'res18_contrawarping'),
    }
    sweep = make(names=trainings, trainings=trainings)
    assert sweep.runnable == ['res18']
    assert 'no weights res18_byol: give --init res18_byol=PATH' in sweep.find_skip_reason(
        'res18_byol'
    )
    assert sweep.find_skip_reason('res50') == 'no config gone.py'
    assert len(run(sweep)) == 1


def test_failed_run_does_not_end_the_sweep(make):
    bad = Training(
        'res18_srp_affwild2.py', 'res18_contrawarping', {'optim_wrapper.optimizer.momentum': 0.123}
    )
    good = Training('res18_gap_affwild2.py', 'res18_contrawarping')
    trainings = {row.training: good for row in ROWS} | {'res18_frozen4': bad}
    names = ['res18_frozen4', 'res18_gap']
    sweep = make(names=names, trainings=trainings, seeds=2)
    assert sum('failed: ValueError: got 0.123' in line for line in run(sweep)) == 2
    row = row_of(report(sweep), 'res18_frozen4')
    assert row['state'] == 'failed' and row['mean'] is None
    assert row['failures'][0] == dict(
        seed=0, error='ValueError: got 0.123, expected 0.9', log='res18_frozen4/seed0/train.log'
    )
    assert (sweep.work_dir.path / row['failures'][0]['log']).is_file()
    assert row_of(report(sweep), 'res18_gap')['state'] == 'done'
    assert '| 4 | 32.65 | failed |' in to_markdown(make_report(sweep, ['x'], 'today'))
    # The next sweep tries it again.
    good_now = make(names=names, trainings=trainings, seeds=2)
    (good_now.root / 'tools/train.py').write_text(
        TRAIN.replace('SLEEP', '0').replace('0.123', '0.456')
    )
    assert len(run(good_now)) == 2
    assert row_of(report(good_now), 'res18_frozen4')['state'] == 'done'


@pytest.mark.slow
def test_model_that_cannot_be_built_is_a_failed_row(make):
    bad = Training(
        'res18_srp_affwild2.py', 'res18_contrawarping', {'model.neck.type': 'NoSuchNeck'}
    )
    good = Training('res18_gap_affwild2.py', 'res18_contrawarping')
    trainings = {row.training: good for row in ROWS} | {'res18_frozen4': bad}
    sweep = make(names=['res18_frozen4', 'res18_gap'], trainings=trainings)
    for name in sweep.names:
        (sweep.work_dir.folder(name) / 'stats.json').unlink()
    assert ['failed' in line for line in run(sweep)] == [False, True]
    row = row_of(report(sweep), 'res18_frozen4')
    assert row['state'] == 'failed' and 'NoSuchNeck' in row['failures'][0]['error']
    assert 'Traceback' in (sweep.work_dir.path / row['failures'][0]['log']).read_text()
    assert sweep.work_dir.read_stats('res18_gap')['trainable'] == 8397832


@pytest.mark.parametrize(
    'change, named',
    [
        (dict(budget='mini'), 'budget (recorded full, now mini)'),
        (dict(processes=2), 'processes (recorded 1, now 2)'),
        (
            dict(cfg_options={'train_cfg.max_iters': 30}),
            'train_cfg.max_iters (recorded 20, now 30)',
        ),
    ],
)
def test_changed_settings_are_refused_and_named(make, change, named):
    run(make())
    with pytest.raises(ValueError) as error:
        run(make(**change))
    assert named in str(error.value) and 'another --work-dir' in str(error.value)


def test_changed_weights_are_refused_and_new_ones_are_added(make, tmp_path):
    weights = tmp_path / 'a.pth'
    torch.save(dict(w=torch.zeros(1)), weights)
    run(make(init={'res18_contrawarping': str(weights)}))
    more = make(
        names=['res18_byol', 'res18_gap'],
        init={'res18_contrawarping': str(weights), 'res18_byol': RANDOM},
    )
    assert len(run(more)) == 1
    elsewhere = tmp_path / 'b.pth'
    weights.rename(elsewhere)  # the content counts, not the path
    assert run(make(init={'res18_contrawarping': str(elsewhere)})) == []
    torch.save(dict(w=torch.ones(1)), elsewhere)
    with pytest.raises(ValueError, match='weights.res18_contrawarping'):
        run(make(init={'res18_contrawarping': str(elsewhere)}))


@pytest.mark.parametrize(
    'options, error, match',
    [
        (dict(init={'res19': RANDOM}), ValueError, "'res19'"),
        (dict(init={'res18_byol': 'gone.pth'}), FileNotFoundError, 'res18_byol=gone.pth: no such'),
        (dict(seeds=0), ValueError, '--seeds: got 0'),
        (dict(processes=0), ValueError, '--nproc: got 0'),
        (dict(budget='small'), ValueError, 'full, mini'),
    ],
)
def test_invalid_arguments_are_refused(make, options, error, match):
    with pytest.raises(error, match=match):
        make(**options)


def test_missing_data_is_refused(make, tmp_path):
    with pytest.raises(FileNotFoundError):
        run(make(data_root=str(tmp_path / 'gone')))


def test_second_sweep_in_one_folder_is_refused(make):
    first, second = make(), make()
    with first.work_dir.lock(), pytest.raises(WorkDirInUseError, match=str(os.getpid())):
        run(second)
    assert len(run(second)) == 2


def test_interrupted_sweep_ends_its_training(make):
    (make().root / 'tools/train.py').write_text(
        'import os, sys, time\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n'
    )
    sweep = make(names=['res18_gap'])
    progress = sweep.run()
    log = sweep.work_dir.folder('res18_gap', 0) / 'train.log'
    for _ in progress:
        if log.is_file() and log.read_text().strip():
            break
    progress.close()
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)


def test_training_resumes_only_if_that_is_exact(make):
    """Checkpoints do not hold the random states of workers that crop."""
    plain = Training('res18_srp_affwild2_plain.py', 'res18_contrawarping')
    sweep = make(
        names=['res18_gap', 'res18'],
        trainings={
            row.training: plain
            if row.training == 'res18_gap'
            else Training('res18_srp_affwild2.py', 'res18_contrawarping')
            for row in ROWS
        },
    )
    for name in sweep.names:
        folder = sweep.work_dir.folder(name, 0)
        folder.mkdir(parents=True)
        with zipfile.ZipFile(folder / 'iter_5.pth', 'w') as file:
            file.writestr('state', json.dumps([5, 77]))
    run(sweep)
    assert sweep.work_dir.read_result('res18_gap', 0)['macro_f1'] == pytest.approx(scored(0))
    assert sweep.work_dir.read_result('res18', 0)['macro_f1'] != pytest.approx(scored(0))


def start_process_group(sweep):
    """Run a sweep in a forked process that leads its own group; returns its ID."""
    pid = os.fork()  # importing everything again would take longer than the sweep
    if pid == 0:
        try:
            os.setsid()
            for _ in sweep.run():
                pass
        finally:
            os._exit(0)
    while os.getpgid(pid) != pid:
        time.sleep(0.001)
    return pid


def wait_until_unlocked(work_dir):
    """Wait until all killed processes have ended."""
    end = time.monotonic() + 20
    while True:
        try:
            with work_dir.lock():
                return
        except WorkDirInUseError:
            assert time.monotonic() < end
            time.sleep(0.01)


@pytest.mark.parametrize(
    'after',
    [0.0, pytest.param(0.2, marks=pytest.mark.slow), pytest.param(0.45, marks=pytest.mark.slow)],
)
def test_killed_sweep_resumes_to_the_same_report(make, root, after):
    """Kill all processes several times before the sweep may finish."""
    (root / 'tools/train.py').write_text(TRAIN.replace('SLEEP', '0.01'))
    names = ['res18_gap', 'res18_frozen4']
    uninterrupted = make('uninterrupted', names, seeds=2)
    run(uninterrupted)
    assert row_of(report(uninterrupted), 'res18_frozen4')['runs'][1]['macro_f1'] == scored(1)
    killed = 0
    for attempt in range(4):
        sweep = make('killed', names, seeds=2)
        pid = start_process_group(sweep)
        end = time.monotonic() + 20
        while time.monotonic() < end and not list(sweep.work_dir.path.glob('*/seed*')):
            time.sleep(0.01)
        time.sleep(after * (1 + attempt / 3))
        os.killpg(pid, signal.SIGKILL)  # the group exists until its leader is waited for
        killed += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        wait_until_unlocked(sweep.work_dir)
    assert killed
    resumed = make('killed', names, seeds=2)
    run(resumed)
    assert report(resumed) == report(uninterrupted)
