"""Every frame's scores in a file, with clip and frame number."""

import csv
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from mmpretrain.registry import METRICS

from ..datasets.annotations import EXPRESSIONS
from ..whole_file import whole_file
from .frame_metric import FrameMetric, FrameResults


def write_npz(path: Path, results: FrameResults, classes: list[str]) -> None:
    """Columns as arrays: ``np.load(path)['pred_score']`` is (F, C); nothing in it is pickled."""
    with open(path, 'wb') as file:
        np.savez_compressed(
            file, classes=np.array(classes), clip=results.clip, frame_no=results.frame_no,
            gt_label=results.gt_label, pred_label=results.pred_label, pred_score=results.pred_score
        )


def write_csv(path: Path, results: FrameResults, classes: list[str]) -> None:
    """A row a frame: clip, frame_no, gt_label, pred_label, then a score for each class."""
    with open(path, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow(['clip', 'frame_no', 'gt_label', 'pred_label', *classes])
        clip = results.clip
        for row in range(len(results)):
            writer.writerow([
                clip[row], results.frame_no[row], results.gt_label[row],
                results.pred_label[row], *(f'{x:.6f}' for x in results.pred_score[row])
            ])


def write_pkl(path: Path, results: FrameResults, classes: list[str]) -> None:
    """A dict a frame, as mmpretrain's tools/analysis_tools read it."""
    rows = [
        dict(
            clip=results.clips[results.clip_id[row]], frame_no=int(results.frame_no[row]),
            gt_label=torch.tensor([int(results.gt_label[row])]),
            pred_label=torch.tensor([int(results.pred_label[row])]),
            pred_score=torch.from_numpy(results.pred_score[row].copy()),
        )
        for row in range(len(results))
    ]
    path.write_bytes(pickle.dumps(rows))


WRITERS: dict[str, Callable[[Path, FrameResults, list[str]], None]] = {
    '.npz': write_npz, '.csv': write_csv, '.pkl': write_pkl, '.pickle': write_pkl
}


@METRICS.register_module()
class DumpPredictions(FrameMetric):
    """Write clip, frame number, label, prediction and scores of every frame, sorted, each once.

    The file is written whole or not at all.

    Args:
        out_file_path (str): ``.npz`` (arrays ``clip, frame_no, gt_label, pred_label, pred_score,
            classes``), ``.csv``, or ``.pkl`` (a dict a frame, for mmpretrain's analysis tools).
            ``gt_label`` is -1 where labels are hidden.
        collect_device (str): As in mmengine's ``BaseMetric``. Defaults to ``'cpu'``.

    Raises:
        ValueError: For another kind of file.
    """

    default_prefix = 'predictions'  # of no figure; mmengine asks for one

    def __init__(self, out_file_path: str, collect_device: str = 'cpu') -> None:
        super().__init__(collect_device=collect_device)
        self.out_file_path = Path(out_file_path)
        if self.out_file_path.suffix not in WRITERS:
            raise ValueError(
                f'DumpPredictions: out_file_path={out_file_path!r}, expected a file that ends in '
                f'one of {", ".join(WRITERS)}; change --out'
            )

    def compute_metrics(self, results: FrameResults) -> dict:
        """Write the file, on the first process; there are no figures."""
        if is_main_process():
            path = self.out_file_path
            classes = (self.dataset_meta or {}).get('classes', EXPRESSIONS)
            with whole_file(path) as draft:
                WRITERS[path.suffix](draft, results, list(classes))
            print_log(f'Scores of {len(results)} frames are in {path}', logger='current')
        return {}
