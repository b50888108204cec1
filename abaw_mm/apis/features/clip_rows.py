"""Find the crops of each clip of a config."""

from collections.abc import Sequence

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from abaw_mm.datasets.all_crops import AllCropsDataset
from abaw_mm.errors import InvalidValueError

SPLITS = ('train', 'val', 'test')

ClipRows = dict[str, tuple[AllCropsDataset, range]]  # clip to its dataset and its rows there


def check_loaders(cfg: Config) -> None:
    """Raise ValueError unless all data loaders of a config read crops of clips."""
    if cfg.get('test_dataloader') is None:
        raise InvalidValueError(
            f'{cfg.filename}: got a config without test_dataloader, expected the config of a '
            'classifier, such as configs/res50_srp_affwild2.py; its backbone accepts weights of '
            'pre-training'
        )
    for name in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        kind = cfg[name].dataset.type
        if kind != 'AffWild2Dataset':
            raise InvalidValueError(
                f'{cfg.filename}: got a {kind} in {name}, expected an AffWild2Dataset, which has '
                'one folder of crops per clip'
            )


def find_rows(cfg: Config, splits: Sequence[str], pipeline: Sequence | None = None) -> ClipRows:
    """Find the crops of each clip. A clip in two splits is taken from the first.

    Args:
        cfg (Config): A config that :func:`check_loaders` accepts.
        splits (Sequence[str]): Data loaders whose clips to find.
        pipeline (Sequence, optional): Defaults to the test pipeline.

    Raises:
        FileNotFoundError: If annotations or crops do not exist.
    """
    if pipeline is None:
        pipeline = cfg.test_dataloader.dataset.pipeline
    rows: ClipRows = {}
    for split in splits:
        options = dict(cfg[f'{split}_dataloader'].dataset)
        options.pop('indices', None)  # features are stored for whole clips
        options.update(type='AllCropsDataset', pipeline=pipeline, test_mode=True)
        with DefaultScope.overwrite_default_scope('mmpretrain'):
            dataset = DATASETS.build(options)
        frames = dataset.frames
        for clip_id, clip in enumerate(frames.clips):
            rows.setdefault(clip, (dataset, range(len(frames))[frames.rows_of(clip_id)]))
    return rows
