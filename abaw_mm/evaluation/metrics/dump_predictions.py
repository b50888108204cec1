"""Evaluator that writes the scores of every frame to a file."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from abaw_mm.checkpoints.load import get_loaded_sha256
from abaw_mm.checks import check_arguments
from abaw_mm.evaluation.metrics.frame_metric import FrameMetric
from abaw_mm.evaluation.metrics.multi_task_score import MultiTaskScore
from abaw_mm.evaluation.predictions.class_balance import ClassBalance
from abaw_mm.evaluation.predictions.file import find_writer
from abaw_mm.evaluation.predictions.predictions import Predictions
from abaw_mm.structures.frame_table import FrameTable
from abaw_mm.structures.tasks import TASKS


@METRICS.register_module()
class DumpPredictions(FrameMetric):
    """Write clip, frame number, annotation and prediction of every frame to one file.

    The columns are those of the track that the model predicts, such as ``gt_va`` and ``pred_va``.

    The file holds each frame once, sorted by clip and frame number. It is written atomically.
    :meth:`Predictions.read` reads the ``.npz``.

    Args:
        out_file_path (str): File to write: ``.npz`` (arrays ``clip, frame_no, gt_label,
            pred_label, pred_score, sample_idx, classes, scores, sha256, config, steps, balance``),
            ``.pkl`` (one dict per frame, for mmpretrain's analysis tools) or ``.csv``.
            ``gt_label`` is -1 where labels are hidden. Other tracks have ``gt_va, pred_va`` and
            ``gt_au, pred_au``, the multi-task track all of them.
        checkpoint (str, optional): Path or URL of the checkpoint. The SHA-256 of what was loaded
            from it is stored in the file. ``tools/test.py`` sets it.
        config (str): Name of the config, stored in the file.
        balance (ClassBalance, optional): How the training balanced the classes, stored in the file.
        sha256 (str): SHA-256 to store instead if there is no checkpoint. Defaults to ``''``.
        collect_device (str): See mmengine's ``BaseMetric``. Defaults to ``'cpu'``.

    Raises:
        ValueError: If the file has another suffix.
    """

    default_prefix = 'predictions'  # required by mmengine; there are no metrics to prefix
    numbers = ('sample_idx',)

    @check_arguments('test_evaluator')
    def __init__(
        self,
        out_file_path: str,
        checkpoint: str | None = None,
        config: str = '',
        balance: ClassBalance | None = None,
        sha256: str = '',
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device)
        self.out_file_path = Path(out_file_path)
        find_writer(out_file_path)  # fail before the test rather than after it
        self.config, self.balance = config, balance
        self.checkpoint, self.sha256 = checkpoint, sha256

    def process(self, data_batch: object, data_samples: Sequence[dict]) -> None:
        """Store the results of a batch; the first one decides on the columns.

        Args:
            data_batch: Not used.
            data_samples: As in ``FrameMetric``.

        Raises:
            ValueError: As in ``FrameMetric``.
        """
        if data_samples and not self.results:
            predicted = [t for t in TASKS['mtl'] if t.prediction in data_samples[0]]
            if predicted:  # otherwise the parent class names what is missing
                every = MultiTaskScore.targets
                self.outputs = tuple(target.prediction for target in predicted)
                self.targets = {t.ground_truth: every[t.ground_truth] for t in predicted}
        super().process(data_batch, data_samples)

    def compute_metrics(self, frames: FrameTable) -> dict:
        """Write the file on the main process; return no metrics."""
        if is_main_process():
            columns = dict(frames.columns)
            scores = columns.get('pred_score')
            names = {} if scores is None else dict(classes=self.class_names(scores.shape[1]))
            rows = columns['sample_idx']
            if rows.min() < 0 or len(np.unique(rows)) < len(rows):
                del columns['sample_idx']  # the parts of a ConcatDataset count by themselves
            sha256 = self.sha256
            if self.checkpoint is not None:
                sha256 = get_loaded_sha256(self.checkpoint)
            Predictions(
                frames.clips,
                frames.clip_id,
                frames.frame_no,
                columns,
                **names,
                sha256=sha256,
                config=self.config,
                balance=self.balance,
            ).write(self.out_file_path)
            print_log(
                f'Wrote the scores of {len(frames)} frames to {self.out_file_path}',
                logger='current',
            )
        return {}
