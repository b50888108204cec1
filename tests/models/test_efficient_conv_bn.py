"""Results with ``efficient_conv_bn_eval`` equal those of the plain forward pass."""

import copy

import pytest
import torch
from mmengine.config import Config
from mmengine.dist import get_rank
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from mmengine.runner import Runner
from mmpretrain.models import ResNet
from mmpretrain.registry import MODELS
from torch import nn

from abaw_mm import compat
from abaw_mm.apis.config import load_config
from abaw_mm.apis.load_classifier import load_classifier
from abaw_mm.models.efficient_conv_bn import enable_efficient_conv_bn_eval

SMALL = dict(stem_channels=8, base_channels=8)
STAGES = [-1, 0, 1, 2, 3, 4]


def randomize_norms(module, seed=0):
    """Set random statistics and parameters of each BatchNorm layer."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for norm in module.modules():
            if isinstance(norm, nn.BatchNorm2d):
                for tensor in (norm.weight, norm.running_var):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
                for tensor in (norm.bias, norm.running_mean):
                    tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return module


def build_pair(depth=18, **kwargs):
    """Return a plain ResNet and its copy with the fused forward pass, both in float64."""
    torch.manual_seed(0)
    plain = nn.Module()
    plain.backbone = randomize_norms(ResNet(depth, **SMALL, **kwargs)).double()
    fused = copy.deepcopy(plain)
    enable_efficient_conv_bn_eval(fused, Config(dict(efficient_conv_bn_eval=['backbone'])))
    assert is_fused(fused) and not is_fused(plain)
    return plain.backbone, fused.backbone


def is_fused(model):
    return 'forward' in vars(model.backbone)


def make_images(seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 3, 32, 32, generator=generator, dtype=torch.float64)


def assert_same_outputs(fused, plain, seed=1):
    for one, other in zip(fused(make_images(seed)), plain(make_images(seed)), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize('frozen_stages', STAGES)
@pytest.mark.parametrize('depth', [18, pytest.param(50, marks=pytest.mark.slow)])
def test_training_equals_plain_forward(depth, frozen_stages):
    plain, fused = build_pair(depth, frozen_stages=frozen_stages)
    for net in (plain, fused):
        net.train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
        for step in range(2):  # the second step uses the changed weights
            out = net(make_images(step))[0]
            if out.requires_grad:
                optimizer.zero_grad()
                out.square().mean().backward()
                optimizer.step()
    assert list(fused.state_dict()) == list(plain.state_dict())
    for (name, value), other in zip(
        fused.state_dict().items(), plain.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, other, rtol=1e-6, atol=1e-6, msg=name)
    for (name, one), other in zip(fused.named_parameters(), plain.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            torch.testing.assert_close(one.grad, other.grad, rtol=1e-6, atol=1e-6, msg=name)


@pytest.mark.parametrize(
    'kwargs',
    [dict(), dict(depth=50), dict(deep_stem=True, avg_down=True, out_indices=(1, 3))],
)
def test_evaluation_equals_plain_forward(kwargs):
    plain, fused = build_pair(**kwargs)
    plain.eval(), fused.eval()
    with torch.no_grad():
        assert_same_outputs(fused, plain)


def double_weights(net):
    net.layer1[0].conv1.weight.data.mul_(2)
    net.layer2[0].bn1.running_var.data.mul_(2)


def load_other_state(net):
    net.load_state_dict(randomize_norms(ResNet(18, **SMALL), 5).double().state_dict())


def swap_in_average(net):
    """Swap parameters as mmengine's EMAHook does."""
    average = ExponentialMovingAverage(copy.deepcopy(net), momentum=0.5)
    average.update_parameters(randomize_norms(copy.deepcopy(net), 3))
    for one, mean in zip(net.parameters(), average.module.parameters(), strict=True):
        one.data, mean.data = mean.data, one.data


@pytest.mark.parametrize('change', [double_weights, load_other_state, swap_in_average])
def test_changed_weights_are_used(change):
    plain, fused = build_pair()
    plain.eval(), fused.eval()
    with torch.no_grad():
        before = fused(make_images())[0]
        change(fused)
        plain.load_state_dict(fused.state_dict())
        assert not torch.allclose(fused(make_images())[0], before)
        assert_same_outputs(fused, plain)


def test_copy_uses_its_own_weights():
    _, fused = build_pair()
    copied = randomize_norms(copy.deepcopy(fused), 7)
    plain = ResNet(18, **SMALL).double()
    for net in (copied, fused, plain):
        net.eval()
    for net in (copied, fused):
        plain.load_state_dict(net.state_dict())
        with torch.no_grad():
            assert_same_outputs(net, plain)


