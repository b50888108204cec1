"""A temporal model only knows the features that it was trained on."""

from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from abaw_mm.datasets.features.clip_features import ClipFeatureDataset

META_KEY = 'features'  # in the meta of a checkpoint: what its model was trained on
COMPARED = ('sha256', 'layer', 'dim', 'amp', 'pipeline', 'data_preprocessor')


def source_of(dataset: ClipFeatureDataset) -> dict:
    """What the features of a dataset were made by, without the data that they are of."""
    if not isinstance(dataset, ClipFeatureDataset):
        raise ValueError(
            f'FeatureSourceHook: got a {type(dataset).__name__}, expected a ClipFeatureDataset, '
            'whose ann_file may be several folders; leave feature_source out of default_hooks '
            'for other datasets'
        )
    return {name: dataset.features.meta.get(name) for name in COMPARED}


@HOOKS.register_module()
class FeatureSourceHook(Hook):
    """Refuse features of another network, layer or pipeline than the model was trained on.

    Features of the same width from another checkpoint pass through the model without an error and
    mean nothing to it. What they were made by goes into every checkpoint, and is compared before
    a test and before a training goes on.

    Raises:
        ValueError: With what differs.
    """

    def __init__(self) -> None:
        self.known = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Remember what the checkpoint was trained on."""
        self.known = checkpoint.get('meta', {}).get(META_KEY)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note what the model is trained on."""
        checkpoint['meta'][META_KEY] = source_of(runner.train_dataloader.dataset)

    def before_train(self, runner: Runner) -> None:
        """Compare width, training and validation set, and what the run starts from."""
        own = runner.train_dataloader.dataset
        source = source_of(own)
        self._check_width(runner, own)
        if self.known is not None:
            _compare(self.known, source, 'the checkpoint was trained on', 'train_dataloader')
        if runner.val_loop is not None:
            _compare(
                source,
                source_of(runner.val_loop.dataloader.dataset),
                'train_dataloader has',
                'val_dataloader',
            )

    def before_test(self, runner: Runner) -> None:
        """Compare the test set with what the checkpoint was trained on."""
        own = runner.test_loop.dataloader.dataset
        source = source_of(own)
        self._check_width(runner, own)
        if self.known is not None:
            _compare(self.known, source, 'the checkpoint was trained on', 'test_dataloader')

    @staticmethod
    def _check_width(runner: Runner, dataset: ClipFeatureDataset) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        got, expected = dataset.features.dim, model.backbone.in_channels
        if got != expected:
            raise ValueError(
                f'{dataset.features.path}: got {got} features a frame (layer '
                f'{dataset.features.meta["layer"]} of {dataset.features.meta["config"]}), '
                f'model.backbone.in_channels expects {expected}; set '
                f'model.backbone.in_channels={got}, or feature_dir to other features'
            )


def _compare(known: dict, own: dict, owner: str, loader: str) -> None:
    differs = [
        f'{name}: {owner} {known.get(name)!r}, {loader} has {own[name]!r}'
        for name in COMPARED
        if known.get(name) != own[name]
    ]
    if differs:
        raise ValueError(
            f'features: got those of another network or layer: {"; ".join(differs)}; set '
            f'{loader}.dataset.feature_dir to the features that belong together'
        )
