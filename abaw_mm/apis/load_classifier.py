"""The classifier of a config with the weights of a checkpoint, without a Runner."""

import copy
import re

import torch
from mmengine.config import Config
from mmpretrain.models import ImageClassifier
from mmpretrain.registry import MODELS

from abaw_mm import compat
from abaw_mm.checkpoints.fit import check_fit
from abaw_mm.checkpoints.load import load_checkpoint_file


def load_classifier(cfg: Config, checkpoint: str) -> ImageClassifier:
    """Build a config's model and fill it wholly, in evaluation, on CUDA where there is one.

    Args:
        cfg (Config): Of :func:`load_config`; left as it is.
        checkpoint (str): Path or URL; read as data, nothing in it is run.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the config builds no classifier, or the checkpoint does not fit it; with
            the names of the tensors that differ.
    """
    cfg = compat.adapt_cfg_to_cpu(copy.deepcopy(cfg), 'none')
    if cfg.get('data_preprocessor') is not None:
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    model = MODELS.build(cfg.model)
    if not isinstance(model, ImageClassifier) or not hasattr(model.head, 'num_classes'):
        raise ValueError(
            f'{cfg.filename}: got a model of type {cfg.model.type}, expected a classifier with a '
            'head for classes, such as that of configs/res18_srp_affwild2.py; give a config of '
            'fine-tuning'
        )
    found = load_checkpoint_file(checkpoint)
    check_fit(model, found, checkpoint)
    state_dict = found.get('state_dict', found)
    model.load_state_dict(
        {
            re.sub(r'^module\.', '', key): value
            for key, value in state_dict.items()
            if isinstance(value, torch.Tensor)
        },
        strict=False,
    )  # what is beyond it, as in a test
    return model.eval().to('cuda' if torch.cuda.is_available() else 'cpu')
