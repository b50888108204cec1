"""Check that a temporal model gets the kind of features that it was trained on."""

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from abaw_mm.datasets.features.clip_features import ClipFeatureDataset
from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import InvalidTypeError, InvalidValueError

META_KEY = 'features'  # in the meta of a checkpoint: the source of its training features
COMPARED = ('sha256', 'layer', 'dim', 'amp', 'pipeline', 'data_preprocessor')


def get_source(dataset: ClipFeatureDataset) -> dict:
    """Return how the features of a dataset were made, without the data they were made from."""
    if not isinstance(dataset, ClipFeatureDataset):
        raise InvalidTypeError(
            f'FeatureSourceHook: got a {type(dataset).__name__}, expected a ClipFeatureDataset '
            '(its ann_file may be several folders); remove feature_source from default_hooks for '
            'other datasets'
        )
    return {name: dataset.features.meta.get(name) for name in COMPARED}


@HOOKS.register_module()
class FeatureSourceHook(Hook):
    """Refuse features of another network, layer or pipeline than those of the training.

    Features of the same width from another checkpoint cause no error in the model, but its
    predictions are meaningless. So the source of the features is stored in every checkpoint, and
    compared before a test and before a resumed training.

    Raises:
        InvalidValueError: If the sources or the widths differ.
    """

    def __init__(self) -> None:
        self.known: dict | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read the source of the features that the checkpoint was trained on."""
        self.known = checkpoint.get('meta', {}).get(META_KEY)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store the source of the training features."""
        checkpoint['meta'][META_KEY] = get_source(runner.train_dataloader.dataset)

    def before_train(self, runner: Runner) -> None:
        """Compare the training set with the model, the checkpoint and the validation set."""
        dataset = runner.train_dataloader.dataset
        self._check_dataset(runner, dataset, 'train_dataloader')
        if runner.val_loop is not None:
            _compare_sources(
                get_source(dataset),
                get_source(runner.val_loop.dataloader.dataset),
                'train_dataloader has',
                'val_dataloader',
            )

    def before_test(self, runner: Runner) -> None:
        """Compare the test set with the model and the checkpoint."""
        self._check_dataset(runner, runner.test_loop.dataloader.dataset, 'test_dataloader')

    def _check_dataset(self, runner: Runner, dataset: Any, loader: str) -> None:
        source = get_source(dataset)
        _check_width(unwrap_model(runner.model), dataset)
        if self.known is not None:
            _compare_sources(self.known, source, 'the checkpoint was trained on', loader)


def _check_width(model: Any, dataset: ClipFeatureDataset) -> None:
    features = dataset.features
    expected = model.backbone.in_channels
    if features.dim != expected:
        raise InvalidValueError(
            f'{features.path}: got {features.dim} features per frame (layer '
            f'{features.meta["layer"]} of {features.meta["config"]}), expected {expected} '
            f'(model.backbone.in_channels); set model.backbone.in_channels={features.dim}, or '
            'feature_dir to other features'
        )


def _compare_sources(known: dict, source: dict, owner: str, loader: str) -> None:
    differences = [
        f'{name}: {owner} {known.get(name)!r}, {loader} has {source[name]!r}'
        for name in COMPARED
        if known.get(name) != source[name]
    ]
    if differences:
        raise InvalidValueError(
            f'FeatureSourceHook: got features of another source: {"; ".join(differences)}; set '
            f'{loader}.dataset.feature_dir to features of the same source'
        )
