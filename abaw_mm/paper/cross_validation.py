"""Cross-validation: train without each fold, predict it, and score all folds together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from abaw_mm.checkpoints.load import check_checkpoint_path
from abaw_mm.datasets.annotations.clip_names import read_clip_names
from abaw_mm.datasets.folds import find_strata, split_folds, write_fold_lists
from abaw_mm.datasets.frame_index import FrameReader
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation import Predictions
from abaw_mm.evaluation.postprocessing.ensemble import average
from abaw_mm.evaluation.predictions.score_tracks import SCORES, score_annotated
from abaw_mm.files import atomic_write
from abaw_mm.paper.rows import Training
from abaw_mm.paper.sweep import RANDOM, Progress, Sweep
from abaw_mm.paper.work_dir import WorkDir
from abaw_mm.structures import merge_tables
from abaw_mm.structures.tasks import get_targets


@dataclass
class CrossValidation(Sweep):
    """One training per fold, each scored on the clips that it has not seen.

    A fold is a training of a :class:`Sweep`, so that finished folds are not repeated and an
    interrupted one is resumed. The last checkpoint predicts, so that nothing is chosen on the
    frames that it is scored on. Make one with :func:`make_cross_validation`.
    """

    def make_config(self, name: str) -> Config:
        """Return the complete config of a fold, without the seed."""
        cfg = super().make_config(name)
        if 'checkpoint' not in Config.fromfile(str(self._config_path(self.trainings[name]))):
            cfg.pop('checkpoint')
        # A variable in configs over features. Alone, it would be taken for an outdated setting.
        cfg.pop('data', None)
        return cfg

    def predictions_path(self, name: str) -> Path:
        """Return the path of the predictions of a fold."""
        return self.work_dir.folder(name, 0) / 'predictions.npz'

    def read_predictions(self) -> dict[str, Predictions]:
        """Read the predictions of all folds that are finished."""
        names = [name for name in self.names if self.work_dir.read_result(name, 0) is not None]
        return {name: Predictions.read(self.predictions_path(name)) for name in names}

    def predict_test_set(self, ann_file: Path) -> Iterator[Progress]:
        """Predict a test set with the last checkpoint of each fold, unless it is done.

        Args:
            ann_file (Path): The challenge's list of frames, or a folder of annotations.

        Yields:
            Progress: About twice per second; counts folds.

        Raises:
            CommandError: If a prediction fails.
            WorkDirInUseError: If another sweep uses the work dir.
        """
        with self.work_dir.lock() as lock:
            for number, name in enumerate(self.names):
                folder, out = self.work_dir.folder(name, 0), self.test_set_path(name)
                cfg = Config.fromfile(str(self._recorded_config(name)))
                cfg.test_dataloader.dataset.ann_file = str(ann_file.absolute())
                cfg.test_dataloader.dataset.clips = None
                config = folder / 'test_set.py'
                if self._is_predicted(name, config, cfg.pretty_text, ann_file):
                    continue
                out.unlink(missing_ok=True)
                with atomic_write(config) as draft:
                    draft.write_text(cfg.pretty_text, encoding='utf-8')
                inputs = [config, self._last_checkpoint(name, folder)]
                flags = ['--work-dir', folder / 'test', '--out', out]
                command = self._make_command('test', inputs, flags)
                for _ in self._call(command, folder / 'test_set.log', lock):
                    yield Progress(number, len(self.names), f'{name}, test set')
            yield Progress(len(self.names), len(self.names), 'test set')

    def _is_predicted(self, name: str, config: Path, text: str, ann_file: Path) -> bool:
        """Whether the test set of a config was predicted by the present checkpoint of a fold."""
        out = self.test_set_path(name)
        if not (out.is_file() and config.is_file() and config.read_text(encoding='utf-8') == text):
            return False
        if out.stat().st_mtime < ann_file.stat().st_mtime:
            return False
        return Predictions.read(out).sha256 == Predictions.read(self.predictions_path(name)).sha256

    def test_set_path(self, name: str) -> Path:
        """Return the path of the predictions of the test set by a fold."""
        return self.work_dir.folder(name, 0) / 'test_set.npz'

    def average_test_set(self) -> Predictions:
        """Average the predictions of the test set by all folds."""
        paths = [self.test_set_path(name) for name in self.names]
        return average([Predictions.read(path) for path in paths], [str(path) for path in paths])

    def _count(self, name: str, folder: Path, lock: int) -> Iterator[None]:
        """Count nothing: the model is the same in all folds."""
        yield from ()

    def _score(self, name: str, folder: Path, lock: int) -> Iterator[None]:
        """Predict the frames of the fold with the last checkpoint."""
        out = self.predictions_path(name)
        if out.is_file():
            return
        inputs = [self._recorded_config(name), self._last_checkpoint(name, folder)]
        flags = ['--work-dir', folder / 'test', '--out', out]
        yield from self._call(self._make_command('test', inputs, flags), folder / 'test.log', lock)

    def _make_result(self, name: str, seed: int) -> dict:
        """Return the content of ``result.json``."""
        scores = score_annotated(Predictions.read(self.predictions_path(name)))
        folder = self.work_dir.folder(name, seed)
        return dict(scores, seed=seed, **self._measure(name, folder))

    def _outcome(self, name: str, seed: int) -> str:
        """Return the score of a fold, or its failure."""
        if self.work_dir.read_result(name, seed) is None:
            return super()._outcome(name, seed)
        predictions = Predictions.read(self.predictions_path(name))
        key, title, digits = SCORES[predictions.task]
        return f'{title} {score_annotated(predictions)[key]:{digits}}'


def make_cross_validation(
    root: Path,
    work_dir: WorkDir,
    config: Path,
    ann_folders: Sequence[Path],
    num_folds: int = 5,
    seed: int = 0,
    processes: int = 1,
    data_root: str | None = None,
    cfg_options: dict[str, Any] | None = None,
) -> CrossValidation:
    """Split the clips of annotations into folds, and prepare one training per fold.

    Args:
        root (Path): Folder with ``tools``.
        work_dir (WorkDir): Folder for all files; ``folds`` in it gets the lists of clips.
        config (Path): Config of the trainings.
        ann_folders (Sequence[Path]): Folders of annotations, or files of the multi-task track,
            split together.
        num_folds (int): Number of folds. Defaults to 5.
        seed (int): Seed of the split, see :func:`split_folds`. Defaults to 0.
        processes (int): Processes per training. Defaults to 1.
        data_root (str, optional): Data root. Defaults to that of the config.
        cfg_options (dict, optional): Overrides of the config.

    Raises:
        MissingFileError: If ``checkpoint`` of the config does not exist.
        InvalidValueError: If the annotations are of another track than the config, there are fewer
            raw videos than folds, or the work dir has other folds.
        WorkDirInUseError: If another sweep uses the work dir.
    """
    cfg = Config.fromfile(str(config))
    cfg.merge_from_dict(cfg_options or {})
    check_checkpoint_path(cfg.get('checkpoint'))
    reader = FrameReader(
        [str(folder) for folder in ann_folders],
        data_root='',
        start_index=1,
        filename_tmpl='{:05d}.jpg',
        clips=None,
        owner='cross_validate.py',
        task=find_track(cfg),
    )
    folds = split_folds(find_strata(reader.read_annotations()), num_folds, seed)
    with work_dir.lock():
        _check_recorded(folds, work_dir)
        lists = write_fold_lists(folds, work_dir.path / 'folds')
    annotations = [str(folder.absolute()) for folder in ann_folders]
    trainings = {}
    for number, (train, val) in enumerate(lists):
        options: dict[str, Any] = {}
        for loader, clips in (('train', train), ('val', val), ('test', val)):
            options[f'{loader}_dataloader.dataset.ann_file'] = annotations
            options[f'{loader}_dataloader.dataset.clips'] = str(clips)
        name = f'fold{number}of{num_folds}'
        trainings[name] = Training(str(config.absolute()), 'checkpoint', options)
    return CrossValidation(
        root=root,
        work_dir=work_dir,
        names=list(trainings),
        init={'checkpoint': cfg.get('checkpoint') or RANDOM},
        data_root=data_root,
        processes=processes,
        cfg_options=cfg_options or {},
        trainings=trainings,
    )


def _check_recorded(folds: Sequence[Sequence[str]], work_dir: WorkDir) -> None:
    """Raise if an earlier cross-validation in the folder had other clips in a fold."""
    for number, clips in enumerate(folds):
        path = work_dir.path / 'folds' / f'fold{number}of{len(folds)}_val.txt'
        if path.is_file() and read_clip_names(str(path), '--work-dir') != list(clips):
            raise InvalidValueError(
                f'--work-dir {work_dir.path} holds results of other folds: {path.name} has other '
                'clips; give the recorded --seed and annotations, or another --work-dir'
            )


def find_track(cfg: Config) -> str:
    """Return the track that a config trains for."""
    return cfg.train_dataloader.dataset.get('task', 'expr')


def merge_folds(folds: Sequence[Predictions], config: str) -> Predictions:
    """Merge the predictions of all folds into one table, in which each row is once.

    Rows of the multi-task track that repeat a frame stay apart; ``sample_idx`` renumbers them.
    """
    first = folds[0]
    is_repeated, parts, start = first.task == 'mtl', [], 0
    for fold in folds:
        columns = {name: x for name, x in fold.columns.items() if name != 'sample_idx'}
        if is_repeated:
            columns['sample_idx'] = np.arange(start, start + len(fold), dtype=np.int32)
            start += len(fold)
        parts.append(replace(fold, columns=columns))
    targets = [target.ground_truth for target in get_targets(first.task)]
    merged = merge_tables(parts, targets, 'sample_idx' if is_repeated else None)
    return replace(
        first,
        clips=merged.clips,
        clip_id=merged.clip_id,
        frame_no=merged.frame_no,
        columns=merged.columns,
        sha256='+'.join(fold.sha256 for fold in folds),
        config=config,
    )


def score_folds(folds: Sequence[Predictions], absent: str = 'zero') -> dict:
    """Score all frames together, and each fold by itself.

    Returns:
        dict: ``all``, the scores of all frames as the track's metric names them; ``folds``, the
        track's score of each fold, see ``SCORES``; ``mean`` and ``std`` of these (with N - 1).
    """
    key = SCORES[folds[0].task][0]
    each = [score_annotated(fold, absent)[key] for fold in folds]
    merged = score_annotated(merge_folds(folds, ''), absent)
    return dict(all=merged, folds=each, mean=float(np.mean(each)), std=float(np.std(each, ddof=1)))
