"""Every frame's scores in a file, with clip and frame number."""

import hashlib
import os
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.fileio import get
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from abaw_mm.evaluation.metrics.frame_metric import (
    COLUMNS,
    FrameMetric,
    FrameResults,
)
from abaw_mm.evaluation.predictions.predictions import (
    Predictions,
    writer_of,
)
from abaw_mm.files import sha256


@METRICS.register_module()
class DumpPredictions(FrameMetric):
    """Write clip, frame number, label, prediction and scores of every frame, sorted, each once.

    The file is written whole or not at all; :class:`Predictions` reads the ``.npz``.

    Args:
        out_file_path (str): ``.npz`` (arrays ``clip, frame_no, gt_label, pred_label, pred_score,
            classes, scores, sha256, config``), ``.pkl`` (a dict a frame, for mmpretrain's analysis
            tools), or ``.csv``. ``gt_label`` is -1 where labels are hidden.
        checkpoint (str, optional): Path or URL of the checkpoint, whose checksum goes into the
            file. ``tools/test.py`` gives it.
        config (str): Name of the config, for the file.
        collect_device (str): As in mmengine's ``BaseMetric``. Defaults to ``'cpu'``.

    Raises:
        ValueError: For another kind of file.
    """

    default_prefix = 'predictions'  # of no figure; mmengine asks for one

    def __init__(
        self,
        out_file_path: str,
        checkpoint: str | None = None,
        config: str = '',
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device)
        self.out_file_path = Path(out_file_path)
        writer_of(out_file_path)  # a wrong name is told now, not after the test
        self.config = config
        # Now, for a training that goes on may put another file into its place.
        self.sha256 = '' if checkpoint is None else _checksum(checkpoint)

    def compute_metrics(self, results: FrameResults) -> dict:
        """Write the file, on the first process; there are no figures."""
        if is_main_process():
            Predictions(
                results.clips,
                **{name: getattr(results, name) for name in COLUMNS},
                classes=self.class_names(results.pred_score.shape[1]),
                sha256=self.sha256,
                config=self.config,
            ).write(self.out_file_path)
            print_log(
                f'Scores of {len(results)} frames are in {self.out_file_path}', logger='current'
            )
        return {}


def _checksum(checkpoint: str) -> str:
    """SHA-256 of a file, or of what a URL gives."""
    if os.path.isfile(checkpoint):
        return sha256(checkpoint)
    return hashlib.sha256(get(checkpoint)).hexdigest()
