"""Export the network of a config and checkpoint to ONNX."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import default_collate
from mmengine.logging import print_log
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS
from torch import nn
from torch.export import Dim

from abaw_mm.apis.config import load_config
from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.apis.deploy.quantize import quantize
from abaw_mm.apis.deploy.read_crops import read_crops, read_test_crops, take_evenly
from abaw_mm.apis.deploy.read_preprocessing import is_of_frames, read_preprocessing
from abaw_mm.apis.deploy.write_metadata import write_metadata
from abaw_mm.apis.inference.crop_scorer import CropScorer
from abaw_mm.apis.load_classifier import get_task, load_classifier, name_classes
from abaw_mm.apis.test import test
from abaw_mm.checkpoints.load import (
    check_checkpoint_path,
    get_loaded_sha256,
    load_checkpoint_file,
)
from abaw_mm.engine.hooks.feature_source_hook import read_sources
from abaw_mm.errors import InvalidValueError, MissingPackageError, UserError
from abaw_mm.files import atomic_write, check_folder, summarize
from abaw_mm.models import OnnxClassifier
from abaw_mm.models.deploy.exported_networks import ExportedFrameNetwork, ExportedWindowNetwork
from abaw_mm.models.deploy.onnx_network import CROPS, FEATURES, SEEN, NetworkInfo, name_input
from abaw_mm.structures.tasks import TASKS, get_targets
from abaw_mm.video.face_template import ARCFACE

SIZE = ARCFACE.size  # side of the crops, in pixels
WINDOW = 40  # frames of the example of a window, any number
COMPARED, COMPARED_WINDOWS, CALIBRATED = 64, 4, 256
BATCH = 16
TOLERANCE = 1e-5  # of probabilities in float32
OPSET = 18
MAIN_METRICS = dict(
    expr='affwild2/macro_f1', va='affwild2/ccc', au='affwild2/mean_f1', mtl='affwild2/p_score'
)


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        info (NetworkInfo): Description of the network.
        difference (float): Largest difference of a prediction from the checkpoint's in float32,
            before any quantisation.
        compared (str): What was compared, such as ``'64 crops'``.
        size (int): Bytes of the file.
        scores (dict): Metrics of the config's labelled test set for ``'float32'`` and ``'int8'``,
            if the network was quantised; None where there is no such set.
    """

    info: NetworkInfo
    difference: float
    compared: str
    size: int
    scores: dict[str, dict[str, float] | None]


def export_onnx(
    config: str,
    checkpoint: str,
    out: str,
    faces: str | None = None,
    int8: bool = False,
    calibration: str | None = None,
    cfg_options: dict | None = None,
) -> Exported:
    """Export a classifier to an ONNX file, as ``tools/export_onnx.py`` does.

    A network of frames takes ``crops`` (N, 112, 112, 3) uint8 RGB. Resizing and normalisation are
    inside, with the pixels of the config's test pipeline. A network of windows takes ``features``
    (N, W, D) float32 and ``seen`` (N, W) bool; of several streams ``features_<name>`` and
    ``seen_<name>``. N and W are free. Outputs are the columns of the track: ``pred_score``
    probabilities, ``pred_va``, ``pred_au``. See :class:`NetworkInfo` for the metadata.

    The file is written only if onnxruntime gives the predictions of the checkpoint in float32.

    Args:
        config (str): Path of the config of a classifier.
        checkpoint (str): Path or URL of its checkpoint. It is read as data.
        out (str): File to write (.onnx).
        faces (str, optional): Folder of crops for the comparison. Defaults to frames of the test
            set of the config. A network of windows is compared on windows of the test set.
        int8 (bool): Whether to quantise weights and activations to 8 bits, see :func:`quantize`.
        calibration (str, optional): Folder of crops from which the ranges of the activations are
            measured. ``int8`` needs it.
        cfg_options (dict, optional): Overrides of the config.

    Raises:
        MissingPackageError: If a package of ``abaw_mm[onnx]`` is not installed.
        MissingFileError: If the config, the checkpoint or the crops do not exist.
        InvalidValueError: If the checkpoint does not fit, the test pipeline cannot be exported, or
            the predictions differ by more than 1e-5.
    """
    _check_arguments(out, int8, calibration)
    cfg = load_config(config, cfg_options=cfg_options)
    check_checkpoint_path(checkpoint, 'CHECKPOINT')
    check_folder(Path(out).parent, 'OUT')
    cfg.efficient_conv_bn_eval = None  # onnxruntime fuses BN once and for all
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        job = (
            _prepare_frames(cfg, checkpoint, faces)
            if is_of_frames(cfg)
            else _prepare_windows(cfg, checkpoint, faces, int8)
        )
        with atomic_write(out) as draft:
            _write(job, draft)
            difference = _compare(job, draft, checkpoint)
            scores = {}
            if int8:
                scores['float32'] = _score(config, draft, cfg_options)
                quantize(draft, read_crops(str(calibration), SIZE, CALIBRATED, '--calibration'))
                write_metadata(draft, replace(job.info, precision='int8'))
                scores['int8'] = _score(config, draft, cfg_options)
    info = replace(job.info, precision='int8') if int8 else job.info
    return Exported(info, difference, job.compared, Path(out).stat().st_size, scores)


