"""Check that a temporal model gets the kind of features that it was trained on."""

from collections.abc import Mapping
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from abaw_mm.datasets.features.clip_features import ClipFeatureDataset
from abaw_mm.engine.unwrap_model import unwrap_model
from abaw_mm.errors import InvalidTypeError, InvalidValueError
from abaw_mm.models import OnnxClassifier

META_KEY = 'features'  # in the meta of a checkpoint: the source of its training features
COMPARED = ('sha256', 'layer', 'dim', 'amp', 'pipeline', 'data_preprocessor')
NOT_COMPARED = {'format', 'config', 'data_root'}  # a name, and the data they were made from


def get_sources(dataset: ClipFeatureDataset) -> dict[str, dict]:
    """Return how the features of each stream were made, without the data they were made from."""
    if not isinstance(dataset, ClipFeatureDataset):
        raise InvalidTypeError(
            f'FeatureSourceHook: got a {type(dataset).__name__}, expected a ClipFeatureDataset '
            '(its ann_file may be several folders); remove feature_source from default_hooks for '
            'other datasets'
        )
    sources = {}
    for stream, folder in dataset.streams.items():
        names = dict.fromkeys([*COMPARED, *sorted(set(folder.meta) - NOT_COMPARED)])
        sources[stream] = {name: folder.meta.get(name) for name in names}
    return sources


def read_sources(checkpoint: dict) -> dict[str, dict] | None:
    """Return the source of the features of each stream that a checkpoint was trained on."""
    known = checkpoint.get('meta', {}).get(META_KEY)
    return {'': known} if known and 'sha256' in known else known


@HOOKS.register_module()
class FeatureSourceHook(Hook):
    """Refuse features of another network, layer or pipeline than those of the training.

    Features of the same width from another checkpoint cause no error in the model, but its
    predictions are meaningless. So the source of the features of each stream is stored in every
    checkpoint, and compared before a test and before a resumed training.

    Raises:
        InvalidValueError: If the sources or the widths differ.
    """

    def __init__(self) -> None:
        self.known: dict[str, dict] | None = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Read the source of the features that the checkpoint was trained on."""
        self.known = read_sources(checkpoint)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store the source of the training features."""
        sources = get_sources(runner.train_dataloader.dataset)
        checkpoint['meta'][META_KEY] = sources.get('', sources)

    def before_train(self, runner: Runner) -> None:
        """Compare the training set with the model, the checkpoint and the validation set."""
        dataset = runner.train_dataloader.dataset
        self._check_dataset(runner, dataset, 'train_dataloader')
        if runner.val_loop is not None:
            _compare_sources(
                get_sources(dataset),
                get_sources(runner.val_loop.dataloader.dataset),
                'train_dataloader has',
                'val_dataloader',
            )

    def before_test(self, runner: Runner) -> None:
        """Compare the test set with the model and the checkpoint."""
        model = unwrap_model(runner.model)
        if isinstance(model, OnnxClassifier):
            sources = model.network.info.sources
            is_known = all('sha256' in source for source in sources.values())
            self.known = dict(sources) if is_known else None
        self._check_dataset(runner, runner.test_loop.dataloader.dataset, 'test_dataloader')

    def _check_dataset(self, runner: Runner, dataset: Any, loader: str) -> None:
        sources = get_sources(dataset)
        model: Any = unwrap_model(runner.model)
        if not isinstance(model, OnnxClassifier):
            _check_widths(model, dataset)
        if self.known is not None:
            _compare_sources(self.known, sources, 'the checkpoint was trained on', loader)


def _check_widths(model: Any, dataset: ClipFeatureDataset) -> None:
    """Compare the widths of the streams with ``model.backbone.in_channels``."""
    expected = model.backbone.in_channels
    if not isinstance(expected, Mapping):
        expected = {'': expected}
    _check_names(set(expected), set(dataset.streams), 'model.backbone.in_channels has')
    for name, folder in dataset.streams.items():
        key = f'model.backbone.in_channels{"." if name else ""}{name}'
        if folder.dim != expected[name]:
            raise InvalidValueError(
                f'{folder.path}: got {folder.dim} features per frame (layer '
                f'{folder.meta["layer"]} of {folder.meta["config"]}), expected {expected[name]} '
                f'({key}); set {key}={folder.dim}, or feature_dir to other features'
            )


def _check_names(known: set[str], names: set[str], owner: str) -> None:
    """Raise if the streams are not those of ``known``; a single folder has the name ''."""
    if known != names:
        got, expected = (
            f'the streams {", ".join(sorted(part))}' if part != {''} else 'one folder'
            for part in (names, known)
        )
        raise InvalidValueError(
            f'feature_dir: got {got}, {owner} {expected}; set feature_dir of the datasets and '
            'model.backbone (such as GatedFusion, for two streams) to the same streams'
        )


def _compare_sources(
    known: dict[str, dict], sources: dict[str, dict], owner: str, loader: str
) -> None:
    _check_names(set(known), set(sources), owner)
    differences = [
        f'{stream}{" " if stream else ""}{name}: {owner} {known[stream].get(name)!r}, {loader} has '
        f'{source.get(name)!r}'
        for stream, source in sources.items()
        for name in dict.fromkeys([*source, *known[stream]])
        if known[stream].get(name) != source.get(name)
    ]
    if differences:
        raise InvalidValueError(
            f'FeatureSourceHook: got features of another source: {"; ".join(differences)}; set '
            f'{loader}.dataset.feature_dir to features of the same source'
        )
