"""Score face crops in memory with a config and its checkpoint."""

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import FUNCTIONS, DefaultScope
from mmpretrain.registry import TRANSFORMS

from abaw_mm.apis.config import load_config
from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.apis.deploy.read_preprocessing import LOADERS
from abaw_mm.apis.deploy.use_onnx import check_source, use_onnx
from abaw_mm.apis.load_classifier import get_task, load_classifier, name_classes
from abaw_mm.checkpoints.load import check_checkpoint_path, get_loaded_sha256
from abaw_mm.errors import InvalidValueError
from abaw_mm.models import OnnxClassifier
from abaw_mm.structures import FrameBatch
from abaw_mm.structures.tasks import TASKS, get_targets


class CropScorer:
    """Score crops as ``tools/test.py`` does: the same preprocessing, network and precision.

    Args:
        config (str | Config): Path of the config of a classifier of frames, or a loaded config.
        checkpoint (str, optional): Path or URL of its checkpoint. It is read as data.
        device (str, optional): Device, such as ``'cuda:0'``. Defaults to CUDA if available; for an
            exported network to the CPU.
        cfg_options (dict, optional): Overrides of the config.
        onnx (str, optional): File of a network that was exported from the checkpoint, instead of
            the checkpoint.

    Attributes:
        task (str): Track of the network.
        widths (dict[str, int]): Name of each predicted column, such as ``pred_va``, to its number
            of values per crop.
        classes (tuple[str]): Names of the C classes, in the order of the scores; empty for the
            tracks without classes.
        sha256 (str): Checksum of the checkpoint file.
        config (str): Name of the config.
        device (str): Device of the network.

    Raises:
        MissingFileError: If the config or the checkpoint does not exist.
        InvalidValueError: If the config has no classifier of frames, or the checkpoint or the
            exported network does not fit.
    """

    def __init__(
        self,
        config: str | os.PathLike | Config,
        checkpoint: str | None,
        device: str | None = None,
        cfg_options: dict | None = None,
        onnx: str | None = None,
    ) -> None:
        check_source(checkpoint, onnx)
        cfg = config
        if not isinstance(cfg, Config):
            cfg = load_config(os.fspath(cfg), cfg_options=cfg_options)
        check_checkpoint_path(checkpoint, 'CHECKPOINT')
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            if onnx is not None:
                cfg = copy.deepcopy(cfg)
                info = use_onnx(cfg, onnx, cfg_options or ())
            with convert_config_errors(cfg.filename):
                self._pipeline, self._collate = _build_preprocessing(cfg)
            if onnx is not None:
                self.model: Any = OnnxClassifier(onnx, device).eval()
                self.task, self.classes, self.sha256 = info.task, info.classes, info.sha256
            else:
                self.model = load_classifier(cfg, str(checkpoint), device, tuple(TASKS))
                self.task = get_task(self.model)
                number = getattr(self.model.head, 'num_classes', 0)
                self.classes = tuple(name_classes(cfg, number))
                self.sha256 = get_loaded_sha256(str(checkpoint))
        self.widths = {
            target.prediction: len(self.classes) if target.is_class else len(target.names)
            for target in get_targets(self.task)
        }
        self.config = Path(cfg.filename).stem
        self.device = (device or 'cpu') if onnx else str(next(self.model.parameters()).device)

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray) -> np.ndarray:
        """Compute the predictions of crops.

        Args:
            crops (ndarray): (N, H, W, 3) uint8 RGB.

        Returns:
            ndarray: (N, K) float32, the columns of ``widths`` side by side, see :meth:`split`. For
            expressions, each row has the sum 1.
        """
        if not len(crops):
            return np.empty((0, sum(self.widths.values())), np.float32)
        batch = self._collate([self._prepare(crop, row) for row, crop in enumerate(crops)])
        batch = self.model.data_preprocessor(batch, training=False)
        samples = self.model.predict(batch['inputs'], batch['data_samples'])
        if isinstance(samples[0], FrameBatch):
            columns = [samples[0].get(name) for name in self.widths]
        else:
            columns = [torch.stack([s.get(name) for s in samples]) for name in self.widths]
        return torch.cat([column.float() for column in columns], dim=1).cpu().numpy()

    def split(self, values: np.ndarray) -> dict[str, np.ndarray]:
        """Split the predictions (N, K) of crops into columns, such as ``pred_va`` (N, 2)."""
        ends = np.cumsum(list(self.widths.values()))
        return dict(zip(self.widths, np.split(values, ends[:-1], axis=1), strict=True))

    def _prepare(self, crop: np.ndarray, row: int) -> dict:
        shape = crop.shape[:2]
        loaded = dict(
            img=crop[..., ::-1],  # BGR, as the loaders return it
            img_shape=shape,
            ori_shape=shape,
            img_path='',
            clip='',
            frame_no=row,
            sample_idx=row,
        )
        return self._pipeline(loaded)


def _build_preprocessing(cfg: Config) -> tuple[Compose, Callable]:
    """Build the test pipeline without its loader, and the function that makes batches."""
    loader = cfg.get('test_dataloader') or {}
    steps = loader.get('dataset', {}).get('pipeline') or [{}]
    if steps[0].get('type') not in LOADERS:
        raise InvalidValueError(
            f'{cfg.filename}: got a test pipeline that starts with '
            f'{steps[0].get("type", "nothing")}, expected {" or ".join(LOADERS)}: the config of a '
            'classifier of single frames, such as configs/res18_srp_112_affwild2.py'
        )
    pipeline = Compose([TRANSFORMS.build(step) for step in steps[1:]])
    collate = loader.get('collate_fn')
    return pipeline, pseudo_collate if collate is None else FUNCTIONS.get(collate['type'])