@dataclass(frozen=True)
class _Job:
    """A classifier to export.

    Attributes:
        info (NetworkInfo): Description of the network.
        network (nn.Module): The module to export.
        example (dict): Its inputs, by name.
        free (dict[int, str]): Axes of the inputs that may have any length, and their names.
        compared (str): What ``score`` scores.
        score (Callable): Scores faces with the checkpoint, or with an exported network if its file
            is given.
    """

    info: NetworkInfo
    network: nn.Module
    example: dict[str, torch.Tensor]
    free: dict[int, str]
    compared: str
    score: Callable[[str | None], dict[str, np.ndarray]]


def _prepare_frames(cfg: Config, checkpoint: str, faces: str | None) -> _Job:
    preprocessing = read_preprocessing(cfg, SIZE)
    scorer = CropScorer(cfg, checkpoint, 'cpu')
    scorer.model.mixed_precision = False
    if faces is None:
        crops = read_test_crops(cfg, SIZE, COMPARED)
    else:
        crops = read_crops(faces, SIZE, COMPARED, '--faces')

    def score(path: str | None) -> dict[str, np.ndarray]:
        one = scorer if path is None else CropScorer(cfg, None, 'cpu', onnx=path)
        batches = np.array_split(crops, -(-len(crops) // BATCH))
        return one.split(np.concatenate([one(batch) for batch in batches]))

    return _Job(
        NetworkInfo(
            scorer.task, scorer.classes, scorer.sha256, scorer.config, preprocessing=preprocessing
        ),
        ExportedFrameNetwork(scorer.model, preprocessing, list(scorer.widths)),
        {CROPS: torch.zeros(2, SIZE, SIZE, 3, dtype=torch.uint8)},
        {0: 'N'},
        f'{len(crops)} crops',
        score,
    )


def _prepare_windows(cfg: Config, checkpoint: str, faces: str | None, int8: bool) -> _Job:
    for option, is_given in ('--faces', faces is not None), ('--int8', int8):
        if is_given:
            raise InvalidValueError(
                f'{option}: got {cfg.filename}, the config of a model over features, expected one '
                'over crops; leave it out'
            )
    model = load_classifier(cfg, checkpoint, 'cpu', tuple(TASKS))
    with convert_config_errors(cfg.filename):
        dataset = DATASETS.build(cfg.test_dataloader.dataset)
    rows = take_evenly(len(dataset), COMPARED_WINDOWS)
    batch = default_collate([dataset[row] for row in rows])
    outputs = [target.prediction for target in get_targets(get_task(model))]

    @torch.inference_mode()
    def score(path: str | None) -> dict[str, np.ndarray]:
        one = model if path is None else OnnxClassifier(path)
        (found,) = one.predict(**one.data_preprocessor(batch))
        return {name: found.get(name).numpy() for name in outputs}

    known = read_sources(load_checkpoint_file(checkpoint)) or {}
    info = NetworkInfo(
        get_task(model),
        tuple(name_classes(cfg, getattr(model.head, 'num_classes', 0))),
        get_loaded_sha256(checkpoint),
        Path(cfg.filename).stem,
        sources={n: dict(known.get(n, {}), dim=f.dim) for n, f in dataset.streams.items()},
    )
    example = {}
    for name, folder in dataset.streams.items():
        example[name_input(FEATURES, name)] = torch.zeros(2, WINDOW, folder.dim)
        example[name_input(SEEN, name)] = torch.ones(2, WINDOW, dtype=torch.bool)
    network = ExportedWindowNetwork(model, outputs, list(dataset.streams))
    return _Job(info, network, example, {0: 'N', 1: 'W'}, f'{len(rows)} windows', score)


def _write(job: _Job, path: Path) -> None:
    """Write an ONNX file with float32 weights."""
    names = list(job.example)
    axes = {axis: Dim(name) for axis, name in job.free.items()}
    try:
        with _quiet_export():
            program: Any = torch.onnx.export(
                job.network.eval(),
                tuple(job.example.values()),
                dynamo=True,
                input_names=names,
                output_names=[t.prediction for t in get_targets(job.info.task)],
                dynamic_shapes=(axes,)
                if len(names) == 1
                else (tuple(axes for _ in names),),  # *inputs
                opset_version=OPSET,
            )
    except ImportError as error:
        raise MissingPackageError(
            f'{error.name or "onnxscript"} cannot be imported ({error}), expected it for the '
            'export; run pip install abaw_mm[onnx]'
        ) from error
    except (torch.onnx.OnnxExporterError, NotImplementedError) as error:
        raise InvalidValueError(
            f'{job.info.config}: got a network that torch cannot export to ONNX '
            f'({summarize(error)}), expected another; see docs/onnx.md for those that were tried'
        ) from error
    _check_axes(job, program)
    program.save(path, external_data=False)
    write_metadata(path, job.info)


def _check_axes(job: _Job, program: Any) -> None:
    """Check that what may have any length has not become a constant."""
    for tensor in program.model.graph.inputs:
        for axis, name in job.free.items():
            if isinstance(tensor.shape[axis], int):
                raise InvalidValueError(
                    f'{job.info.config}: got a network that torch exports with a fixed {name} of '
                    f'{tensor.shape[axis]}, expected any {name}; where its code takes len() of a '
                    'tensor, use shape[0]'
                )


def _compare(job: _Job, path: Path, checkpoint: str) -> float:
    """Return the largest difference of predictions of an exported network and its checkpoint."""
    expected, found = job.score(None), job.score(str(path))
    difference = max(float(np.abs(expected[name] - found[name]).max()) for name in expected)
    if not difference <= TOLERANCE:  # NaN is not either
        raise InvalidValueError(
            f'OUT: got predictions of {job.compared} that differ from those of {checkpoint} by '
            f'{difference:.1e}, expected at most {TOLERANCE:.0e}; no file was written'
        )
    return difference


def _score(config: str, path: Path, cfg_options: dict | None) -> dict[str, float] | None:
    """Score an exported network on the labelled frames of the config's test set, if it has any."""
    with tempfile.TemporaryDirectory() as work_dir:
        try:
            return test(config, work_dir=work_dir, cfg_options=cfg_options, onnx=str(path))
        except UserError as error:
            print_log(f'The test set was not scored: {error}', logger='current')
            return None


@contextmanager
def _quiet_export() -> Iterator[None]:
    """Hide what torch's exporter reports of operators of other packages and of its own work."""
    logger = logging.getLogger('torch.onnx')
    level = logger.level
    logger.setLevel(logging.ERROR)
    mha = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a fused operator that ONNX does not have
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logger.setLevel(level)
        torch.backends.mha.set_fastpath_enabled(mha)


def _check_arguments(out: str, int8: bool, calibration: str | None) -> None:
    if not out.endswith('.onnx'):
        raise InvalidValueError(f'OUT: got {out!r}, expected a file that ends in .onnx; rename it')
    if int8 != (calibration is not None):
        raise InvalidValueError(
            '--int8, --calibration: got only one of them, expected both: a folder of crops of '
            'faces from which the ranges of the activations are measured; give both or neither'
        )
