"""Run the trainings behind the paper's tables, each once, and resume after an interruption."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from pprint import pformat
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from abaw_mm.apis.checks.check_settings import check_settings
from abaw_mm.checkpoints.download import is_url
from abaw_mm.checkpoints.load import find_checkpoint_file
from abaw_mm.datasets import ClipFeatureDataset
from abaw_mm.errors import TRACEBACK, InvalidValueError, MissingFileError, shorten
from abaw_mm.files import atomic_write, read_json, sha256, write_json
from abaw_mm.paper.rows import TRAININGS, Training
from abaw_mm.paper.work_dir import (
    WorkDir,
    find_differences,
    find_error,
    find_last_checkpoint,
    read_step_times,
)
from abaw_mm.structures import uses_frame_batches

BUDGETS = ('full', 'mini')
RANDOM = 'random'  # instead of a path: the training starts from random weights
POLL_S = 0.5  # seconds between two looks at a running command
MAX_DIFFERENCES = 20  # differing settings that a message lists


@dataclass
class Progress:
    """Progress of a sweep.

    Attributes:
        done (int): Training iterations that are done, of all runs of this call.
        total (int): Training iterations of all runs of this call.
        doing (str): The run in progress.
        finished (str, optional): Outcome of the run, if it has just ended.
    """

    done: int
    total: int
    doing: str
    finished: str | None = None


class CommandError(Exception):
    """A command of a run failed; the sweep records it and continues with the next run.

    Args:
        error (str): The error, one line.
        log (Path): Log of the command.
    """

    def __init__(self, error: str, log: Path) -> None:
        super().__init__(error)
        self.error, self.log = error, log


@dataclass
class Sweep:
    """Trainings behind the tables that a user asks for, and the work dir that holds their results.

    A finished run is never repeated. An interrupted one resumes from its last complete checkpoint
    if workers deliver plain frames (``collate_frames``): random crops then depend on seed and step
    only, so that the result is that of an uninterrupted run. Otherwise the workers' random states,
    which no checkpoint holds, decide; such a run starts again. The last checkpoint is scored, so
    that nothing is chosen on the frames that it is scored on.

    Args:
        root (Path): Folder with ``configs`` and ``tools``.
        work_dir (WorkDir): Folder for all files of the sweep.
        names (Sequence[str]): Keys of ``trainings`` to run.
        seeds (int): Runs per training, at least 1; their seeds are 0 to ``seeds - 1``.
        init (dict[str, str]): Name of pre-trained weights to their path or URL, or to
            ``'random'``.
        data_root (str, optional): Data root of all datasets. Defaults to that of the configs.
        budget (str): ``'full'``, or ``'mini'`` for two CPU cores. Defaults to ``'full'``.
        processes (int): Processes per run, at least 1.
        cfg_options (dict): Overrides of every config, applied last.
        trainings (Mapping[str, Training]): All trainings. Defaults to those of the paper.

    Raises:
        ValueError: If an argument is out of range.
        FileNotFoundError: If a file of weights does not exist.
    """

    root: Path
    work_dir: WorkDir
    names: Sequence[str]
    seeds: int = 1
    init: dict[str, str] = field(default_factory=dict)
    data_root: str | None = None
    budget: str = 'full'
    processes: int = 1
    cfg_options: dict[str, Any] = field(default_factory=dict)
    trainings: Mapping[str, Training] = field(default_factory=lambda: TRAININGS)

    def __post_init__(self) -> None:
        self.root = Path(self.root).absolute()
        _check_choices(self.budget, self.seeds, self.processes)
        _check_init(self.init, {training.init for training in self.trainings.values()})
        self.init = {
            name: path if path == RANDOM or is_url(path) else os.path.abspath(path)
            for name, path in self.init.items()
        }
        self.configs: dict[str, Config] = {}
        self.data: dict[str, dict[str, int]] = {}
        self.weights: dict[str, str] = {}

    # ------------------------------------------------------------------ trainings and configs

    def find_skip_reason(self, name: str) -> str | None:
        """Return why a training does not run, None if it runs."""
        training = self.trainings[name]
        if name not in self.names:
            return 'not asked for (--tables, --rows)'
        if not self._config_path(training).is_file():
            return f'no config {training.config}'
        if training.init not in self.init:
            return (
                f'no weights {training.init}: give --init {training.init}=PATH, or '
                f'{training.init}={RANDOM}'
            )
        return None

    @property
    def runnable(self) -> list[str]:
        """Names of the trainings that were asked for and can run."""
        return [name for name in self.trainings if self.find_skip_reason(name) is None]

    def _config_path(self, training: Training) -> Path:
        return self.root / 'configs' / training.config

    def make_options(self, name: str) -> dict[str, Any]:
        """Return the overrides of a training's config: its row's, the budget's and the user's."""
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

    def make_config(self, name: str) -> Config:
        """Return the complete config of a training, without the seed."""
        training = self.trainings[name]
        with _world_size(self.processes):
            cfg = Config.fromfile(str(self._config_path(training)))
        cfg.merge_from_dict(self.make_options(name))
        check_settings(cfg, self.cfg_options)
        init = self.init[training.init]
        cfg.checkpoint = None if init == RANDOM else init
        iters = cfg.train_cfg.max_iters
        log_interval = max(1, min(50, iters // 10))
        cfg.merge_from_dict(
            {
                'default_hooks.checkpoint.interval': max(1, iters // 4),
                'default_hooks.checkpoint.max_keep_ckpts': 2,
                'default_hooks.logger.interval': log_interval,
                # A logged time is then the mean over the steps since the last log.
                'log_processor.window_size': log_interval,
            }
        )
        return cfg

    def prepare(self) -> None:
        """Check that the work dir holds no results of other settings, and write all configs.

        More trainings, seeds and weights may be added to a work dir; nothing else may change.

        Raises:
            ValueError: If settings differ from the recorded ones; the message names them.
            FileNotFoundError: If annotations or crops do not exist.
        """
        recorded = self.work_dir.read_settings()
        self.configs = {name: self.make_config(name) for name in self.runnable}
        self.weights = recorded.get('weights', {}) | {
            name: RANDOM if path == RANDOM else sha256(find_checkpoint_file(path))
            for name, path in self.init.items()
        }
        if self.configs:
            self.data = count_data(next(iter(self.configs.values())))
        else:
            self.data = recorded.get('data', {})
        settings = dict(
            budget=self.budget,
            processes=self.processes,
            cfg_options=self.cfg_options,
            data=self.data,
            weights=self.weights,
        )
        self._check_unchanged(recorded, settings)
        if not self.configs:
            return
        write_json(self.work_dir.path / 'settings.json', settings)
        for name, cfg in self.configs.items():
            with atomic_write(self.work_dir.folder(name) / 'config.py') as draft:
                draft.write_text(format_config(cfg))

    def _check_unchanged(self, recorded: dict, settings: dict) -> None:
        """Raise ValueError if settings or configs differ from those in the work dir."""
        differences = []
        if recorded:
            known = {name: self.weights[name] for name in recorded['weights']}  # others are new
            differences = find_differences(recorded, settings | dict(weights=known))
        for name, cfg in self.configs.items():
            path = self.work_dir.folder(name) / 'config.py'
            if path.is_file():
                before, now = (
                    dict(c.to_dict(), checkpoint=None)  # settings have the checksum of the file
                    for c in (Config.fromfile(str(path)), cfg)
                )
                differences += [f'{name}: {text}' for text in find_differences(before, now)]
        if differences:
            more = '; ...' if len(differences) > MAX_DIFFERENCES else ''
            raise InvalidValueError(
                f'--work-dir {self.work_dir.path} holds results of other settings: '
                f'{"; ".join(differences[:MAX_DIFFERENCES])}{more}. Give the recorded settings, or '
                'another --work-dir'
            )

    # ------------------------------------------------------------------ runs

    def run(self) -> Iterator[Progress]:
        """Run all that is not finished yet.

        A run that fails is recorded and does not end the sweep; the next sweep tries it again.

        Yields:
            Progress: About twice per second, and at the end of each run.

        Raises:
            WorkDirInUseError: If another sweep uses the work dir.
            ValueError, FileNotFoundError: As :meth:`prepare` does.
        """
        with self.work_dir.lock() as lock:
            self.prepare()
            runs = [
                (name, seed)
                for seed in range(self.seeds)
                for name in self.runnable
                if self.work_dir.read_result(name, seed) is None
            ]
            total = sum(self._iterations(name) for name, _ in runs)
            done = 0
            for name, seed in runs:
                doing = f'{name}, seed {seed}'
                for step in self._run(name, seed, lock):
                    yield Progress(done + step, total, doing)
                done += self._iterations(name)
                yield Progress(done, total, doing, f'{doing}: {self._outcome(name, seed)}')

    def _iterations(self, name: str) -> int:
        return self.configs[name].train_cfg.max_iters

    def _outcome(self, name: str, seed: int) -> str:
        result = self.work_dir.read_result(name, seed)
        if result is not None:
            return f'macro-F1 {result["macro_f1"]:.2f}'
        failure = self.work_dir.read_failure(name, seed) or {}
        return f'failed: {failure.get("error")}'

    def _run(self, name: str, seed: int, lock: int) -> Iterator[int]:
        """Count, train and score one run; yields the number of finished iterations."""
        folder = self.work_dir.folder(name, seed)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / 'failed.json').unlink(missing_ok=True)
        iters = self._iterations(name)
        try:
            for _ in self._count(name, folder, lock):
                yield 0
            for _ in self._train(name, seed, folder, lock):
                yield min(iters, max(read_step_times(folder), default=0))
            for _ in self._score(name, folder, lock):
                yield iters
        except CommandError as error:
            log = error.log.relative_to(self.work_dir.path)
            write_json(folder / 'failed.json', dict(error=error.error, log=str(log)))
            return
        write_json(folder / 'result.json', self._make_result(name, seed))
        for path in folder.glob('iter_*.pth'):
            if path != self._last_checkpoint(name, folder):
                path.unlink()

    def _recorded_config(self, name: str) -> Path:
        return self.work_dir.folder(name) / 'config.py'

    def _last_checkpoint(self, name: str, folder: Path) -> Path:
        return folder / f'iter_{self._iterations(name)}.pth'

    def _count(self, name: str, folder: Path, lock: int) -> Iterator[None]:
        """Count parameters and FLOPs, unless another run has done so."""
        if self.work_dir.read_stats(name) is not None:
            return
        stats = self.work_dir.folder(name) / 'stats.json'
        tool = self.root / 'tools/analysis_tools/model_stats.py'
        command = [sys.executable, tool, self._recorded_config(name), '--json', stats]
        yield from self._call(command, folder / 'model.log', lock)

    def _train(self, name: str, seed: int, folder: Path, lock: int) -> Iterator[None]:
        """Train up to the last iteration; resume from a checkpoint if that changes no result."""
        start, last = find_last_checkpoint(folder), self._last_checkpoint(name, folder)
        if start == last:
            return
        if start is not None and not uses_frame_batches(self.configs[name].train_dataloader):
            for path in folder.glob('iter_*.pth'):
                path.unlink()
            start = None
        flags: list[object] = ['--work-dir', folder, '--no-validate']
        if start is not None:
            flags += ['--resume', start]
        flags += ['--cfg-options', f'randomness.seed={seed}']
        command = self._make_command('train', [self._recorded_config(name)], flags)
        yield from self._call(command, folder / 'train.log', lock)

    def _score(self, name: str, folder: Path, lock: int) -> Iterator[None]:
        """Score the last checkpoint."""
        metrics = folder / 'metrics.json'
        if metrics.is_file():
            return
        inputs = [self._recorded_config(name), self._last_checkpoint(name, folder)]
        flags = ['--work-dir', folder / 'test', '--out', metrics, '--out-item', 'metrics']
        yield from self._call(self._make_command('test', inputs, flags), folder / 'test.log', lock)

    def _make_result(self, name: str, seed: int) -> dict:
        """Return the content of ``result.json``."""
        folder = self.work_dir.folder(name, seed)
        scores = read_json(folder / 'metrics.json', 'scores', 'delete it and run the sweep again')
        return dict(
            seed=seed,
            macro_f1=scores['affwild2/macro_f1'],
            accuracy=scores['affwild2/accuracy'],
            f1={key.split('f1_')[1]: value for key, value in scores.items() if '/f1_' in key},
            **self._measure(name, folder),
        )

    def _measure(self, name: str, folder: Path) -> dict:
        """Return iterations, batch size and times of a run."""
        seconds = float(np.mean(list(read_step_times(folder).values())))
        batch = self.configs[name].train_dataloader.batch_size * self.processes
        iters = self._iterations(name)
        time = dict(train_s=seconds * iters, frames_per_s=batch / seconds)
        return dict(iterations=iters, batch=batch, time=time)

    # ------------------------------------------------------------------ commands

    def _make_command(
        self, tool: str, inputs: Sequence[object], flags: Sequence[object]
    ) -> list[object]:
        """Return the command of ``train`` or ``test`` for all processes of a run."""
        tools = self.root / 'tools'
        if self.processes == 1:
            return [sys.executable, tools / f'{tool}.py', *inputs, *flags]
        return ['bash', tools / f'dist_{tool}.sh', *inputs, self.processes, *flags]

    def _call(self, command: Sequence[object], log: Path, lock: int) -> Iterator[None]:
        """Run a command; yields while it runs.

        Raises:
            CommandError: If it fails.
        """
        with open(log, 'w') as file:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._make_environment(),
                pass_fds=(lock,),
            )
            try:
                while process.poll() is None:
                    yield
                    try:
                        process.wait(POLL_S)
                    except subprocess.TimeoutExpired:
                        continue
            finally:
                if process.poll() is None:  # the sweep was interrupted
                    process.terminate()
                    process.wait()
        if process.returncode:
            error = find_error(log.read_text(errors='replace'))
            if process.returncode < 0:
                error = f'ended by {signal.Signals(-process.returncode).name}; {error}'
            raise CommandError(error, log)

    def _make_environment(self) -> dict[str, str]:
        """Return an environment in which the tools find this Python and this package."""
        paths = (str(self.root), os.environ.get('PYTHONPATH', ''))
        return dict(
            os.environ,
            PYTHONPATH=os.pathsep.join(filter(None, paths)),
            PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get('PATH', '')]),
            **{TRACEBACK: '1'},  # logs hold full tracebacks
        )


def _check_choices(budget: str, seeds: int, processes: int) -> None:
    if budget not in BUDGETS:
        raise InvalidValueError(f'--budget: got {budget!r}, expected one of {", ".join(BUDGETS)}')
    for flag, value in (('--seeds', seeds), ('--nproc', processes)):
        if value < 1:
            raise InvalidValueError(f'{flag}: got {value}, expected 1 or more')


def _check_init(init: Mapping[str, str], known: set[str]) -> None:
    unknown = sorted(set(init) - known)
    if unknown:
        raise InvalidValueError(
            f'--init: got the name {shorten(unknown)}, expected one of {", ".join(sorted(known))}'
        )
    for name, path in init.items():
        if path != RANDOM and not is_url(path) and not os.path.isfile(path):
            raise MissingFileError(
                f'--init {name}={path}: no such file, expected a checkpoint; correct the path, or '
                f'give {name}={RANDOM} to start from random weights'
            )


@contextmanager
def _world_size(processes: int) -> Iterator[None]:
    """Set WORLD_SIZE, by which configs divide the batch size."""
    before = os.environ.get('WORLD_SIZE')
    os.environ['WORLD_SIZE'] = str(processes)
    try:
        yield
    finally:
        if before is None:
            del os.environ['WORLD_SIZE']
        else:
            os.environ['WORLD_SIZE'] = before


def format_config(cfg: Config) -> str:
    """Format a config as a Python file that inherits nothing.

    ``Config.dump`` does the same, but takes a hundred times as long.

    >>> format_config(Config(dict(a=dict(b=(1, 2)), c='d')))
    "a = {'b': (1, 2)}\\nc = 'd'\\n"
    """
    return ''.join(
        f'{key} = {pformat(value, width=100, sort_dicts=False)}\n'
        for key, value in cfg.to_dict().items()
    )


def count_data(cfg: Config) -> dict[str, dict[str, int]]:
    """Count clips and frames that train and that are scored."""
    counts = {}
    for split, loader in (('train', cfg.train_dataloader), ('val', cfg.test_dataloader)):
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            dataset = DATASETS.build(loader.dataset)
        is_windowed = isinstance(dataset, ClipFeatureDataset)
        if not is_windowed:
            dataset.full_init()
        clips = np.unique(dataset.frames.clip_id) if hasattr(dataset, 'frames') else ()
        frames = len(dataset.frames) if is_windowed else len(dataset)  # not windows
        counts[split] = dict(clips=len(clips), frames=frames)
    return counts
