"""Does pre-training learn expressions? Simple classifiers on its frozen features tell."""

import os

import numpy as np
import torch
from mmengine.dataset import default_collate
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS, HOOKS
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from abaw_mm.datasets.annotations import EXPRESSIONS
from abaw_mm.evaluation.metrics.macro_f1 import f1_per_class
from abaw_mm.evaluation.probes import (
    knn_predict,
    linear_predict,
)


def spread_rows(labels: np.ndarray, per_class: int) -> np.ndarray:
    """Rows spread evenly over a set, at most so many of each class, sorted.

    >>> spread_rows(np.array([0, 0, 0, 0, 0, 1]), 3)
    array([0, 2, 4, 5])
    """
    rows = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.sort(np.concatenate([_spread(row, per_class) for row in rows]))


def _spread(rows: np.ndarray, number: int) -> np.ndarray:
    """``number`` of the rows, evenly spread, or all where there are fewer."""
    return rows[np.linspace(0, len(rows) - 1, min(number, len(rows))).round().astype(np.int64)]


@HOOKS.register_module()
class ProbeHook(Hook):
    """Classify validation frames from the frozen backbone's features, by kNN and linearly.

    Labels only measure here, the network is not trained with them. The features are the backbone's
    maps, averaged over space; macro-F1 (in %) is the challenge's, over a sample of the frames: the
    same at each probe and on any number of processes, but not the figure of a full validation. It
    is logged at the start (what random weights reach), at every ``interval`` and at the end, and
    kept as ``probe/knn_macro_f1``, ``probe/knn_f1_Neutral``, ..., ``probe/linear_macro_f1``, ...
    beside the losses.

    Args:
        dataset (dict): An ``AffWild2Dataset`` but for ``ann_file``.
        train_ann_file, val_ann_file (str): Annotations of the frames to compare with, and of those
            to classify.
        interval (int): Steps between two probes; 0 turns the probe off. Defaults to 2000.
        k (int): Number of neighbours. Defaults to 20.
        train_frames_per_class (int): At most so many training frames of each class, so that
            frequent classes do not outvote rare ones. Defaults to 500.
        val_frames (int): At most so many validation frames. Defaults to 8000.
        batch_size (int): Frames of a process at once. Defaults to 128.
        num_workers (int): Of the data loader. Defaults to 2.

    Raises:
        FileNotFoundError: If there is no labelled set.
    """

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
        """Choose the frames, and probe the weights that the run starts from."""
        if self.interval <= 0:
            return
        root = os.path.expanduser(self.dataset.get('data_root', ''))
        if not os.path.isdir(root):
            raise FileNotFoundError(
                f'ProbeHook: got no folder {root!r}, expected labelled frames as in README.md, by '
                'which the probe sees whether expressions are learned; set '
                'default_hooks.probe.dataset.data_root, or default_hooks.probe.interval=0 (or '
                '--no-validate) to train without a probe'
            )
        train, val = (
            DATASETS.build(dict(self.dataset, ann_file=ann_file, test_mode=True))
            for ann_file in (self.train_ann_file, self.val_ann_file)
        )
        train_labels, val_labels = train.get_gt_labels(), val.get_gt_labels()
        train_rows = spread_rows(train_labels, self.train_frames_per_class)
        val_rows = _spread(np.arange(len(val)), self.val_frames)
        self._frames = [(train, train_rows), (val, val_rows)]
        self._labels = [train_labels[train_rows], val_labels[val_rows]]
        if runner.iter == 0:
            self.probe(runner, 0)

    def after_train_iter(self, runner: Runner, *args: object, **kwargs: object) -> None:
        """Probe every so many steps and at the end."""
        if self.interval > 0 and (
            self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)
        ):
            self.probe(runner, runner.iter + 1)

    def probe(self, runner: Runner, step: int) -> dict[str, float]:
        """Score the backbone as it is; returns what is logged."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        train, val = (self._features(model, *frames) for frames in self._frames)
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
            each = ', '.join(
                f'{name} {scores[f"probe/{kind}_f1_{name}"]:.1f}' for name in EXPRESSIONS
            )
            print_log(
                f'ProbeHook, step {step}, {kind}: macro-F1 {scores[f"probe/{kind}_macro_f1"]:.2f} '
                f'of {len(val)} validation frames from {len(train)} training frames ({each})',
                logger='current',
            )
        return scores

    @torch.no_grad()
    def _features(self, model: nn.Module, dataset: Dataset, rows: np.ndarray) -> np.ndarray:
        """(F, D) float32 features of some rows; each process makes its share, all get all."""
        rank, world_size = get_dist_info()
        loader = DataLoader(
            Subset(dataset, rows[rank::world_size].tolist()),
            self.batch_size,
            num_workers=self.num_workers,
            collate_fn=default_collate,
            generator=torch.Generator(),  # training's random numbers stay as they are
        )
        training = model.training
        model.eval()
        own = []
        for batch in loader:
            maps = model.extract_feat(model.data_preprocessor(batch, training=False)['inputs'])
            own.append(maps[-1].float().flatten(2).mean(2).cpu())
        model.train(training)
        own = torch.cat(own).numpy() if own else np.empty((0, 0), np.float32)
        parts = [part for part in all_gather_object(own) if len(part)]
        features = np.empty((len(rows), parts[0].shape[1]), np.float32)
        for rank, part in enumerate(parts):
            features[rank::world_size] = part
        return features
