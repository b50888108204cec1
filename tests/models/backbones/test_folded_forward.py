"""Folded BN against the plain forward."""

import copy
import gc
import io
import threading
import weakref

import pytest
import torch
from mmengine.model import ExponentialMovingAverage, revert_sync_batchnorm
from mmpretrain.models import ResNet
from torch import nn
from torch.nn import functional as F

from abaw_mm.models import (
    APViT,
    IResNet,
)
from abaw_mm.models.backbones.folded_forward import (
    folded_forward,
    folded_graph,
    folded_weights,
)


def small_resnet(depth=18, **kwargs):
    return ResNet(depth, stem_channels=8, base_channels=8, **kwargs)


def with_statistics(module, seed=0):
    """BN that does something: random statistics and parameters."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for bn in module.modules():
            if isinstance(bn, nn.BatchNorm2d):
                for tensor in (bn.weight, bn.running_var):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
                for tensor in (bn.bias, bn.running_mean):
                    tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return module


def images(size=64, number=4):
    return torch.randn(number, 3, size, size, generator=torch.Generator().manual_seed(1))


def assert_close(got, expected, tolerance=1e-4):
    for one, other in zip(got, expected, strict=True):
        scale = float(other.detach().abs().max())
        torch.testing.assert_close(one, other, atol=tolerance * scale, rtol=0)


def number_folded(module):
    graph = folded_graph(module)
    return 0 if graph is None else len(graph.convs)


def test_weights_by_hand():
    conv, norm = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, eps=0.5).eval()
    with_statistics(norm)
    (weight,), (bias,) = folded_weights([conv], [norm])
    for c in range(3):
        scale = norm.weight[c] / (norm.running_var[c] + 0.5) ** 0.5
        torch.testing.assert_close(weight[c], conv.weight[c] * scale)
        torch.testing.assert_close(
            bias[c], (conv.bias[c] - norm.running_mean[c]) * scale + norm.bias[c]
        )


def test_types_formats_and_bn_without_parameters():
    conv = nn.Conv2d(4, 3, 3, bias=False).half().to(memory_format=torch.channels_last)
    norm = nn.BatchNorm2d(3, affine=False).eval()
    (weight,), (bias,) = folded_weights([conv], [norm])
    assert weight.dtype == bias.dtype == torch.float16
    assert weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(weight.float(), conv.weight.float(), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize('frozen', [-1, 0, 1, 2, 3, 4])
@pytest.mark.parametrize('depth', [18, 50])
def test_training_of_a_resnet(depth, frozen):
    """Outputs, gradients and BN statistics are those of the plain forward."""
    plain = with_statistics(small_resnet(depth, frozen_stages=frozen)).double()
    folded = copy.deepcopy(plain)
    plain.train(), folded.train()
    units = {18: (1, 4, 5, 5, 5), 50: (1, 10, 13, 19, 10)}[depth]  # convolutions of the stages
    assert number_folded(folded) == sum(units[: frozen + 1])
    expected, got = plain(images().double()), folded_forward(folded, images().double())
    assert_close(got, expected, 1e-10)
    if frozen < 4:
        expected[0].sum().backward()
        got[0].sum().backward()
    for (name, one), other in zip(folded.named_parameters(), plain.parameters(), strict=True):
        assert (one.grad is None) == (other.grad is None), name
        if one.grad is not None:
            scale = float(other.grad.abs().max())
            torch.testing.assert_close(one.grad, other.grad, atol=1e-7 * scale, rtol=0)
    for one, other in zip(folded.buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(one, other)
    assert list(folded.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize(
    'make, number',
    [
        (lambda: small_resnet(18), 20),
        (lambda: small_resnet(50), 53),
        (lambda: small_resnet(18, deep_stem=True, avg_down=True, out_indices=(1, 3)), 22),
        (lambda: IResNet(50), 28),
        (lambda: IResNet(50, se=True), 28),
    ],
)
def test_evaluation_of_the_whole(make, number):
    backbone = with_statistics(make())
    backbone.eval()
    with torch.no_grad():
        assert number_folded(backbone) == number
        assert_close(folded_forward(backbone, images()), backbone(images()))


@pytest.mark.parametrize('frozen', [-1, 0, 1, 2, 3, 4])
def test_training_of_iresnet(frozen):
    backbone = with_statistics(IResNet(50, frozen_stages=frozen)).train()
    assert number_folded(backbone) == {-1: 0, 0: 1, 1: 4, 2: 9, 3: 24, 4: 28}[frozen]
    other = copy.deepcopy(backbone)
    assert_close(folded_forward(backbone, images(32, 8)), other(images(32, 8)), 1e-3)


@pytest.mark.parametrize('frozen', [-1, 0, 1, 2, 3, 4])
def test_apvit(frozen):
    backbone = with_statistics(
        APViT(
            img_size=32,
            keep_patches=12,
            keep_rates=(1.0, 0.9),
            embed_dims=16,
            num_heads=2,
            frozen_stages=frozen,
        )
    ).train()
    assert number_folded(backbone) == {-1: 0, 0: 1, 1: 4, 2: 9, 3: 24, 4: 24}[frozen]
    other = copy.deepcopy(backbone)
    assert_close(folded_forward(backbone, images(32)), other(images(32)), 1e-3)
    with pytest.raises(ValueError, match='got images of 64x64 pixels'):
        folded_forward(backbone, images(64))


def test_mixed_precision():
    backbone = with_statistics(small_resnet(frozen_stages=3))
    backbone.eval()
    with torch.no_grad():
        expected = backbone(images())
        with torch.autocast('cpu', torch.bfloat16):
            got = folded_forward(backbone, images())
    assert got[0].dtype == torch.bfloat16
    assert_close([got[0].float()], expected, 0.05)


class Changes:
    """Each changes what the module computes, in a way that programs do."""

    @staticmethod
    def in_place(net):
        with torch.no_grad():
            net.layer1[0].conv1.weight.mul_(2)

    @staticmethod
    def data(net):  # as EMAHook swaps; the tensor's version does not tell
        net.layer1[0].conv1.weight.data.mul_(2)
        net.layer2[0].bn1.running_var.data.mul_(2)

    @staticmethod
    def new_parameter(net):
        net.layer1[0].conv1.weight = nn.Parameter(
            2 * net.layer1[0].conv1.weight.detach(), requires_grad=False
        )

    @staticmethod
    def loaded(net):
        net.load_state_dict(with_statistics(small_resnet(), seed=5).state_dict())

    @staticmethod
    def assigned(net):
        net.load_state_dict(with_statistics(small_resnet(), seed=5).state_dict(), assign=True)
        net.requires_grad_(False)

    @staticmethod
    def double(net):
        net.double()
        net.layer1[0].conv1.weight.data.mul_(2)
        net.float()

    @staticmethod
    def eps(net):
        net.layer1[0].bn1.eps = 1.0

    @staticmethod
    def stride(net):
        net.conv1.stride = (1, 1)

    @staticmethod
    def other_bn(net):
        net.layer1[0].add_module('bn1', with_statistics(nn.BatchNorm2d(8), 7).eval())
        net.requires_grad_(False)

    @staticmethod
    def no_bn(net):
        net.layer1[0].add_module('bn1', nn.Identity())

    @staticmethod
    def other_outputs(net):
        net.out_indices = (0, 3)

    @staticmethod
    def hook(net):
        net.layer1[0].conv1.register_forward_hook(lambda *args: 2 * args[-1])

    @staticmethod
    def hook_of_a_block(net):
        net.layer1[0].register_forward_pre_hook(lambda module, args: (2 * args[0],))

    @staticmethod
    def hook_of_the_whole(net):
        net.register_forward_hook(lambda *args: (2 * args[-1][0],))

    @staticmethod
    def training(net):
        net.layer1[0].bn1.train()

    @staticmethod
    def unfrozen(net):
        net.layer1.requires_grad_(True)

    @staticmethod
    def list_of_outputs(net):
        net.out_indices = [0, 3]
        folded_forward(net, images())
        net.out_indices[0] = 2

    @staticmethod
    def forward_of_a_convolution(net):
        net.conv1.forward = lambda x: 2 * nn.Conv2d.forward(net.conv1, x)

    @staticmethod
    def forward_of_a_block(net):
        net.layer1[0].forward = lambda x: 2 * x

    @staticmethod
    def forward_of_the_whole(net):
        net.forward = lambda x: (2 * x,)

    @staticmethod
    def no_statistics(net):
        net.bn1.running_mean = net.bn1.running_var = None

    @staticmethod
    def averaged(net):
        average = ExponentialMovingAverage(copy.deepcopy(net), momentum=0.5)
        other = with_statistics(copy.deepcopy(net), 3)
        average.update_parameters(other)
        for one, mean in zip(net.parameters(), average.module.parameters(), strict=True):
            one.data.copy_(mean.data)


CHANGES = [name for name in vars(Changes) if not name.startswith('_')]


@pytest.mark.parametrize('change', CHANGES)
def test_nothing_is_stale(change):
    net = with_statistics(small_resnet())
    net.eval()
    net.requires_grad_(False)
    before = folded_forward(net, images())
    getattr(Changes, change)(net)
    expected = copy.deepcopy(net)(images())
    got = folded_forward(net, images())
    assert_close(got, expected, 1e-3)
    if change != 'unfrozen':
        assert len(got) != len(before) or not torch.equal(got[-1], before[-1])
    else:
        got[0].sum().backward()
        assert all(p.grad is not None for p in net.layer1.parameters())


def test_a_copy_has_its_own():
    net = with_statistics(small_resnet())
    net.eval()
    with torch.no_grad():
        folded_forward(net, images())
        other = with_statistics(copy.deepcopy(net), 3)
        assert_close(folded_forward(other, images()), other(images()))


def test_gradients_of_the_image_pass():
    """Class activation maps ask for them, through frozen stages as well."""
    net = with_statistics(small_resnet(frozen_stages=4))
    net.train()
    one, other = images().requires_grad_(), images().requires_grad_()
    folded_forward(net, one)[0].sum().backward()
    net(other)[0].sum().backward()
    assert_close([one.grad], [other.grad], 1e-3)


def test_what_torch_fx_cannot_follow_runs_as_it_is():
    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            return self.bn(self.conv(x)) if x.sum() > 0 else -x

    net = with_statistics(Odd()).eval()
    with torch.no_grad():
        for x in (images().abs(), -images().abs()):
            assert torch.equal(folded_forward(net, x), net(x))


def test_a_convolution_that_others_see_too_is_left_alone():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.conv(x)
            return x + self.bn(x)

    net = with_statistics(Shared()).eval()
    with torch.no_grad():
        assert number_folded(net) == 0
        assert torch.equal(folded_forward(net, images()), net(images()))


class Part(nn.Module):
    """A convolution and its BN, for what a forward may do around them."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.other = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1)
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer('shift', torch.tensor(1.0))
        self.seen = []
        with_statistics(self).eval().requires_grad_(False)

    def forward(self, x):
        return self.bn(self.conv(x))


