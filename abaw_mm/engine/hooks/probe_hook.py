"""Measure during pre-training how well frozen features predict expressions."""

import os
from typing import Any

import numpy as np
import torch
from mmengine.dataset import default_collate
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, HOOKS
from torch.utils.data import DataLoader, Dataset, Subset

from abaw_mm.checks import at_least, between, check_arguments
from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import MissingFileError
from abaw_mm.evaluation.metrics.macro_f1 import f1_per_class
from abaw_mm.evaluation.probes import knn_predict, linear_predict
from abaw_mm.progress import show_progress
from abaw_mm.structures.tasks import EXPRESSIONS


def choose_rows(labels: np.ndarray, per_class: int) -> np.ndarray:
    """Choose at most ``per_class`` evenly spaced rows of each class, sorted.

    >>> choose_rows(np.array([0, 0, 0, 0, 0, 1]), 3)
    array([0, 2, 4, 5])
    """
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.sort(np.concatenate([_space_evenly(row, per_class) for row in rows]))


def _space_evenly(rows: np.ndarray, number: int) -> np.ndarray:
    """Choose ``number`` evenly spaced rows, or all if there are fewer."""
    return rows[np.linspace(0, len(rows) - 1, min(number, len(rows))).round().astype(np.int64)]


@HOOKS.register_module()
class ProbeHook(Hook):
    """Classify validation frames from the frozen backbone's features, by kNN and linearly.

    The labels are used for the measurement only, not for the training. The features are the maps of
    the backbone, averaged over space. Macro-F1 (in %) is computed as in the challenge, on a sample
    of the frames. The sample is the same in each probe and on any number of processes, but the
    score is not that of a full validation. It is logged at the start (for random weights), every
    ``interval`` steps and at the end, and stored as ``probe/knn_macro_f1``,
    ``probe/knn_f1_Neutral``, ..., ``probe/linear_macro_f1``, ... with the losses.

    Args:
        dataset (dict): Config of an ``AffWild2Dataset`` without ``ann_file``.
        train_ann_file (str): Annotations of the frames that the classifiers learn from.
        val_ann_file (str): Annotations of the frames to classify.
        interval (int): Steps between two probes; 0 disables the probe. Defaults to 2000.
        k (int): Number of neighbors. Defaults to 20.
        train_frames_per_class (int): Maximum number of training frames per class, so that frequent
            classes do not outvote rare ones. Defaults to 500.
        val_frames (int): Maximum number of validation frames. Defaults to 8000.
        batch_size (int): Frames per process and batch. Defaults to 128.
        num_workers (int): Workers of the data loader. Defaults to 2.

    Raises:
        MissingFileError: If the folder of labelled frames does not exist.
    """

    @check_arguments(
        'custom_hooks[...]',
        interval=at_least(0),
        k=at_least(1),
        train_frames_per_class=at_least(1),
        val_frames=at_least(1),
        batch_size=at_least(1),
        num_workers=between(0, 1024),
    )
    def __init__(
        self,
        dataset: dict,
        train_ann_file: str,
        val_ann_file: str,
        interval: int = 2000,
        k: int = 20,
        train_frames_per_class: int = 500,
        val_frames: int = 8000,
        batch_size: int = 128,
        num_workers: int = 2,
    ) -> None:
        self.dataset = dataset
        self.train_ann_file = train_ann_file
        self.val_ann_file = val_ann_file
        self.interval = interval
        self.k = k
        self.train_frames_per_class = train_frames_per_class
        self.val_frames = val_frames
        self.batch_size = batch_size
        self.num_workers = num_workers

    def before_train(self, runner: Runner) -> None:
        """Choose the frames, and probe the initial weights."""
        if self.interval <= 0:
            return
        self._check_data_root()
        train, val = (
            DATASETS.build(dict(self.dataset, ann_file=ann_file, test_mode=True))
            for ann_file in (self.train_ann_file, self.val_ann_file)
        )
        train_labels, val_labels = train.get_gt_labels(), val.get_gt_labels()
        train_rows = choose_rows(train_labels, self.train_frames_per_class)
        val_rows = _space_evenly(np.arange(len(val)), self.val_frames)
        self._frames = [(train, train_rows), (val, val_rows)]
        self._labels = [train_labels[train_rows], val_labels[val_rows]]
        if runner.iter == 0:
            self.probe(runner, 0)

    def _check_data_root(self) -> None:
        root = os.path.expanduser(self.dataset.get('data_root', ''))
        if not os.path.isdir(root):
            raise MissingFileError(
                f'default_hooks.probe.dataset.data_root: got no folder {root!r}, expected labelled '
                'frames as in README.md; correct it, or set default_hooks.probe.interval=0 (or '
                '--no-validate) to train without a probe'
            )

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Probe every ``interval`` steps and at the end."""
        if self.interval > 0 and (
            self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)
        ):
            self.probe(runner, runner.iter + 1)

    def probe(self, runner: Runner, step: int) -> dict[str, float]:
        """Score the current backbone, log the scores and return them."""
        model = unwrap_model(runner.model)
        number = sum(len(rows) for _, rows in self._frames)
        print_log(f'ProbeHook, step {step}: features of {number} frames', logger='current')
        train, val = (self._extract(model, *frames) for frames in self._frames)
        train_labels, val_labels = self._labels
        predictions = dict(
            knn=knn_predict(train, train_labels, val, self.k, len(EXPRESSIONS)),
            linear=linear_predict(train, train_labels, val),
        )
        scores = {}
        for kind, predicted in predictions.items():
            f1, _ = f1_per_class(predicted, val_labels, len(EXPRESSIONS))
            scores[f'probe/{kind}_macro_f1'] = 100 * float(f1.mean())
            for name, value in zip(EXPRESSIONS, f1, strict=True):
                scores[f'probe/{kind}_f1_{name}'] = 100 * float(value)
        runner.visualizer.add_scalars(scores, step=step)
        for kind in predictions:
            per_class = ', '.join(
                f'{name} {scores[f"probe/{kind}_f1_{name}"]:.1f}' for name in EXPRESSIONS
            )
            print_log(
                f'ProbeHook, step {step}, {kind}: macro-F1 {scores[f"probe/{kind}_macro_f1"]:.2f} '
                f'of {len(val)} validation frames from {len(train)} training frames ({per_class})',
                logger='current',
            )
        return scores

    @torch.no_grad()
    def _extract(self, model: Any, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
        """Extract the features of some rows, (F, D) float32, sharded over processes."""
        rank, world_size = get_dist_info()
        loader = DataLoader(
            Subset(dataset, rows[rank::world_size].tolist()),
            self.batch_size,
            num_workers=self.num_workers,
            collate_fn=default_collate,
            generator=torch.Generator(),  # the random state of the training is not changed
        )
        was_training = model.training
        model.eval()
        batches = []
        with show_progress('ProbeHook, batches of frames') as update:
            for batch in loader:
                maps = model.extract_feat(model.data_preprocessor(batch, training=False)['inputs'])
                batches.append(maps[-1].float().flatten(2).mean(2).cpu())
                update(len(batches), len(loader))
        model.train(was_training)
        shard = torch.cat(batches).numpy() if batches else np.empty((0, 0), np.float32)
        shards = [shard for shard in all_gather_object(shard) if len(shard)]
        features = np.empty((len(rows), shards[0].shape[1]), np.float32)
        for rank, shard in enumerate(shards):
            features[rank::world_size] = shard
        return features
