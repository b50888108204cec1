"""Put an exported network in the place of a config's model."""

from collections.abc import Iterable
from typing import Any

from mmengine.config import Config

from abaw_mm.apis.deploy.read_preprocessing import is_of_frames, read_preprocessing
from abaw_mm.apis.load_classifier import get_classes
from abaw_mm.errors import InvalidValueError
from abaw_mm.models.deploy.onnx_network import NetworkInfo, OnnxNetwork


def check_source(checkpoint: str | None, onnx: str | None) -> None:
    """Check that a network is given, and not two.

    Raises:
        InvalidValueError: If it is not.
    """
    if (checkpoint is None) == (onnx is None):
        got = 'neither' if onnx is None else f'both {checkpoint!r} and {onnx!r}'
        raise InvalidValueError(
            f'CHECKPOINT, --onnx: got {got}, expected a checkpoint or an exported network; give '
            'one of them'
        )


def use_onnx(cfg: Config, path: str, overrides: Iterable[str] = ()) -> NetworkInfo:
    """Make a config test an exported network instead of a checkpoint.

    Args:
        cfg (Config): Config, changed in place: model, preprocessing and the test set's pipeline.
        path (str): The ONNX file.
        overrides (Iterable[str]): Keys of ``--cfg-options``.

    Returns:
        NetworkInfo: Description of the network.

    Raises:
        MissingPackageError: If onnxruntime is not installed.
        MissingFileError: If there is no such file.
        InvalidValueError: If the file is not one of this package, or its network is not one of this
            config.
    """
    info = OnnxNetwork(path).info
    check_network(info, path, cfg, overrides)
    cfg.model = dict(type='OnnxClassifier', path=path)
    cfg.efficient_conv_bn_eval = None
    if info.preprocessing is not None:
        cfg.data_preprocessor = None  # that of OnnxClassifier
        cfg.test_dataloader.collate_fn = dict(type='collate_frames')
        cfg.test_dataloader.dataset.pipeline = cfg.test_dataloader.dataset.pipeline[:1]
    return info


def check_network(info: NetworkInfo, path: str, cfg: Config, overrides: Iterable[str] = ()) -> None:
    """Compare an exported network with a config.

    Args:
        info (NetworkInfo): Description of the network.
        path (str): Its file, for the message.
        cfg (Config): The config.
        overrides (Iterable[str]): Keys of ``--cfg-options``.

    Raises:
        InvalidValueError: If kind, track, classes or preprocessing differ, or an override is one of
            the model.
    """
    for key in overrides:
        if key.split('.')[0] == 'model':
            raise InvalidValueError(
                f'--cfg-options {key}=...: the model of the config has no effect with --onnx; '
                'leave it out'
            )
    loader = cfg.get('test_dataloader') or {}
    dataset = loader.get('dataset') or {}
    kinds = {True: 'single frames', False: 'windows of features'}
    found: dict[str, tuple[Any, Any]] = {
        'inputs': (kinds[info.preprocessing is not None], kinds[is_of_frames(cfg)]),
        'track': (info.task, dataset.get('task', 'expr')),
    }
    if info.classes:  # the other tracks have none
        names = (dataset and get_classes(loader)) or info.classes
        found['classes'] = info.classes, tuple(names)
    if info.preprocessing is not None and found['inputs'][0] == found['inputs'][1]:
        wanted = read_preprocessing(cfg, info.preprocessing.size)
        found['preprocessing'] = info.preprocessing, wanted
    for what, (got, expected) in found.items():
        if got != expected:
            raise InvalidValueError(
                f'--onnx: got {path} with the {what} {got} (exported from {info.config}), expected '
                f'{expected} of {cfg.filename}; give the config of the network, or export again'
            )
