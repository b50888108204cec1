"""Run what is frozen as what it is: a fixed function, its BN part of its convolutions."""

import copy
import logging
import threading
from collections.abc import Callable, Sequence
from operator import getitem

import torch
from mmengine.logging import print_log
from torch import nn
from torch.fx import Graph, GraphModule, Node, Proxy, Tracer
from torch.fx.proxy import TraceError
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

_HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')
_CACHE = '_folded_graphs'  # the attribute under which a module's own graphs are kept
_PLAIN = {bool, int, float, str, type(None)}
_MAX_GRAPHS = 64  # of a module; one that changes more often is run as it is
_lock = threading.Lock()


class _Graphs(dict):
    """States to graphs. Graphs hold no values, and neither copies nor files of a module hold them.

    They lie with the module, not in a table: a hook that knows its model would keep it there.
    """

    def __init__(self) -> None:
        super().__init__()
        self.compiled: dict[int, _Compiled] = {}  # by the id of the graph, or of the module itself

    def __reduce__(self) -> tuple:
        return _Graphs, ()


class _Compiled:
    """A graph or module, compiled for sizes of batches that come again."""

    def __init__(self, run: Callable, options: dict) -> None:
        self.run = run
        self.compiled = torch.compile(run, dynamic=False, **options)  # at the first call
        self.seen: set[torch.Size] = set()

    def __call__(self, x: torch.Tensor, *weights: list[torch.Tensor]) -> object:
        run = self.compiled if x.shape in self.seen else self.run
        self.seen.add(x.shape)
        return run(x, *weights)


class _Same:
    """An object as part of a state: equal to itself alone."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.value is other.value

    def __hash__(self) -> int:
        return id(self.value)


def folded_weights(
    convs: Sequence[nn.Conv2d], norms: Sequence[_BatchNorm]
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Weights and biases of convolutions that do the work of the BN behind them as well.

    With the statistics of evaluation, BN multiplies channel c by gamma_c / sqrt(var_c + eps), and
    so may the convolution's weights (Jacob et al. 2018, arXiv 1712.05877, Sec. 3.2). Computed in
    float32 at least, for all pairs at once.

    Args:
        convs: L convolutions with weights (C_l, ...).
        norms: The BN behind each, over its C_l channels.

    Returns:
        tuple: L weights, of the shape, type and memory format of the convolutions', and L biases
        (C_l, ), of their type.
    """
    scales = torch._foreach_add(
        [_wide(norm.running_var) for norm in norms], [norm.eps for norm in norms]
    )
    torch._foreach_sqrt_(scales)
    scales = torch._foreach_div(
        [
            torch.ones_like(norm.running_var) if norm.weight is None else _wide(norm.weight)
            for norm in norms
        ],
        scales,
    )
    shifts = [_wide(norm.running_mean) for norm in norms]
    if any(conv.bias is not None for conv in convs):
        shifts = [
            shift if conv.bias is None else shift - conv.bias
            for conv, shift in zip(convs, shifts, strict=True)
        ]
    biases = torch._foreach_neg(torch._foreach_mul(shifts, scales))
    torch._foreach_add_(
        biases,
        [
            torch.zeros_like(bias) if norm.bias is None else _wide(norm.bias)
            for norm, bias in zip(norms, biases, strict=True)
        ],
    )
    weights = torch._foreach_mul(
        [_wide(conv.weight) for conv in convs],
        [
            scale.view(-1, *[1] * (conv.weight.ndim - 1))
            for conv, scale in zip(convs, scales, strict=True)
        ],
    )
    kinds = [conv.weight.dtype for conv in convs]
    return (
        [weight.to(kind) for weight, kind in zip(weights, kinds, strict=True)],
        [bias.to(kind) for bias, kind in zip(biases, kinds, strict=True)],
    )


