"""Build the classifier of a config and load a checkpoint into it, without a Runner."""

import copy
from collections.abc import Mapping, Sequence

import torch
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import DATASETS, MODELS

from abaw_mm.apis.config_errors import convert_config_errors
from abaw_mm.checkpoints.checks.classes import match_classes
from abaw_mm.checkpoints.fit import check_fit
from abaw_mm.checkpoints.load import load_checkpoint_file, unwrap_state_dict
from abaw_mm.compat.cpu import adapt_cfg_to_cpu
from abaw_mm.datasets.affwild2 import make_metainfo
from abaw_mm.errors import InvalidValueError
from abaw_mm.files import summarize
from abaw_mm.models.efficient_conv_bn import enable_efficient_conv_bn_eval
from abaw_mm.structures.tasks import EXPRESSIONS


def load_classifier(
    cfg: Config,
    checkpoint: str,
    device: str | None = None,
    tasks: Sequence[str] = ('expr',),
) -> ImageClassifier:
    """Build a config's model and load all its weights, in evaluation mode.

    Args:
        cfg (Config): Config from :func:`load_config`. It is not changed.
        checkpoint (str): Path or URL. It is read as data; nothing in it is executed.
        device (str, optional): Device, such as ``'cuda:0'``. Defaults to CUDA if available.
        tasks (Sequence[str]): Tracks that the caller can use. Defaults to ``('expr',)``.

    Raises:
        MissingFileError: If there is no such checkpoint.
        InvalidValueError: If the config has no classifier or that of another track, or the
            checkpoint does not fit it or has other classes, or there is no such device.
    """
    device = device or ('cuda' if torch.cuda.is_available() else 'cpu')
    cfg = adapt_cfg_to_cpu(copy.deepcopy(cfg), 'none')
    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    with convert_config_errors(cfg.filename):
        model = MODELS.build(cfg.model)
    head = getattr(model, 'head', None)
    is_known = hasattr(head, 'num_classes') or hasattr(head, 'task')
    if not isinstance(model, ImageClassifier) or not is_known:
        raise InvalidValueError(
            f'{cfg.filename}: got a model of type {cfg.model.type}, expected a classifier; give '
            'the config of one, such as configs/res18_srp_affwild2.py'
        )
    task = get_task(model)
    if task not in tasks:
        raise InvalidValueError(
            f'{cfg.filename}: got a model of the track {task!r}, expected '
            f'{" or ".join(map(repr, tasks))}; give the config of such a model'
        )
    fill_classifier(model, cfg, checkpoint)
    try:
        return model.eval().to(device)
    except (RuntimeError, AssertionError) as error:  # torch without CUDA asserts
        raise InvalidValueError(
            f'--device: got {device!r}, which this torch cannot use ({summarize(error)}), expected '
            "'cpu' or 'cuda:0'"
        ) from error


def get_task(model: ImageClassifier) -> str:
    """Return the track of a classifier: that of its head, ``'expr'`` for heads of mmpretrain."""
    return getattr(model.head, 'task', 'expr')


def fill_classifier(model: ImageClassifier, cfg: Config, checkpoint: str) -> None:
    """Load all weights of a config's classifier, and prepare its evaluation.

    Args:
        model (ImageClassifier): Model of the config.
        cfg (Config): Config, whose data has the expected classes.
        checkpoint (str): Path or URL.

    Raises:
        MissingFileError: If there is no such checkpoint.
        InvalidValueError: If the checkpoint does not fit the model, or has other classes.
    """
    found = load_checkpoint_file(checkpoint)
    check_fit(model, found, checkpoint)
    strict = cfg.get('default_hooks', {}).get('strict_checkpoint') or {}
    match_classes(found, _get_classes(cfg), checkpoint, strict.get('reorder_classes', False))
    # A test ignores further tensors as well.
    model.load_state_dict(unwrap_state_dict(found), strict=False)
    enable_efficient_conv_bn_eval(model, cfg)


def name_classes(cfg: Config, number: int) -> list[str]:
    """Name the classes of a model: those of the config's data, else those of Aff-Wild2.

    >>> name_classes(Config(), 9)[6:]
    ['Surprise', 'Other', '8']
    """
    names = list(_get_classes(cfg) or EXPRESSIONS)
    return [*names, *map(str, range(len(names), number))][:number]


def get_classes(loader: Mapping) -> Sequence[str] | None:
    """Return the classes of a data loader's config, without reading data; None if it has none."""
    dataset = loader.get('dataset') or {}
    declared = getattr(DATASETS.get(dataset['type']), 'METAINFO', {}) if 'type' in dataset else {}
    if 'task' in dataset:
        declared = make_metainfo(dataset['task'])
    return {**declared, **(dataset.get('metainfo') or {})}.get('classes')


def _get_classes(cfg: Config) -> Sequence[str] | None:
    return get_classes(cfg.get('val_dataloader') or cfg.get('test_dataloader') or {})
