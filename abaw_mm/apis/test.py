"""Score a checkpoint."""

from pathlib import Path

import mmengine
from mmengine.config import Config, ConfigDict
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import PrepareTTAHook
from mmengine.runner import Runner

from abaw_mm import compat
from abaw_mm.apis.config import (
    load_config,
    set_loader_flags,
)
from abaw_mm.checkpoints.load import check_checkpoint_path
from abaw_mm.evaluation import DumpPredictions
from abaw_mm.files import atomic_write
from abaw_mm.structures import uses_frame_batches

OUT_ITEMS = ('metrics', 'pred')
METRIC_FILES = ('.json', '.yaml', '.yml', '.pkl')


def test(
    config: str,
    checkpoint: str,
    work_dir: str | None = None,
    out: str | None = None,
    out_item: str = 'pred',
    amp: bool = False,
    tta: bool = False,
    show_dir: str | None = None,
    show: bool = False,
    interval: int = 1,
    wait_time: float = 2,
    pin_memory: bool = True,
    cfg_options: dict | None = None,
    launcher: str = 'none',
) -> dict:
    """Score a checkpoint on the test set of a config as ``tools/test.py`` does.

    Args:
        config (str): Path of the config.
        checkpoint (str): Path or URL of the checkpoint.
        work_dir (str, optional): Where the log goes, see :func:`load_config`.
        out (str, optional): File for every frame's scores (.npz, .csv, .pkl), or for the metrics
            (.json, .yaml, .pkl).
        out_item (str): What goes to ``out``: ``'pred'`` or ``'metrics'``.
        amp (bool): Automatic mixed precision: fp16 with CUDA, bf16 on the CPU.
        tta (bool): Test-time augmentation: the mean of a frame's and its mirror image's scores, or
            what ``tta_model`` and ``tta_pipeline`` of the config say.
        show_dir (str, optional): Folder for pictures of the predictions.
        show (bool): Whether to show the pictures in a window.
        interval (int): A picture every so many frames.
        wait_time (float): Seconds that a window stays.
        pin_memory (bool): Of the data loader.
        cfg_options (dict, optional): Overrides of the config.
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.

    Returns:
        dict: The metrics, such as ``affwild2/macro_f1`` in %.

    Raises:
        FileNotFoundError: If the config or the checkpoint is not there.
        ValueError: If the checkpoint does not fit the model, or the config lacks what was asked.
    """
    cfg = load_config(config, launcher, work_dir, cfg_options)
    check_checkpoint_path(checkpoint, 'CHECKPOINT')
    cfg.load_from, cfg.resume = checkpoint, False
    if amp:
        cfg.test_cfg.fp16 = True
    if show or show_dir is not None:
        cfg.default_hooks.visualization = dict(
            type='VisualizationHook',
            enable=True,
            show=show,
            out_dir=show_dir,
            interval=interval,
            wait_time=wait_time,
        )
    if tta or show or show_dir is not None:
        if cfg.test_dataloader.dataset.type == 'ClipFeatureDataset':
            raise ValueError(
                f'--tta, --show, --show-dir: {config} is of a model over features, expected one '
                'over images; leave them out'
            )
        if {'dataset', 'datasets'} & set(cfg.test_dataloader.dataset):
            raise ValueError(
                f'--tta, --show, --show-dir: got a {cfg.test_dataloader.dataset.type} as test set '
                f'of {config}, expected one dataset with a pipeline; score its parts one by one'
            )
        use_plain_pipeline(cfg)
    if tta:
        pipeline = cfg.test_dataloader.dataset.pipeline
        # as mmpretrain's tool: a frame and its mirror image, unless the config says otherwise
        cfg.setdefault('tta_model', dict(type='AverageClsScoreTTA'))
        flips = [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)]
        mirrored = dict(type='TestTimeAug', transforms=[flips, [pipeline[-1]]])
        cfg.test_dataloader.dataset.pipeline = cfg.get('tta_pipeline', [*pipeline[:-1], mirrored])
    if out is not None and out_item not in OUT_ITEMS:
        raise ValueError(f"--out-item: got {out_item!r}, expected 'metrics' or 'pred'")
    if out is not None and out_item == 'metrics' and not out.endswith(METRIC_FILES):
        raise ValueError(
            f'--out: got {out!r}, expected a file for metrics that ends in one of '
            f'{", ".join(METRIC_FILES)}; change --out'
        )
    dump = None
    if out is not None and out_item == 'pred':
        dump = DumpPredictions(out, checkpoint, Path(config).stem)
    set_loader_flags(cfg, pin_memory, persistent_workers=True)
    # The training half is not needed; its data need not be there.
    for name in (
        'train_cfg',
        'train_dataloader',
        'optim_wrapper',
        'param_scheduler',
        'val_cfg',
        'val_dataloader',
        'val_evaluator',
    ):
        cfg[name] = None
    cfg = compat.adapt_cfg_to_cpu(cfg, launcher)
    runner = Runner.from_cfg(cfg)
    if tta:
        # wraps the model after the checkpoint has filled it
        runner.register_hook(PrepareTTAHook(tta_cfg=ConfigDict(cfg.tta_model)))
    if dump is not None:
        runner.test_evaluator.metrics.append(dump)
    metrics = runner.test()
    if out is not None and out_item == 'metrics' and is_main_process():
        with atomic_write(out) as draft:
            mmengine.dump(metrics, draft)
    barrier()  # a process that leaves early aborts those still writing
    return metrics


def use_plain_pipeline(cfg: Config) -> None:
    """Let a test set that hands over batches as arrays hand over an object a frame.

    Pictures and test-time augmentation need one. What ``FrameDataPreprocessor`` does to a batch,
    mmpretrain's transforms and data preprocessor then do to each frame, with the same result.

    Args:
        cfg (Config): Changed in place; left as it is if it hands over objects.
    """
    if not uses_frame_batches(cfg.test_dataloader):
        return
    made = cfg.data_preprocessor
    cfg.test_dataloader.collate_fn = dict(type='default_collate')
    cfg.test_dataloader.dataset.pipeline += [
        dict(type='ResizeEdge', scale=made.get('resize_edge', 256), edge='short'),
        dict(type='CenterCrop', crop_size=made.get('crop_size', 224)),
        dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'clip', 'frame_no')),
    ]
    cfg.data_preprocessor = dict(
        num_classes=cfg.model.head.num_classes,
        mean=made.mean,
        std=made.std,
        to_rgb=made.get('to_rgb', True),
    )