class Odd:
    """Each is a forward that torch.fx would follow to something else."""

    def optional(self, x, mask=None):
        return Part.forward(self, x) if mask is None else mask * x

    def asserted(self, x):
        assert isinstance(x, torch.Tensor)
        return Part.forward(self, x)

    def by_name(self, x):
        return self.bn(input=self.conv(input=x))

    def remembers(self, x):
        self.seen.append(Part.forward(self, x))
        assert isinstance(self.seen[-1], torch.Tensor)
        return 1 * self.seen[-1]

    def random(self, x):
        return Part.forward(self, x) * torch.rand(1)

    def without_gradients(self, x):
        with torch.no_grad():
            x = 2 * x
        return Part.forward(self, x)

    def own_backward(self, x):
        return Part.forward(self, Reversed.apply(x))

    def in_float32(self, x):
        with torch.autocast('cpu', enabled=False):
            return self.other(Part.forward(self, x))


class Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient


@pytest.mark.parametrize('name', [name for name in vars(Odd) if not name.startswith('_')])
def test_odd_forwards(name):
    net = type(name, (Part,), dict(forward=getattr(Odd, name)))()
    plain, results = copy.deepcopy(net), []
    for run in (lambda x: folded_forward(net, x), plain):
        torch.manual_seed(0)
        for _ in range(2):
            x = images(8).requires_grad_()
            with torch.autocast('cpu', torch.bfloat16, enabled=name == 'in_float32'):
                y = run(1 * x)
            if y.requires_grad:
                y.sum().backward()
            results.append((y, x.grad if x.grad is not None else torch.zeros(1)))
    for got, expected in zip(results[:2], results[2:], strict=True):
        assert got[0].dtype == expected[0].dtype
        assert got[0].requires_grad == expected[0].requires_grad
        assert_close(got, expected, 0.02 if name == 'in_float32' else 1e-4)
    assert len(net.seen) == len(plain.seen)
    assert list(vars(net.conv)) == list(vars(plain.conv))