def _wide(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def folded_forward(
    module: nn.Module, x: torch.Tensor, compile: dict | None = None
) -> tuple[torch.Tensor, ...]:
    """``module(x)``, with every BN that is a fixed function folded into its convolution.

    Fixed is a BN in evaluation whose parameters, and the convolution's, nobody trains: the frozen
    stages in training, everything in evaluation. The rest runs as it is, with its gradients, hooks
    and statistics. The result is that of ``module(x)`` to rounding; the module, its parameters and
    state dict stay as they are.

    Folded weights are computed anew from the parameters in each call, which costs less than their
    conversion to bfloat16, so that none can be stale, however the parameters were changed. What is
    kept is the graph of the operations, with the module; a module that is put in the place of
    another, a BN that changes its mode, a parameter that begins to train, an attribute that is set
    or a hook that is added, each leads to another graph. Two things are not seen: an attribute
    *of an attribute* that is no module (``net.options.scale = 2``), and a ``forward`` that asks
    for the type of its input: ``isinstance(x, Tensor)`` is false where torch.fx follows.

    Args:
        module: Any module. Where torch.fx cannot follow its ``forward``, or there is nothing to
            fold, it is called as it is.
        x: (N, C, H, W).
        compile: Arguments of ``torch.compile`` to run it compiled, None to run it as it is. A
            batch of a size that was not seen before is never compiled for, as it may be a set's
            last.

    Returns:
        What ``module`` returns.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> with torch.no_grad():
        ...     x = torch.rand(2, 3, 8, 8)
        ...     torch.allclose(folded_forward(net, x), net(x), atol=1e-6)
        True
    """
    # Exporters and compilers do their own folding, and read the module itself.
    if torch.jit.is_tracing() or torch.compiler.is_compiling() or isinstance(x, Proxy):
        return module(x)
    graph = folded_graph(module)
    weights = () if graph is None else folded_weights(graph.convs, graph.norms)
    run = module if graph is None else graph
    if compile is not None:
        known = _graphs_of(module).compiled
        if id(run) not in known:
            known[id(run)] = _Compiled(run, compile)
        run = known[id(run)]
    return run(x, *weights)


def folded_graph(module: nn.Module) -> GraphModule | None:
    """The graph of a module in its present state, for :func:`folded_forward`.

    Args:
        module: Any module.

    Returns:
        GraphModule: From the input, L weights and L biases to the output; its ``convs`` and
        ``norms`` are the L pairs. None where nothing is folded.
    """
    if any(getattr(nn.modules.module, f'_global{name}') for name in _HOOKS):
        return None  # hooks of all modules
    known = _graphs_of(module)
    state = _state(module)
    if state not in known:
        with _lock:
            if len(known) >= _MAX_GRAPHS:
                return None
            known[state] = _trace(module)
    return known[state]


def _graphs_of(module: nn.Module) -> _Graphs:
    return vars(module).setdefault(_CACHE, _Graphs())


def _modes() -> tuple:
    return (
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        torch.is_autocast_enabled('cpu'),
        torch.is_autocast_enabled('cuda'),
    )


def _state(module: nn.Module) -> tuple:
    """All that a graph depends on, apart from the values of tensors."""
    training = torch.is_grad_enabled()
    state = [_modes()]
    for index, child in enumerate(module.modules()):
        # The module itself stays out: without a cycle it is freed as soon as nobody holds it.
        state += [_Same(child) if index else None, child.training, _is_altered(child)]
        if training:
            state += [p.requires_grad for p in child._parameters.values() if p is not None]
        if isinstance(child, nn.Conv2d):
            state += [child.stride, child.padding, child.dilation, child.groups, child.padding_mode]
        elif isinstance(child, _BatchNorm):
            state += [child.running_mean is None, child.running_var is None]
        elif child._modules or not index:  # its forward becomes part of the graph
            for name, value in vars(child).items():
                if name != _CACHE:
                    state += [name, value if type(value) in _PLAIN else _fixed(value)]
    return tuple(state)


def _fixed(value: object) -> object:
    """Plain values by what they are, all others by which they are."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        return tuple([(_fixed(key), _fixed(item)) for key, item in value.items()])
    if isinstance(value, (list, tuple)):
        return tuple([_fixed(item) for item in value])
    if isinstance(value, (set, frozenset)):
        return frozenset([_fixed(item) for item in value])
    return _Same(value)


def _is_altered(module: nn.Module) -> bool:
    """Whether a call of a module is more, or other, than its class's ``forward``."""
    known = vars(module)
    return 'forward' in known or any([known[name] for name in _HOOKS])


def _is_fixed(*modules: nn.Module) -> bool:
    return not torch.is_grad_enabled() or not any(
        parameter.requires_grad for module in modules for parameter in module.parameters()
    )


def _can_fold(norm: nn.Module) -> bool:
    return (
        isinstance(norm, _BatchNorm)
        and not norm.training
        and norm.running_mean is not None
        and norm.running_var is not None
        and type(norm).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)
        and not _is_altered(norm)
        and _is_fixed(norm)
    )


