"""Run what is frozen as what it is: a fixed function, its BN part of its convolutions."""

import logging
import weakref
from collections.abc import Sequence
from operator import getitem

import torch
from mmengine.logging import print_log
from torch import nn
from torch.fx import GraphModule, Node, Tracer
from torch.fx.proxy import TraceError
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

_HOOKS = ('_forward_hooks', '_forward_pre_hooks', '_backward_hooks', '_backward_pre_hooks')
# Module to the graphs of the states it was seen in. Graphs have no values of parameters, and go
# with the module; a copy of the module starts without any.
_graphs: 'weakref.WeakKeyDictionary[nn.Module, dict]' = weakref.WeakKeyDictionary()


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
    scales = torch._foreach_add([_wide(norm.running_var) for norm in norms],
                                [norm.eps for norm in norms])
    torch._foreach_sqrt_(scales)
    scales = torch._foreach_div(
        [torch.ones_like(norm.running_var) if norm.weight is None else _wide(norm.weight)
         for norm in norms], scales)
    shifts = [_wide(norm.running_mean) for norm in norms]
    if any(conv.bias is not None for conv in convs):
        shifts = [shift if conv.bias is None else shift - conv.bias
                  for conv, shift in zip(convs, shifts, strict=True)]
    biases = torch._foreach_neg(torch._foreach_mul(shifts, scales))
    torch._foreach_add_(biases, [torch.zeros_like(bias) if norm.bias is None else _wide(norm.bias)
                                 for norm, bias in zip(norms, biases, strict=True)])
    weights = torch._foreach_mul(
        [_wide(conv.weight) for conv in convs],
        [scale.view(-1, *[1] * (conv.weight.ndim - 1))
         for conv, scale in zip(convs, scales, strict=True)])
    kinds = [conv.weight.dtype for conv in convs]
    return ([weight.to(kind) for weight, kind in zip(weights, kinds, strict=True)],
            [bias.to(kind) for bias, kind in zip(biases, kinds, strict=True)])


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
    kept is the graph of the operations; a module that is put in the place of another, a BN that
    changes its mode, a parameter that begins to train or a hook that is added, each leads to
    another graph.

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
    graph = folded_graph(module)
    if graph is None:
        return module(x)
    run = graph
    if compile is not None and x.shape in graph.shapes:
        if graph.compiled is None:
            graph.compiled = torch.compile(graph, dynamic=False, **compile)
        run = graph.compiled
    graph.shapes.add(x.shape)
    return run(x, *folded_weights(graph.convs, graph.norms))


def folded_graph(module: nn.Module) -> GraphModule | None:
    """The graph of a module in its present state, for :func:`folded_forward`.

    Args:
        module: Any module.

    Returns:
        GraphModule: From the input, L weights and L biases to the output; its ``convs`` and
        ``norms`` are the L pairs. None where nothing is folded.
    """
    known = _graphs.setdefault(module, {})
    state = _state(module)
    if state not in known:
        known[state] = _trace(module)
    return known[state]


def _state(module: nn.Module) -> tuple:
    """All that a graph depends on, apart from the values of tensors."""
    training = torch.is_grad_enabled()
    state = [training]
    for index, child in enumerate(module.modules()):
        # The module itself stays out: what the cache holds of it would keep it alive.
        state += [child if index else None, child.training, _has_hooks(child)]
        if training:
            state += [p.requires_grad for p in child._parameters.values() if p is not None]
        if isinstance(child, nn.Conv2d):
            state += [child.stride, child.padding, child.dilation, child.groups]
        elif child._modules or not index:  # its forward becomes part of the graph
            state += [value for value in vars(child).values()
                      if isinstance(value, (bool, int, float, str, tuple))]
    return tuple(state)


def _has_hooks(module: nn.Module) -> bool:
    return any(getattr(module, name) for name in _HOOKS)


def _is_fixed(*modules: nn.Module) -> bool:
    return not torch.is_grad_enabled() or not any(
        parameter.requires_grad for module in modules for parameter in module.parameters())


def _can_fold(norm: nn.Module) -> bool:
    return (
        isinstance(norm, _BatchNorm) and not norm.training and norm.running_var is not None
        and type(norm).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)
        and not _has_hooks(norm) and _is_fixed(norm)
    )


class _Tracer(Tracer):
    """Follows a module only to where there is a BN to fold; the rest is called as it is."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return (super().is_leaf_module(m, module_qualified_name) or _has_hooks(m)
                or not any(_can_fold(child) for child in m.modules()))


def _trace(module: nn.Module) -> GraphModule | None:
    if _has_hooks(module) or not any(_can_fold(child) for child in module.modules()):
        return None
    try:
        graph = _Tracer().trace(module)
    except (TraceError, RuntimeError, TypeError, ValueError, AttributeError) as error:
        print_log(
            f'{type(module).__name__}: its BN are not folded, which is slower and gives the same '
            f'results; torch.fx cannot follow its forward: {error}', logger='current',
            level=logging.WARNING)
        return None
    modules = dict(module.named_modules())
    pairs = []
    for node in graph.nodes:
        norm = modules.get(node.target) if node.op == 'call_module' else None
        if norm is None or not _can_fold(norm) or not isinstance(node.args[0], Node):
            continue
        before = node.args[0]
        conv = modules.get(before.target) if before.op == 'call_module' else None
        if (isinstance(conv, nn.Conv2d) and type(conv).forward is nn.Conv2d.forward
                and conv.padding_mode == 'zeros' and len(before.users) == 1
                and not _has_hooks(conv) and _is_fixed(conv)):
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
        with graph.inserting_before(node):
            weight = graph.call_function(getitem, (weights, index))
            bias = graph.call_function(getitem, (biases, index))
            like = convs[-1]
            conv = graph.call_function(F.conv2d, (
                before.args[0], weight, bias, like.stride, like.padding, like.dilation,
                like.groups))
        node.replace_all_uses_with(conv)
        graph.erase_node(node)
        graph.erase_node(before)
    folded = GraphModule(module, graph)
    folded.convs, folded.norms = convs, norms
    folded.shapes, folded.compiled = set(), None
    return folded