def test_an_input_that_is_written_over_between_convolution_and_bn():
    class Over(Part):
        def forward(self, x):
            y = self.conv(x)
            return F.relu_(x).sum() + self.bn(y)

    net = Over()
    assert number_folded(net) == 1
    assert_close(folded_forward(net, images(8)), net(images(8)))


@pytest.mark.parametrize(
    'change',
    [
        lambda net: setattr(net, 'shift', torch.tensor(5.0)),
        lambda net: net.shift.fill_(5.0),
        lambda net: setattr(net, 'scale', nn.Parameter(torch.tensor(5.0))),
        lambda net: net.load_state_dict(Part().double().state_dict(), assign=True) and net.float(),
        lambda net: setattr(net, 'seen', ([9],)),
    ],
)
def test_tensors_of_the_module_itself(change):
    class Scaled(Part):
        def forward(self, x):
            return super().forward(x * self.scale + (self.shift + 1))

    net = Scaled()
    with torch.no_grad():
        folded_forward(net, images(8))
        change(net)
        assert number_folded(net) == 1
        assert_close(folded_forward(net, images(8)), net(images(8)))


def test_hooks_of_all_modules():
    net, seen = Part(), []
    folded_forward(net, images(8))
    hook = nn.modules.module.register_module_forward_hook(lambda *args: seen.append(args[0]))
    folded_forward(net, images(8))
    hook.remove()
    assert seen == [net.conv, net.bn, net]