class _Tracer(Tracer):
    """Follows a module only to where there is a BN to fold; the rest is called as it is.

    It refuses what a graph would not do again as the module does: tensors that ``forward`` makes,
    from random numbers for example, and contexts such as ``torch.no_grad()`` within it.
    """

    proxy_buffer_attributes = True

    def __init__(self) -> None:
        super().__init__()
        self.thread, self.modes = threading.get_ident(), _modes()

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (
            super().is_leaf_module(m, module_qualified_name)
            or _is_altered(m)
            or not m._modules
            or not any(_can_fold(child) for child in m.modules())
        )

    # torch.fx watches all modules, those that run in other threads, too.
    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict) -> object:
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: object, parameter_proxy_cache: dict) -> object:
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)

    def create_arg(self, a: object) -> object:
        if isinstance(a, torch.Tensor) and not isinstance(a, nn.Parameter):
            raise TraceError('it makes tensors of its own')
        return super().create_arg(a)

    def create_node(self, *args: object, **kwargs: object) -> Node:
        if _modes() != self.modes:
            raise TraceError('it changes modes, as torch.no_grad() or torch.autocast do')
        return super().create_node(*args, **kwargs)


def _follow(module: nn.Module) -> Graph:
    """The operations of a module, which is left alone whatever its ``forward`` does to itself."""
    # A copy is followed, with the same tensors, hooks and innermost modules.
    shared = [child for child in module.modules() if child is not module and not child._modules]
    for child in module.modules():
        shared += [
            *child._parameters.values(),
            *child._buffers.values(),
            *(getattr(child, name) for name in _HOOKS),
        ]
    copied = copy.deepcopy(module, {id(one): one for one in shared})
    state = _state(copied)
    with torch.random.fork_rng(devices=[]):
        drawn = torch.get_rng_state()
        graph = _Tracer().trace(copied)
        if not torch.equal(torch.get_rng_state(), drawn):
            raise TraceError('it draws random numbers')
    if _state(copied) != state:
        raise TraceError('it changes its own attributes')
    if sum(node.op == 'placeholder' for node in graph.nodes) != 1:
        raise TraceError('it takes more than an input')
    return graph


def _trace(module: nn.Module) -> GraphModule | None:
    if _is_altered(module) or not any(_can_fold(child) for child in module.modules()):
        return None
    try:
        graph = _follow(module)
    except Exception as error:
        # torch.fx hands symbols to a forward that was written for tensors: it may raise anything.
        # The module is then run as it is, and what is really wrong with it is raised there.
        print_log(
            f'{type(module).__name__}: its BN are not folded, which is slower and gives the same '
            f'results; torch.fx cannot follow its forward: {error}',
            logger='current',
            level=logging.WARNING,
        )
        return None
    modules = dict(module.named_modules())
    pairs = []
    for node in graph.nodes:
        norm = modules.get(node.target) if node.op == 'call_module' else None
        if norm is None or not _can_fold(norm) or not _has_one_input(node):
            continue
        before = node.args[0]
        conv = modules.get(before.target) if before.op == 'call_module' else None
        if (
            isinstance(conv, nn.Conv2d)
            and type(conv).forward is nn.Conv2d.forward
            and conv.padding_mode == 'zeros'
            and len(before.users) == 1
            and _has_one_input(before)
            and not _is_altered(conv)
            and _is_fixed(conv)
        ):
            pairs.append((before, node))
    if not pairs:
        return None
    with graph.inserting_after(next(iter(graph.nodes))):  # the input
        biases = graph.placeholder('biases')
        weights = graph.placeholder('weights')
    convs, norms = [], []
    for index, (before, node) in enumerate(pairs):
        convs.append(modules[before.target])
        norms.append(modules[node.target])
        with graph.inserting_before(before):  # what follows may write over its input
            weight = graph.call_function(getitem, (weights, index))
            bias = graph.call_function(getitem, (biases, index))
            like = convs[-1]
            conv = graph.call_function(
                F.conv2d,
                (
                    before.args[0],
                    weight,
                    bias,
                    like.stride,
                    like.padding,
                    like.dilation,
                    like.groups,
                ),
            )
        node.replace_all_uses_with(conv)
        graph.erase_node(node)
        graph.erase_node(before)
    folded = GraphModule(module, graph)
    folded.convs, folded.norms = convs, norms
    return folded


def _has_one_input(node: Node) -> bool:
    return len(node.args) == 1 and not node.kwargs and isinstance(node.args[0], Node)
