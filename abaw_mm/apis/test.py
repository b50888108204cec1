"""Score a checkpoint on the test set of a config."""

from pathlib import Path

import mmengine
from mmengine.config import Config, ConfigDict
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import PrepareTTAHook

from abaw_mm.apis.build_runner import build_runner
from abaw_mm.apis.config import load_config, set_loader_flags
from abaw_mm.apis.deploy.use_onnx import check_source, use_onnx
from abaw_mm.checkpoints.load import check_checkpoint_path
from abaw_mm.compat.cpu import end_process_group
from abaw_mm.engine.end_workers import end_workers
from abaw_mm.engine.processes.comparison import compare_processes
from abaw_mm.engine.processes.digests import describe_files
from abaw_mm.errors import InvalidValueError
from abaw_mm.evaluation import DumpPredictions
from abaw_mm.evaluation.predictions.class_balance import ClassBalance
from abaw_mm.files import atomic_write, check_folder
from abaw_mm.models.efficient_conv_bn import enable_efficient_conv_bn_eval
from abaw_mm.structures import uses_frame_batches

OUT_ITEMS = ('metrics', 'pred')
METRIC_FILES = ('.json', '.yaml', '.yml', '.pkl')
# A test needs none of these, and the data of the other sets need not exist.
UNUSED = (
    'train_cfg',
    'train_dataloader',
    'optim_wrapper',
    'param_scheduler',
    'val_cfg',
    'val_dataloader',
    'val_evaluator',
)


@end_process_group()
def test(
    config: str,
    checkpoint: str | None = None,
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
    verbose: bool = False,
    onnx: str | None = None,
) -> dict:
    """Score a network on the test set of a config, as ``tools/test.py`` does.

    Args:
        config (str): Path of the config.
        checkpoint (str, optional): Path or URL of the checkpoint.
        work_dir (str, optional): Folder for the log, see :func:`load_config`.
        out (str, optional): File for the scores of every frame (.npz, .csv, .pkl), or for the
            metrics (.json, .yaml, .pkl).
        out_item (str): What to write to ``out``: ``'pred'`` or ``'metrics'``.
        amp (bool): Automatic mixed precision: fp16 with CUDA, bf16 on the CPU.
        tta (bool): Test-time augmentation: average the scores of each frame and its mirror image,
            or use ``tta_model`` and ``tta_pipeline`` of the config.
        show_dir (str, optional): Folder for pictures of the predictions.
        show (bool): Whether to show the pictures in a window.
        interval (int): Number of frames from one picture to the next.
        wait_time (float): Seconds that a window stays open.
        pin_memory (bool): Setting of the data loader.
        cfg_options (dict, optional): Overrides of the config.
        launcher (str): ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        verbose (bool): Whether to print the environment, the hooks and the config.
        onnx (str, optional): File of a network that was exported from the checkpoint, instead of
            the checkpoint.

    Returns:
        dict: The metrics, such as ``affwild2/macro_f1`` in %.

    Raises:
        MissingFileError: If the config or the checkpoint does not exist.
        InvalidValueError: If the checkpoint does not fit the model, the exported network is not one
            of the config, or the config has a mistake or lacks what an argument needs.
    """
    cfg = load_config(config, launcher, work_dir, cfg_options)
    check_source(checkpoint, onnx)
    check_checkpoint_path(checkpoint, 'CHECKPOINT')
    compare_processes(
        lambda: describe_files(CHECKPOINT=checkpoint), 'copy the same file to all nodes'
    )
    pictures = show or show_dir is not None
    _check_test_set(cfg, tta, pictures)
    _check_out(out, out_item)
    sha256 = ''
    if onnx is not None:
        _check_without_torch(amp, tta)
        sha256 = use_onnx(cfg, onnx, cfg_options or ()).sha256
    cfg.load_from, cfg.resume = checkpoint, False
    if amp:
        cfg.test_cfg.fp16 = True
    if pictures:
        cfg.default_hooks.visualization = dict(
            type='FrameVisualizationHook',
            show=show,
            out_dir=show_dir,
            interval=interval,
            wait_time=wait_time,
        )
    if tta:
        use_plain_pipeline(cfg)
        _augment(cfg)
    set_loader_flags(cfg, pin_memory, persistent_workers=True)
    dump = None
    if out is not None and out_item == 'pred':
        dump = DumpPredictions(
            out, checkpoint, Path(config).stem, ClassBalance.from_config(cfg), sha256
        )
    for name in UNUSED:
        cfg[name] = None
    runner = build_runner(cfg, verbose)
    enable_efficient_conv_bn_eval(runner.model, runner.cfg)
    if tta:  # the hook wraps the model once the checkpoint is loaded
        runner.register_hook(PrepareTTAHook(tta_cfg=ConfigDict(cfg.tta_model)))
    if dump is not None:
        evaluator = runner.test_evaluator
        evaluator.metrics.append(dump)
        dump.dataset_meta = evaluator.dataset_meta  # the evaluator has given it to its own metrics
    with end_workers(runner):
        metrics = runner.test()
    if out is not None and out_item == 'metrics' and is_main_process():
        with atomic_write(out) as draft:
            mmengine.dump(metrics, draft)
    barrier()  # a process that exits early would abort those still writing
    return metrics