def test_bn_of_mmengine():
    """What takes SyncBN's place on a CPU is no class of torch."""
    net = revert_sync_batchnorm(nn.SyncBatchNorm.convert_sync_batchnorm(Part()))
    assert type(net.bn) is not nn.BatchNorm2d and number_folded(net.eval()) == 1
    assert_close(folded_forward(net, images(8)), net(images(8)))


def test_a_model_is_freed_and_saved_without_graphs():
    net = Part()
    folded_forward(net, images(8))
    known, net = weakref.ref(net), None
    assert known() is None  # at once
    net = Part()
    net.other.register_forward_hook(lambda *args, net=net: None)  # as a model's methods are
    folded_forward(net, images(8))
    known, net = weakref.ref(net), None
    gc.collect()
    assert known() is None

    net, file = Part(), io.BytesIO()
    folded_forward(net, images(8))
    torch.save(net, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert folded_graph(again).convs == [again.conv]


def test_other_threads_while_a_graph_is_made():
    class Slow(Part):
        def forward(self, x):
            thread = threading.Thread(target=lambda: seen.append(other(images(8))))
            thread.start(), thread.join()
            return super().forward(x)

    seen = []
    other = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    net = Slow()
    net.other = other
    assert number_folded(net) == 1
    assert torch.equal(seen[0], other(images(8)))


def test_traced_and_exported():
    net = Part()
    expected = net(images(8))
    module = nn.Module()
    module.net = net
    for how in (
        lambda run: torch.jit.trace(run, images(8)),
        lambda run: torch.compile(run, backend='eager', fullgraph=True),
    ):
        assert torch.equal(how(lambda x: folded_forward(net, x))(images(8)), expected)


@pytest.mark.parametrize('frozen', [3, -1])  # folded in part, and not at all
def test_compiled(frozen):
    compiled = []

    def backend(graph, inputs):
        compiled.append(inputs[0].shape)
        return graph.forward

    net = with_statistics(small_resnet(frozen_stages=frozen))
    net.train()
    other = copy.deepcopy(net)
    options = dict(backend=backend)
    for number, times in ((4, 0), (4, 1), (4, 1), (3, 1)):  # 3: of a size not seen before
        batch = images(number=number)
        assert_close(folded_forward(net, batch, options), other(batch), 1e-3)
        assert (len(compiled) > 0) == times
    net.conv1.weight.data.mul_(2)
    other.conv1.weight.data.mul_(2)
    assert_close(folded_forward(net, images(), options), other(images()), 1e-3)
    copied = copy.deepcopy(net)
    assert_close(folded_forward(copied, images(), options), other(images()), 1e-3)
