"""Every config builds, trains one iteration and states the paper's recipe."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from devices import on_gpu
from mmengine.config import Config
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from abaw_mm import compat
from abaw_mm.apis.config import (
    load_config,
    set_loader_flags,
)
from abaw_mm.datasets import FeatureFolder
from abaw_mm.evaluation import DumpPredictions, Predictions
from abaw_mm.evaluation.predictions.class_balance import ClassBalance
from abaw_mm.models.losses import effective_number, inverse_frequency
from abaw_mm.structures import FrameTable

CONFIGS = sorted((Path(__file__).parents[1] / 'configs').glob('*.py'))
FACES = [path for path in CONFIGS if path.stem.endswith('_faces')]  # pre-training
TRACKS = [path for path in CONFIGS if re.search('_(va|au|mtl)$', path.stem)]  # other tracks
TEMPORAL = [
    path
    for path in CONFIGS
    if re.search('temporal|features|_av_', path.stem) and path not in TRACKS
]
LABELLED = [path for path in CONFIGS if path not in FACES + TEMPORAL + TRACKS]
QUICK = (  # one of each kind; the others are trained with the slow tests
    'res18_srp_affwild2',
    'res18_srp_affwild2_plain',
    'dinov2_srp_affwild2',
    'res18_contrawarping_faces',
    'mlp_features_affwild2',
    'gated_av_affwild2',
)


def mark_slow(paths):
    """Make parameters of configs, most of which are slow."""
    return [
        pytest.param(path, marks=[] if path.stem in QUICK else pytest.mark.slow, id=path.stem)
        for path in paths
    ]


def make_narrow(model):
    """Make transformers narrow, so that they are built and saved quickly."""
    if model.backbone.type == 'APViT':
        model.backbone.embed_dims = model.head.in_channels = 64
    elif model.backbone.type == 'VisionTransformer':
        model.backbone.arch = dict(
            embed_dims=64, num_layers=12, num_heads=4, feedforward_channels=128
        )
        model.neck.in_channels = 64


def list_stages(backbone):
    """Pair each part of a backbone with the lowest ``frozen_stages`` that freezes it."""
    kind = type(backbone).__name__
    if kind == 'IResNet':
        return [(0, backbone.input_layer), *enumerate(backbone.body, 1)]
    if kind == 'APViT':
        return [*list_stages(backbone.extractor), (4, backbone.vit)]
    if kind == 'VisionTransformer':
        return [(0, backbone.patch_embed), *enumerate(backbone.layers, 1)]
    return [
        (int(name[5:]) if name.startswith('layer') else 0, module)
        for name, module in backbone.named_children()
    ]


@pytest.mark.parametrize('path', mark_slow(LABELLED) + on_gpu(LABELLED))
def test_frame_config_trains_one_iteration_and_scores(path, tiny, tmp_path):
    cfg = load_config(str(path), work_dir=str(tmp_path / 'run'))
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.dataset.data_root = str(tiny)
        loader.num_workers, loader.batch_size = 0, 2
    cfg.val_dataloader.dataset.indices = 2
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    make_narrow(cfg.model)
    set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
    runner = Runner.from_cfg(compat.adapt_cfg_to_cpu(cfg, 'none'))
    runner.train()
    assert list((tmp_path / 'run').glob('best_affwild2_macro_f1_iter_1.pth'))
    frozen = cfg.model.backbone.frozen_stages
    for stage, module in list_stages(runner.model.backbone):
        trained = [p.requires_grad for p in module.parameters()]
        assert not any(trained) if stage <= frozen else all(trained)


@pytest.mark.parametrize('path', mark_slow(FACES) + on_gpu(FACES))
def test_pretraining_config_trains_one_iteration_and_exports(path, tiny, tmp_path):
    cfg = load_config(str(path), work_dir=str(tmp_path / 'run'))
    cfg.train_dataloader.dataset.data_root = str(tiny / 'cropped_aligned')
    cfg.train_dataloader.update(num_workers=0, batch_size=2)
    cfg.default_hooks.probe.update(num_workers=0, train_frames_per_class=1, val_frames=4)
    cfg.default_hooks.probe.dataset.data_root = str(tiny)
    cfg.default_hooks.collapse.interval = 1
    cfg.train_cfg.max_iters = 1
    set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
    runner = Runner.from_cfg(compat.adapt_cfg_to_cpu(cfg, 'none'))
    runner.train()
    assert type(runner.model).__name__.lower() == path.stem.split('_')[1]
    assert runner.model.backbone.depth == int(path.stem.split('_')[0][3:])
    assert (tmp_path / 'run/iter_1.pth').is_file() and (tmp_path / 'run/backbone.pth').is_file()


@pytest.fixture
def make_small(tiny, make_features, make_sound, tmp_path):
    """Return a function that loads a config over features and makes it tiny."""

    def load(path, work_dir):
        cfg = load_config(str(path), work_dir=str(work_dir))
        backbone, folders = cfg.model.backbone, str(tmp_path / 'video')
        if isinstance(backbone.in_channels, dict):
            backbone.in_channels = dict(video=6, audio=3)
            folders = dict(video=folders, audio=str(tmp_path / 'audio'))
        else:
            backbone.in_channels = 6
        for part in (backbone, cfg.model.get('neck') or {}):
            part.update({k: 8 for k in ('channels', 'num_heads') if k in part})
        if cfg.model.get('neck'):
            cfg.model.neck.in_channels = 8
        cfg.model.head.in_channels = 8
        for name in ('train', 'val', 'test'):
            loader = cfg[f'{name}_dataloader']
            loader.dataset.update(data_root=str(tiny), feature_dir=folders)
            loader.update(num_workers=0, batch_size=2)
        cfg.train_cfg.update(max_iters=4, val_interval=4)
        cfg.default_hooks.checkpoint.interval = 2
        set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
        return cfg

    make_features(tmp_path / 'video', tiny)
    make_sound(tmp_path / 'audio')
    return load


@pytest.fixture
def make_sound():
    """Return a function that writes a second stream, which lacks a clip and some frames."""

    def write(folder):
        meta = dict(config='LogMel', sha256='b' * 64, layer='log-mel', dim=3)
        features, rng = FeatureFolder.start(folder, meta), np.random.default_rng(1)
        frames = {'1-30-1280x720': range(1, 9), '5-60-1920x1080-1': range(3, 8), 'video65': [1]}
        for clip in features.plan(FrameTable.from_clips(frames)):
            features.write(clip, rng.standard_normal((len(frames[clip]), 3)))

    return write


@pytest.mark.parametrize('path', mark_slow(TEMPORAL) + on_gpu(TEMPORAL))
def test_config_over_features_trains_and_scores(path, make_small, tmp_path):
    cfg = make_small(path, tmp_path / 'run')
    cfg.train_cfg.update(max_iters=1, val_interval=1)
    runner = Runner.from_cfg(compat.adapt_cfg_to_cpu(cfg, 'none'))
    runner.train()
    assert list((tmp_path / 'run').glob('best_affwild2_macro_f1_iter_1.pth'))
    parts = [part for part in (runner.model.backbone, runner.model.neck) if part is not None]
    if all(hasattr(part, 'reach') for part in parts):
        # the context covers the reach of the network, so scores do not depend on the windows
        for name in ('train', 'val', 'test'):
            context = cfg[f'{name}_dataloader'].dataset.context
            assert context == sum(part.reach for part in parts)


@pytest.mark.slow
@pytest.mark.parametrize('path', TEMPORAL, ids=lambda path: path.stem)
def test_config_over_features_resumes_bit_equal_and_tests(path, make_small, tmp_path):
    whole = make_small(path, tmp_path / 'whole')
    Runner.from_cfg(compat.adapt_cfg_to_cpu(whole, 'none')).train()
    again = make_small(path, tmp_path / 'again')
    again.resume, again.load_from = True, str(tmp_path / 'whole/iter_2.pth')
    Runner.from_cfg(compat.adapt_cfg_to_cpu(again, 'none')).train()
    one, other = (
        torch.load(tmp_path / name / 'iter_4.pth', weights_only=False)
        for name in ('whole', 'again')
    )
    assert one['state_dict'].keys() == other['state_dict'].keys()
    for name, value in one['state_dict'].items():
        assert torch.equal(value, other['state_dict'][name]), name
    assert one['meta']['features'] == other['meta']['features']
    # the predictions file records the balance of this training
    tested = make_small(path, tmp_path / 'test')
    tested.load_from = str(tmp_path / 'whole/iter_4.pth')
    runner = Runner.from_cfg(compat.adapt_cfg_to_cpu(tested, 'none'))
    balance = ClassBalance.from_config(tested)
    dump = DumpPredictions(str(tmp_path / 'p.npz'), tested.load_from, balance=balance)
    runner.test_evaluator.metrics.append(dump)
    scores = runner.test()
    predictions = Predictions.read(tmp_path / 'p.npz')
    assert len(predictions) == 10 and scores['affwild2/macro_f1'] >= 0
    hook = tested.default_hooks.get('class_frequency')
    expected = ClassBalance(0.0)
    if hook:
        counts = np.array([21, 1, 1, 1, 7, 1, 1, 3])
        functions = dict(inverse_frequency=inverse_frequency, effective_number=effective_number)
        weights = functions[hook.class_weight](counts).tolist()
        expected = ClassBalance(class_weight=tuple(weights))
    assert predictions.balance == expected


WEIGHTS = tuple(inverse_frequency(np.array([21, 1, 1, 1, 7, 1, 1, 3])).tolist())
LOSSES = {
    'logit_adjusted': (
        dict(type='LogitAdjustedLoss', tau=0.5),
        None,
        ClassBalance(logit_tau=0.5),
    ),
    'label_smooth': (
        dict(type='LabelSmoothLoss', label_smooth_val=0.1, num_classes=8),
        'inverse_frequency',
        ClassBalance(class_weight=WEIGHTS),
    ),
    'focal': (
        dict(type='SoftmaxFocalLoss', gamma=1.0),
        'inverse_frequency',
        ClassBalance(class_weight=WEIGHTS),
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize('name', LOSSES)
def test_loss_is_a_setting_and_predictions_record_it(name, make_small, tmp_path):
    loss, class_weight, expected = LOSSES[name]
    path = CONFIGS[0].parent / 'gated_av_affwild2.py'

    def load(work_dir):
        cfg = make_small(path, tmp_path / work_dir)
        cfg.model.head.loss, cfg.model.r_drop = loss, 0.5
        cfg.default_hooks.class_frequency.class_weight = class_weight
        return compat.adapt_cfg_to_cpu(cfg, 'none')

    cfg = load('run')
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    runner = Runner.from_cfg(cfg)
    runner.train()
    assert runner.message_hub.get_scalar('train/loss_r_drop').current() > 0
    cfg = load('test')
    cfg.load_from = str(tmp_path / 'run/iter_2.pth')
    runner = Runner.from_cfg(cfg)
    runner.test_evaluator.metrics.append(DumpPredictions(str(tmp_path / 'p.npz')))
    runner.test()
    assert Predictions.read(tmp_path / 'p.npz').balance == expected


@pytest.mark.parametrize('page', ['temporal', 'fusion'])
def test_examples_of_the_docs_build(page, tmp_path):
    text = (CONFIGS[0].parents[1] / f'docs/{page}.md').read_text()
    examples = re.findall('```python\n(.*?)```', text, re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        file = tmp_path / f'example{number}.py'
        file.write_text(example)
        cfg = load_config(str(file), work_dir=str(tmp_path))
        model = MODELS.build(cfg.model)
        widths = model.backbone.in_channels
        widths = widths if isinstance(widths, dict) else {'': widths}
        x = {name: torch.zeros(2, 5, width) for name, width in widths.items()}
        (features,) = model.eval().extract_feat(x.get('', x))
        assert model.head((features,)).shape == (10, 8)


def test_simsiam_predictor_keeps_its_learning_rate():
    for depth in (18, 50):
        cfg = Config.fromfile(CONFIGS[0].parent / f'res{depth}_simsiam_faces.py')
        assert cfg.custom_hooks[0].lr == cfg.optim_wrapper.optimizer.lr
        assert not cfg.custom_hooks[0].adjust_by_epoch


def test_every_config_logs_scores_by_step():
    for path in CONFIGS:
        cfg = Config.fromfile(path)
        assert not cfg.train_cfg.by_epoch and not cfg.default_hooks.logger.log_metric_by_epoch, path


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_config_opens_with_a_docstring_and_a_command(path):
    text = path.read_text()
    assert text.startswith('"""') and 'bash tools/' in text.split('"""')[1]
    if path not in TEMPORAL and 'temporal' not in path.stem:  # these start from features
        assert '\ncheckpoint = None' in text


def test_headline_configs_have_the_recipe_of_the_paper():
    for name, depth in (('res50_srp_affwild2', 50), ('res18_srp_affwild2', 18)):
        cfg = Config.fromfile(CONFIGS[0].parent / f'{name}.py')
        assert cfg.optim_wrapper.optimizer.type == 'SGD'
        assert cfg.optim_wrapper.optimizer.lr == 5e-3
        assert [s.type for s in cfg.param_scheduler] == ['CosineAnnealingLR']
        assert cfg.train_cfg.max_iters == 8000 and not cfg.train_cfg.by_epoch
        assert cfg.train_dataloader.sampler.stride == 10 and cfg.train_dataloader.sampler.infinite
        assert cfg.model.backbone.frozen_stages == 3 and cfg.model.backbone.depth == depth
        assert cfg.default_hooks.checkpoint.save_best == 'affwild2/macro_f1'
        assert cfg.default_hooks.checkpoint.rule == 'greater'


@pytest.mark.parametrize('name', ['res50_srp_affwild2', 'res18_srp_affwild2'])
def test_plain_config_has_the_recipe_of_the_fast_one(name):
    fast, plain = (Config.fromfile(CONFIGS[0].parent / f'{name}{end}.py') for end in ('', '_plain'))
    assert fast.model.pop('type') == 'FrameClassifier'
    assert plain.model.pop('type') == 'ImageClassifier'
    assert fast.optim_wrapper.pop('type') == 'AutoAmpOptimWrapper'
    assert fast.optim_wrapper.optimizer.pop('fused')
    for key in (
        'model',
        'optim_wrapper',
        'param_scheduler',
        'train_cfg',
        'val_evaluator',
        'default_hooks',
        'randomness',
        'checkpoint',
    ):
        assert fast[key] == plain[key], key
    for split in ('train', 'val', 'test'):
        loaders = [cfg[f'{split}_dataloader'] for cfg in (fast, plain)]
        for loader in loaders:
            loader.pop('collate_fn', None)
            loader.dataset.pop('pipeline')
        assert loaders[0] == loaders[1]
    # random crops of both
    crop, flip = Config.fromfile(CONFIGS[0].parent / f'{name}_plain.py').train_pipeline[1:3]
    made = fast.data_preprocessor
    assert (made.crop_size, made.crop_ratio_range, made.aspect_ratio_range, made.flip_prob) == (
        crop.scale,
        crop.crop_ratio_range,
        crop.aspect_ratio_range,
        flip.prob,
    )
    for key in ('mean', 'std', 'to_rgb'):
        assert made[key] == plain.data_preprocessor[key]


def test_released_configs_have_the_settings_of_the_released_code():
    cfg = Config.fromfile(CONFIGS[0].parent / 'res50_srp_affwild2_released.py')
    assert cfg.model.backbone.frozen_stages == 2
    assert cfg.model.neck.norm_cfg.type == 'SyncBN'
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.optim_wrapper.loss_scale == 512
    assert cfg.optim_wrapper.optimizer.weight_decay == 0.01
    assert cfg.param_scheduler[0].start_factor == 0.1 and cfg.param_scheduler[0].end == 100
    assert cfg.param_scheduler[1].eta_min == 1e-5
    assert cfg.train_dataloader.sampler.class_balance.oversample_thr == 0.15
    gap = Config.fromfile(CONFIGS[0].parent / 'res18_gap_affwild2_released.py')
    assert gap.model.backbone.frozen_stages == -1
    assert gap.model.neck == dict(type='GlobalAveragePooling')


@pytest.mark.parametrize('name', ['irnet50', 'apvit', 'apvit_rafdb'])
def test_released_configs_at_112_pixels(name):
    cfg = Config.fromfile(CONFIGS[0].parent / f'{name}_affwild2.py')
    assert cfg.optim_wrapper.type == 'AmpOptimWrapper' and cfg.optim_wrapper.loss_scale == 512
    assert cfg.optim_wrapper.optimizer.lr == 1e-3
    assert cfg.train_dataloader.sampler.class_balance.oversample_thr == 0.15
    assert cfg.data_preprocessor.crop_size == cfg.data_preprocessor.resize_edge == 112
    if name != 'irnet50':
        assert cfg.model.backbone.keep_patches == 160
        assert cfg.model.backbone.keep_rates == (1,) * 4 + (0.9,) * 4
    whole = cfg.default_hooks.pretrained_backbone.get('module', 'backbone') == 'backbone'
    assert whole == (name != 'apvit')


@pytest.mark.parametrize('depth', [18, 50])
def test_resnet_at_112_pixels_has_the_map_and_the_tensors_of_224(depth):
    large, small = (
        Config.fromfile(CONFIGS[0].parent / f'res{depth}_srp{size}affwild2.py')
        for size in ('_', '_112_')
    )
    assert (small.data_preprocessor.crop_size, small.data_preprocessor.resize_edge) == (112, 128)
    backbones = [MODELS.build(cfg.model.backbone) for cfg in (large, small)]
    shapes = [{k: v.shape for k, v in b.state_dict().items()} for b in backbones]
    assert shapes[0] == shapes[1]
    assert backbones[1](torch.zeros(1, 3, 112, 112))[-1].shape[2:] == (7, 7)
    small.model.backbone.strides = large.model.backbone.get('strides', (1, 2, 2, 2))
    large.model.backbone.strides = (1, 2, 2, 2)
    for key in ('model', 'optim_wrapper', 'train_cfg', 'train_dataloader', 'val_evaluator'):
        assert small[key] == large[key], key


@pytest.mark.parametrize('world_size', [1, 2, 8])
def test_batch_size_is_128_over_all_ranks(monkeypatch, world_size):
    monkeypatch.setenv('WORLD_SIZE', str(world_size))
    cfg = Config.fromfile(CONFIGS[0].parent / 'res50_srp_affwild2.py')
    assert cfg.train_dataloader.batch_size * world_size == 128


def test_learning_rate_follows_a_shorter_run(tiny, tmp_path):
    """A shorter run still ends its cosine at 0."""
    child = tmp_path / 'mine.py'
    base = os.path.relpath(CONFIGS[0].parent / 'res18_srp_affwild2.py', tmp_path)
    child.write_text(
        f"_base_ = ['{base}']\n"
        'train_cfg = dict(max_iters=4)\n'
        'optim_wrapper = dict(optimizer=dict(lr=0.01))\n'
        'val_cfg = val_dataloader = val_evaluator = None\n'
        'default_hooks = dict(checkpoint=dict(save_best=None))\n'
    )
    cfg = load_config(str(child), work_dir=str(tmp_path / 'run'))
    cfg.train_dataloader.dataset.data_root = str(tiny)
    cfg.train_dataloader.update(num_workers=0, batch_size=1)
    set_loader_flags(cfg, pin_memory=True, persistent_workers=True)
    runner = Runner.from_cfg(compat.adapt_cfg_to_cpu(cfg, 'none'))
    rates = []
    step = runner.model.train_step

    def record(*args, **kwargs):
        rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        return step(*args, **kwargs)

    runner.model.train_step = record
    runner.train()
    expected = [0.01 * (1 + torch.cos(torch.tensor(torch.pi * i / 4))).item() / 2 for i in range(4)]
    assert rates == pytest.approx(expected, rel=1e-4)
