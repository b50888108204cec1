"""Run the trainings behind the paper's tables, each once, and go on where a kill left them."""

import fcntl
import json
import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
import traceback
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pprint import pformat

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from abaw_mm.apis.model_stats import model_stats
from abaw_mm.cli.report_errors import TRACEBACK
from abaw_mm.errors import shorten
from abaw_mm.files import atomic_write, sha256
from abaw_mm.paper.rows import (
    TRAININGS,
    Training,
)
from abaw_mm.structures import uses_frame_batches

BUDGETS = ('full', 'mini')
RANDOM = 'random'  # in place of a path: the training starts from random weights
KEY = 'affwild2/macro_f1'
POLL_S = 0.5  # seconds between two looks at a running training
LOCK_S = 15  # seconds that the processes of a killed sweep get to end
KILL_S = 20  # seconds from a polite end of a training to a rude one


class WorkDirInUseError(RuntimeError):
    """Another sweep, or a training that a killed one has left behind, works in the folder."""


@dataclass
class Progress:
    """How far a sweep is. ``done`` of ``total`` is work, not runs; ``finished`` tells of a run."""

    done: float
    total: float
    doing: str
    finished: str | None = None


def last_error(log: str) -> str:
    """The line of a log that tells what went wrong.

    That is the last one that begins with the name of an error; torchrun's own, which follows each
    failure of a process, does not count.

    >>> last_error('Traceback ...\\nValueError: got 3, expected 4\\n[rank0] bye\\n')
    'ValueError: got 3, expected 4'
    """
    lines = [re.sub(r'^\[rank\d+\]:\s*', '', line.strip()) for line in log.splitlines()]
    lines = [line for line in lines if line]
    errors = [
        line
        for line in lines
        if re.match(r'[\w.]*(Error|Exception|Interrupt)\b', line) and 'ChildFailedError' not in line
    ]
    return (errors or lines or ['an empty log'])[-1]


def flat(node: object, prefix: str = '') -> dict:
    """A nested dict as dotted keys; tuples and lists are the same.

    >>> flat(dict(a=dict(b=1, c=(2, 3)), d=[]))
    {'a.b': 1, 'a.c': [2, 3], 'd': []}
    """
    if not isinstance(node, dict) or not node:
        return {prefix: json.loads(json.dumps(node, default=str))}
    return {
        key: value
        for name, child in node.items()
        for key, value in flat(child, f'{prefix}.{name}' if prefix else str(name)).items()
    }


def differences(recorded: dict, now: dict) -> list[str]:
    """What differs between two nested dicts, a text for each key.

    >>> differences(dict(a=dict(b=1)), dict(a=dict(b=2), c=3))
    ['a.b (recorded 1, now 2)', 'c (recorded nothing, now 3)']
    """
    recorded, now = flat(recorded), flat(now)
    return [
        f'{key} (recorded {recorded[key] if key in recorded else "nothing"!s}, '
        f'now {now[key] if key in now else "nothing"!s})'
        for key in sorted(recorded | now)
        if (key in recorded, recorded.get(key)) != (key in now, now.get(key))
    ]


def as_text(cfg: Config) -> str:
    """A config as a file that inherits nothing; ``Config.dump`` takes a hundred times as long.

    >>> as_text(Config(dict(a=dict(b=(1, 2)), c='d')))
    "a = {'b': (1, 2)}\\nc = 'd'\\n"
    """
    return ''.join(
        f'{key} = {pformat(value, width=100, sort_dicts=False)}\n'
        for key, value in cfg.to_dict().items()
    )


def count_model(config: str) -> dict:
    """:func:`model_stats` of a config's file, for another process."""
    return model_stats(Config.fromfile(config))


@contextmanager
def _world_size(processes: int) -> Iterator[None]:
    """Configs divide the batch by it."""
    before = os.environ.get('WORLD_SIZE')
    os.environ['WORLD_SIZE'] = str(processes)
    try:
        yield
    finally:
        if before is None:
            del os.environ['WORLD_SIZE']
        else:
            os.environ['WORLD_SIZE'] = before


def _read(path: Path) -> dict | None:
    return json.loads(path.read_text()) if path.is_file() else None