def _check_test_set(cfg: Config, tta: bool, pictures: bool) -> None:
    """Check that there is a test set that has what the arguments need."""
    loader = cfg.get('test_dataloader')
    if loader is None:
        raise InvalidValueError(
            f'{cfg.filename}: got a config without test_dataloader, expected the config of a '
            'classifier, such as configs/res50_srp_affwild2.py'
        )
    if (tta or pictures) and loader.dataset.type == 'ClipFeatureDataset':
        raise InvalidValueError(
            f'--tta, --show, --show-dir: got {cfg.filename}, the config of a model over features, '
            'expected one over images; leave them out'
        )
    if tta and {'dataset', 'datasets'} & set(loader.dataset):
        raise InvalidValueError(
            f'--tta: got a {loader.dataset.type} as test set of {cfg.filename}, expected a single '
            'dataset with a pipeline; score its parts separately'
        )


def _check_without_torch(amp: bool, tta: bool) -> None:
    """Refuse what only a checkpoint's network can do."""
    for option, is_given in ('--amp', amp), ('--tta', tta):
        if is_given:
            raise InvalidValueError(
                f'{option}: has no effect with --onnx; leave it out, or give the checkpoint'
            )


def _check_out(out: str | None, out_item: str) -> None:
    if out_item not in OUT_ITEMS:
        raise InvalidValueError(f"--out-item: got {out_item!r}, expected 'metrics' or 'pred'")
    if out is not None and out_item == 'metrics' and not out.endswith(METRIC_FILES):
        raise InvalidValueError(
            f'--out: got {out!r}, expected a file for metrics that ends in one of '
            f'{", ".join(METRIC_FILES)}; change --out'
        )
    if out is not None and is_main_process():
        check_folder(Path(out).parent, '--out')


def use_plain_pipeline(cfg: Config) -> None:
    """Make the test set deliver one object per frame instead of batches of arrays.

    Test-time augmentation needs this. mmpretrain's transforms and data preprocessor
    then do for each frame what ``FrameDataPreprocessor`` does for a batch, with the same result.

    Args:
        cfg (Config): Changed in place, unless it delivers objects already.
    """
    if not uses_frame_batches(cfg.test_dataloader):
        return
    preprocessor = cfg.data_preprocessor
    cfg.test_dataloader.collate_fn = dict(type='default_collate')
    cfg.test_dataloader.dataset.pipeline += [
        dict(type='ResizeEdge', scale=preprocessor.get('resize_edge', 256), edge='short'),
        dict(type='CenterCrop', crop_size=preprocessor.get('crop_size', 224)),
        dict(type='PackInputs', meta_keys=('sample_idx', 'img_path', 'clip', 'frame_no')),
    ]
    cfg.data_preprocessor = dict(
        num_classes=cfg.model.head.num_classes,
        mean=preprocessor.mean,
        std=preprocessor.std,
        to_rgb=preprocessor.get('to_rgb', True),
    )


def _augment(cfg: Config) -> None:
    """Set up test-time augmentation, by default the mirror image as in mmpretrain's tool."""
    pipeline = cfg.test_dataloader.dataset.pipeline
    cfg.setdefault('tta_model', dict(type='AverageClsScoreTTA'))
    flips = [dict(type='RandomFlip', prob=prob, direction='horizontal') for prob in (0.0, 1.0)]
    mirrored = dict(type='TestTimeAug', transforms=[flips, [pipeline[-1]]])
    cfg.test_dataloader.dataset.pipeline = cfg.get('tta_pipeline', [*pipeline[:-1], mirrored])