def check_process():
    """Compare the gradients of two steps of DDP; each rank has other images."""
    gradients = []
    for net in build_pair(frozen_stages=3):
        net.train()
        wrapped = MMDistributedDataParallel(net, broadcast_buffers=False)
        for step in range(2):
            net.zero_grad()
            wrapped(make_images(2 * step + get_rank()))[0].square().mean().backward()
        gradients.append([p.grad for p in net.parameters() if p.requires_grad])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_equal_on_two_processes(run_distributed):
    run_distributed(check_process)


@pytest.mark.parametrize(
    'backbone',
    [
        dict(type='IResNet', depth=50),
        dict(type='APViT', img_size=112, embed_dims=16, num_heads=2),
        dict(type='VisionTransformer', arch='deit-tiny', img_size=32),
        dict(type='ResNet', depth=18, with_cp=True),
    ],
    ids=lambda backbone: backbone['type'],
)
def test_backbone_that_cannot_be_traced_runs_plain(backbone):
    model = nn.Module()
    model.backbone = MODELS.build(backbone)
    cfg = Config(dict(efficient_conv_bn_eval=['backbone']))
    enable_efficient_conv_bn_eval(model, cfg)
    assert not is_fused(model) and cfg.efficient_conv_bn_eval is None


def test_config_without_the_key_changes_nothing():
    model, cfg = nn.Module(), Config(dict(a=1))
    model.backbone = ResNet(18, **SMALL)
    enable_efficient_conv_bn_eval(model, cfg)
    assert not is_fused(model) and 'efficient_conv_bn_eval' not in cfg


def make_config(repo, tiny, work_dir, fuse, **options):
    cfg = load_config(
        str(repo / 'configs/res18_srp_affwild2.py'),
        work_dir=str(work_dir),
        cfg_options={
            'efficient_conv_bn_eval': ['backbone'] if fuse else None,
            'model.mixed_precision': False,
            'optim_wrapper.type': 'OptimWrapper',
            'data_preprocessor.crop_size': 112,
            'data_preprocessor.resize_edge': 112,
            'model.head.in_channels': 256,
            'train_cfg.max_iters': 2,
            'train_cfg.val_interval': 1,
            'default_hooks.checkpoint.interval': 1,
            'custom_hooks': [dict(type='EMAHook', momentum=0.5)],
            **options,
        },
    )
    for name in ('train', 'val', 'test'):
        loader = cfg[f'{name}_dataloader']
        loader.dataset.data_root = str(tiny)
        loader.update(num_workers=0, batch_size=2, persistent_workers=False, pin_memory=False)
    return compat.adapt_cfg_to_cpu(cfg, 'none')


@pytest.mark.slow
def test_runner_gives_equal_weights_and_scores(repo, tiny, tmp_path):
    """This includes EMA, a resumed run and testing."""
    states, scores = [], []
    for fuse in (False, True):
        folder = tmp_path / str(fuse)
        Runner.from_cfg(make_config(repo, tiny, folder, fuse)).train()
        options = dict(resume=True, load_from=str(folder / 'iter_1.pth'))
        cfg = make_config(repo, tiny, folder / 'resumed', fuse, **options)
        runner = Runner.from_cfg(cfg)
        runner.train()
        assert is_fused(runner.model) == fuse
        scores.append(runner.val_loop.run())
        states += [
            torch.load(path, weights_only=False)['state_dict']
            for path in (folder / 'iter_2.pth', folder / 'resumed/iter_2.pth')
        ]
        classifier = load_classifier(cfg, str(folder / 'iter_2.pth'))
        assert is_fused(classifier) == fuse
    assert scores[0].pop('affwild2/support') == scores[1].pop('affwild2/support')
    assert scores[0] == pytest.approx(scores[1])
    for state in states[1:]:
        assert list(state) == list(states[0])
        for name, value in state.items():
            torch.testing.assert_close(value, states[0][name], atol=1e-4, rtol=1e-3, msg=name)


@pytest.mark.slow
def test_runner_compiles_the_training_step(repo, tiny, tmp_path):
    """``compile`` of mmengine's Runner works together with ``efficient_conv_bn_eval``."""
    cfg = make_config(repo, tiny, tmp_path, True, compile=dict(backend='eager'))
    Runner.from_cfg(cfg).train()
    assert (tmp_path / 'iter_2.pth').is_file()