def _write(path: Path, content: dict) -> None:
    with atomic_write(path) as draft:
        draft.write_text(json.dumps(content, indent=1) + '\n')


@dataclass
class Sweep:
    """The trainings behind the tables: what is asked, and what a work dir holds of it.

    Each run has a folder, ``<training>/seed<n>``. A finished one has ``result.json`` there, which
    is written whole; one that was cut off goes on from its last whole checkpoint, if its data come
    as arrays (``collate_frames``): their random crops depend on seed and step alone, so that it
    ends as if nothing had happened. Workers that crop have random states that no checkpoint has;
    such a run begins anew, for the same reason. What is scored is the last checkpoint, so that
    nothing is chosen on the frames it is scored on.

    Args:
        root (Path): Folder that has ``configs`` and ``tools``.
        work_dir (Path): Where everything is written.
        names (Sequence[str]): Keys of ``trainings`` that are asked for.
        seeds (int): Runs of each, with the seeds 0 to seeds - 1.
        init (dict): Name of weights to their path, or to ``'random'``.
        data_root (str, optional): Of all data sets; defaults to the configs'.
        budget (str): ``'full'``, or ``'mini'`` for two CPU cores.
        processes (int): Of each run.
        cfg_options (dict): Overrides of every config.
        trainings (dict): Defaults to those of the paper.

    Raises:
        ValueError: If the work dir holds results of other settings, or a setting is out of range.
        FileNotFoundError: If weights or data are not there.
        WorkDirInUseError: If another sweep works in the folder.
    """

    root: Path
    work_dir: Path
    names: Sequence[str]
    seeds: int = 1
    init: dict = field(default_factory=dict)
    data_root: str | None = None
    budget: str = 'full'
    processes: int = 1
    cfg_options: dict = field(default_factory=dict)
    trainings: dict = field(default_factory=lambda: TRAININGS)

    def __post_init__(self) -> None:
        self.root, self.work_dir = Path(self.root).absolute(), Path(self.work_dir).absolute()
        if self.budget not in BUDGETS:
            raise ValueError(f'--budget: got {self.budget!r}, expected one of {", ".join(BUDGETS)}')
        for flag, value in (('--seeds', self.seeds), ('--nproc', self.processes)):
            if value < 1:
                raise ValueError(f'{flag}: got {value}, expected a number from 1 on')
        known = sorted({training.init for training in self.trainings.values()})
        unknown = sorted(set(self.init) - set(known))
        if unknown:
            raise ValueError(
                f'--init: got the name {shorten(unknown)}, expected one of {", ".join(known)}'
            )
        for name, path in self.init.items():
            if path != RANDOM and not os.path.isfile(path):
                raise FileNotFoundError(
                    f'--init {name}={path}: no such file, expected a checkpoint; correct the path, '
                    f'or give {name}={RANDOM} to start from random weights'
                )
        self.init = {
            name: path if path == RANDOM else os.path.abspath(path)
            for name, path in self.init.items()
        }
        self.data = {}
        self.weights = {}

    # ------------------------------------------------------------------ what there is to do

    def why_not(self, name: str) -> str | None:
        """Why a training is not run, or None if it is."""
        training = self.trainings[name]
        if name not in self.names:
            return 'not asked for (--tables, --rows)'
        if not self._source(training).is_file():
            return f'no config {training.config}'
        if training.init not in self.init:
            return (
                f'no weights {training.init}: give --init {training.init}=PATH, or '
                f'{training.init}={RANDOM}'
            )
        return None

    @property
    def runnable(self) -> list[str]:
        """Trainings that are asked for and can run."""
        return [name for name in self.trainings if self.why_not(name) is None]

    def folder(self, name: str, seed: int | None = None) -> Path:
        """Of a training, or of one of its runs."""
        return self.work_dir / name / ('' if seed is None else f'seed{seed}')

    def result(self, name: str, seed: int) -> dict | None:
        """Figures of a finished run."""
        return _read(self.folder(name, seed) / 'result.json')

    def failure(self, name: str, seed: int) -> dict | None:
        """``error`` and ``log`` of a run that failed when it was last tried."""
        return _read(self.folder(name, seed) / 'failed.json') or _read(
            self.folder(name) / 'failed.json'
        )

    def stats(self, name: str) -> dict | None:
        """What :func:`model_stats` has counted."""
        return _read(self.folder(name) / 'stats.json')

    def _source(self, training: Training) -> Path:
        return self.root / 'configs' / training.config

    def options(self, name: str) -> dict:
        """Overrides that make a training's config that of its row and of the budget."""
        training = self.trainings[name]
        options = dict(training.options)
        if self.budget == 'mini':
            options |= {
                **training.mini,
                'train_cfg.max_iters': training.mini_iters,
                'train_dataloader.batch_size': max(1, training.mini_batch // self.processes),
                'train_dataloader.num_workers': 1,
                'test_dataloader.batch_size': 2 * training.mini_batch,
                'test_dataloader.num_workers': 1,
            }
        if self.data_root is not None:
            root = os.path.abspath(self.data_root)
            options |= {
                f'{split}_dataloader.dataset.data_root': root for split in ('train', 'val', 'test')
            }
        return options | self.cfg_options

    def config(self, name: str) -> Config:
        """The whole config of a training; the seed is given when it runs."""
        training = self.trainings[name]
        with _world_size(self.processes):
            cfg = Config.fromfile(str(self._source(training)))
        cfg.merge_from_dict(self.options(name))
        init = self.init[training.init]
        cfg.checkpoint = None if init == RANDOM else init
        iters = cfg.train_cfg.max_iters
        every = max(1, min(50, iters // 10))
        cfg.merge_from_dict(
            {
                'default_hooks.checkpoint.interval': max(1, iters // 4),
                'default_hooks.checkpoint.max_keep_ckpts': 2,
                'default_hooks.logger.interval': every,
                'log_processor.window_size': every,  # a line has the mean time since the last one
            }
        )
        return cfg

    # ------------------------------------------------------------------ before the first run

    @contextmanager
    def lock(self) -> Iterator[int]:
        """Keep others out of the work dir; trainings inherit the lock, and outlive no kill alone.

        Raises:
            WorkDirInUseError: If another has it.
        """
        self.work_dir.mkdir(parents=True, exist_ok=True)
        path = self.work_dir / 'lock'
        with open(path, 'a+') as file:
            end = time.monotonic() + LOCK_S
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if time.monotonic() > end:
                        raise WorkDirInUseError(
                            f'--work-dir {self.work_dir}: another sweep works there, or what a '
                            f'killed one has left behind (processes {path.read_text().strip()}); '
                            'wait, end them, or give another --work-dir'
                        ) from error
                    time.sleep(0.2)
            self._note(file, os.getpid())
            yield file.fileno()

    @staticmethod
    def _note(file, *pids: int) -> None:
        file.truncate(0)
        file.write(' '.join(map(str, pids)))
        file.flush()

    def prepare(self) -> None:
        """Write the configs of all runs, after a look at what the work dir holds already.

        Raises:
            ValueError: If it holds results of other settings; the message names them.
        """
        configs = {name: self.config(name) for name in self.runnable}
        self.weights = {
            name: RANDOM if path == RANDOM else sha256(path) for name, path in self.init.items()
        }
        if configs:
            self.data = self._count_data(next(iter(configs.values())))
        recorded = _read(self.work_dir / 'settings.json') or {}
        settings = dict(
            budget=self.budget,
            processes=self.processes,
            cfg_options=self.cfg_options,
            data=self.data or recorded.get('data', {}),
            weights=recorded.get('weights', {}) | self.weights,  # more may be given later
        )
        found = []
        if recorded:
            more = {
                name: value
                for name, value in settings['weights'].items()
                if name not in recorded['weights']
            }
            found = differences(
                recorded
                | dict(
                    data=recorded['data'] or settings['data'], weights=recorded['weights'] | more
                ),
                settings,
            )
        for name, cfg in configs.items():
            path = self.folder(name) / 'config.py'
            if path.is_file():
                before, now = (
                    dict(c.to_dict(), checkpoint=None)  # the file's content counts
                    for c in (Config.fromfile(str(path)), cfg)
                )
                found += [f'{name}: {text}' for text in differences(before, now)]
        if found:
            raise ValueError(
                f'--work-dir {self.work_dir} holds results of other settings: '
                f'{"; ".join(found[:20])}{"; ..." if len(found) > 20 else ""}. Give the recorded '
                'settings, or another --work-dir'
            )
        self.data, self.weights = settings['data'], settings['weights']
        _write(self.work_dir / 'settings.json', settings)
        for name, cfg in configs.items():
            with atomic_write(self.folder(name) / 'config.py') as draft:
                draft.write_text(as_text(cfg))

    @staticmethod
    def _count_data(cfg: Config) -> dict:
        """Clips and frames that train and that score."""
        counts = {}
        for split, loader in (('train', cfg.train_dataloader), ('val', cfg.test_dataloader)):
            with DefaultScope.overwrite_default_scope('mmpretrain'):
                dataset = DATASETS.build(loader.dataset)
            dataset.full_init()
            clips = np.unique(dataset.frames.clip_id) if hasattr(dataset, 'frames') else ()
            counts[split] = dict(clips=len(clips), frames=len(dataset))
        return counts

    def _count_models(self) -> Iterator[str]:
        """Count each model in another process, which may fail as it likes."""
        missing = [name for name in self.runnable if self.stats(name) is None]
        if not missing:
            return
        context = multiprocessing.get_context('spawn')
        with ProcessPoolExecutor(1, mp_context=context) as pool:
            for name in missing:
                yield name
                future = pool.submit(count_model, str(self.folder(name) / 'config.py'))
                error, folder = future.exception(), self.folder(name)
                (folder / 'failed.json').unlink(missing_ok=True)
                if error is None:
                    _write(folder / 'stats.json', future.result())
                    continue
                log = folder / 'model.log'
                log.write_text(''.join(traceback.format_exception(error)))
                self._fail(folder, log, f'{type(error).__name__}: {error}')

    # ------------------------------------------------------------------ runs

    def run(self) -> Iterator[Progress]:
        """Run what is not finished yet, and tell now and then how far it is.

        A run that fails is noted and does not end the sweep; it is tried again by the next one.
        """
        with self.lock() as lock:
            self.prepare()
            for name in self._count_models():
                yield Progress(0, 1, f'counting {name}')
            todo = [
                (name, seed)
                for seed in range(self.seeds)
                for name in self.runnable
                if self.result(name, seed) is None and self.stats(name) is not None
            ]
            total, done = sum(self._work(name) for name, _ in todo) or 1, 0
            for name, seed in todo:
                for share in self._run(name, seed, lock):
                    doing = f'{name}, seed {seed}'
                    yield Progress(done + share * self._work(name), total, doing)
                done += self._work(name)
                result = self.result(name, seed)
                text = (
                    f'macro-F1 {result["macro_f1"]:.2f}'
                    if result
                    else (f'failed: {self.failure(name, seed)["error"]}')
                )
                yield Progress(done, total, doing, f'{name}, seed {seed}: {text}')

    def _work(self, name: str) -> float:
        """About what a run costs, in FLOPs: training counts double."""
        cfg = self._recorded(name)
        trained = cfg.train_cfg.max_iters * cfg.train_dataloader.batch_size * self.processes
        return self.stats(name)['flops'] * (2 * trained + self.data['val']['frames'])

    def _recorded(self, name: str) -> Config:
        if name not in self.__dict__.setdefault('_configs', {}):
            self._configs[name] = Config.fromfile(str(self.folder(name) / 'config.py'))
        return self._configs[name]

    def _run(self, name: str, seed: int, lock: int) -> Iterator[float]:
        """Train and score; yields the share, 0-1, that is done."""
        folder, cfg = self.folder(name, seed), self._recorded(name)
        folder.mkdir(exist_ok=True)
        (folder / 'failed.json').unlink(missing_ok=True)
        iters = cfg.train_cfg.max_iters
        last, metrics = folder / f'iter_{iters}.pth', folder / 'metrics.json'
        config = str(self.folder(name) / 'config.py')
        start = latest_checkpoint(folder)
        if start is not None and start != last and not resumes_exactly(cfg):
            for path in folder.glob('iter_*.pth'):
                path.unlink()
            start = None
        yield 0
        if start != last:
            flags = [
                config,
                '--work-dir',
                folder,
                '--no-validate',
                *(['--resume', start] if start else []),
                '--cfg-options',
                f'randomness.seed={seed}',
            ]
            for _ in self._call('train', flags, folder / 'train.log', lock):
                yield 0.9 * min(1, latest_step(folder) / iters)
            if (folder / 'failed.json').is_file():
                return
        if not metrics.is_file():
            flags = [
                config,
                last,
                '--work-dir',
                folder / 'test',
                '--out',
                metrics,
                '--out-item',
                'metrics',
            ]
            for _ in self._call('test', flags, folder / 'test.log', lock):
                yield 0.9
            if (folder / 'failed.json').is_file():
                return
        scores = json.loads(metrics.read_text())
        step_s = time_per_step(folder)
        batch = cfg.train_dataloader.batch_size * self.processes
        _write(
            folder / 'result.json',
            dict(
                seed=seed,
                macro_f1=scores[KEY],
                accuracy=scores['affwild2/accuracy'],
                f1={key.split('f1_')[1]: value for key, value in scores.items() if '/f1_' in key},
                iterations=iters,
                batch=batch,
                time=dict(train_s=step_s * iters, frames_per_s=batch / step_s),
            ),
        )
        for path in folder.glob('iter_*.pth'):
            if path != last:
                path.unlink()
        yield 1

    def _call(self, tool: str, flags: Sequence, log: Path, lock: int) -> Iterator[None]:
        """Run a tool on all processes; yields while it runs, notes if it failed."""
        tools = self.root / 'tools'
        # the tools' order: CONFIG [CHECKPOINT] PROCESSES FLAGS
        at = 1 if tool == 'train' else 2
        command = (
            [sys.executable, tools / f'{tool}.py', *flags]
            if self.processes == 1
            else ['bash', tools / f'dist_{tool}.sh', *flags[:at], self.processes, *flags[at:]]
        )
        paths = (str(self.root), os.environ.get('PYTHONPATH', ''))
        env = dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(filter(None, paths)),
            **{TRACEBACK: '1'},  # nobody watches, the log shall tell all
            PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')]),
        )
        with open(log, 'w') as file:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=env,
                pass_fds=(lock,),
            )
            with open(self.work_dir / 'lock', 'r+') as note:
                self._note(note, os.getpid(), process.pid)
            try:
                while process.poll() is None:
                    yield
                    try:
                        process.wait(POLL_S)
                    except subprocess.TimeoutExpired:
                        continue
            finally:
                if process.poll() is None:  # interrupted
                    process.terminate()
                    try:
                        process.wait(KILL_S)
                    except subprocess.TimeoutExpired:
                        process.kill()
                        process.wait()
        if process.returncode:
            error = last_error(log.read_text(errors='replace'))
            if process.returncode < 0:
                error = f'ended by {signal.Signals(-process.returncode).name}; {error}'
            self._fail(log.parent, log, error)

    def _fail(self, folder: Path, log: Path, error: str) -> None:
        _write(
            folder / 'failed.json',
            dict(error=error.splitlines()[0], log=str(log.relative_to(self.work_dir))),
        )


# ------------------------------------------------------------------ what a run's folder tells


def resumes_exactly(cfg: Config) -> bool:
    """Whether a training that goes on from a checkpoint ends as one that was not cut off."""
    return uses_frame_batches(cfg.train_dataloader)


def latest_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint that is whole; later ones, half written when a kill came, are removed."""
    paths = sorted(folder.glob('iter_*.pth'), key=lambda path: int(path.stem.split('_')[1]))
    for path in reversed(paths):
        if zipfile.is_zipfile(path):  # its directory is written last
            return path
        path.unlink()
    return None


def _scalars(folder: Path) -> dict[int, dict]:
    """Step to what was logged there; of two attempts, the later one's."""
    steps = {}
    for path in sorted(folder.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            try:
                record = json.loads(line)
            except json.JSONDecodeError:  # a kill, or still being written
                continue
            if 'time' in record and 'loss' in record:
                steps[record['step']] = record
    return steps


def latest_step(folder: Path) -> int:
    """The last step that was logged."""
    return max(_scalars(folder), default=0)


def time_per_step(folder: Path) -> float:
    """Mean seconds of a training's steps, data included."""
    return float(np.mean([record['time'] for record in _scalars(folder).values()]))
