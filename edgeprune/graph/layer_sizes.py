"""Layer sizes: standard layers keep their widths as numbers beside the tensors, and these must follow.

Most follow from the shapes of the layer's own tensors. What is in no tensor (the groups of a convolution, the
width of a norm without parameters) is read from the layer's operator in the captured program.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.fx import Node
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from edgeprune.graph.capture import Program
from edgeprune.graph.nodes import argument, operator_name
from edgeprune.graph.replay import observe


def resize(module: nn.Module, program: Program) -> None:
    """Bring the sizes of all standard layers up to date, in place.

    Parameters
    ----------
    module : Module
        Already holds the narrow tensors.
    program : Program
        The same network, already narrow; its nodes say which module they come from.
    """
    operators = _operators(module, program)
    for part in module.modules():
        for kind, follow in _FOLLOW.items():
            if isinstance(part, kind):
                follow(part, operators.get(part, []))


@dataclass(slots=True, eq=False)
class _Operator:
    """An operator that a layer runs, and the shape of its answer."""

    name: str
    node: Node
    shape: tuple[int, ...] = field(default=())


def _operators(module: nn.Module, program: Program) -> dict[nn.Module, list[_Operator]]:
    """The operators of every module that has no modules inside."""
    parts = dict(module.named_modules(remove_duplicate=False))
    found: dict[nn.Module, list[_Operator]] = {}
    by_node = {}
    for node in program.graph.nodes:
        stack = node.meta.get("nn_module_stack")
        if node.op == "call_function" and stack:
            # A second call of the same module is written as name@1.
            path = str([*stack.values()][-1][0]).partition("@")[0]
            by_node[node] = _Operator(operator_name(node), node)
            if path in parts:
                found.setdefault(parts[path], []).append(by_node[node])

    def note(node: Node, value: Tensor) -> None:
        by_node[node].shape = tuple(value.shape)

    norms = [node for node, one in by_node.items() if one.name == "aten.instance_norm.default"]
    if norms:
        observe(program, program.example(1), norms, note)
    return found


Follow = Callable[[Any, list[_Operator]], None]


def _convolution(layer: _ConvNd, operators: list[_Operator]) -> None:
    for one in operators:
        if one.name.startswith("aten.conv"):
            layer.groups = argument(one.node, 6, 1, "groups")  # type: ignore[assignment]
    first, second = layer.weight.shape[:2]
    if isinstance(layer, _ConvTransposeNd):
        layer.in_channels, layer.out_channels = first, second * layer.groups
    else:
        layer.out_channels, layer.in_channels = first, second * layer.groups


def _linear(layer: nn.Linear, _: list[_Operator]) -> None:
    layer.out_features, layer.in_features = layer.weight.shape


def _bilinear(layer: nn.Bilinear, _: list[_Operator]) -> None:
    layer.out_features, layer.in1_features, layer.in2_features = layer.weight.shape


def _norm_of_channels(layer: _NormBase, operators: list[_Operator]) -> None:
    """Batch and instance norms; the latter may have neither parameters nor statistics."""
    own = [one for one in (layer.weight, layer.running_mean) if one is not None]
    for width in [one.shape[1] for one in operators if one.shape] + [len(one) for one in own]:
        layer.num_features = width


def _norm_of_last_axes(layer: nn.LayerNorm | nn.RMSNorm, operators: list[_Operator]) -> None:
    for one in operators:
        if one.name in {"aten.layer_norm.default", "aten.rms_norm.default"}:
            layer.normalized_shape = tuple(argument(one.node, 1, (), "normalized_shape"))  # type: ignore[arg-type]
    if layer.weight is not None:
        layer.normalized_shape = tuple(layer.weight.shape)


def _group_norm(layer: nn.GroupNorm, operators: list[_Operator]) -> None:
    per_group = layer.num_channels // layer.num_groups
    for one in operators:
        if one.name == "aten.group_norm.default":
            layer.num_groups = argument(one.node, 1, layer.num_groups, "num_groups")  # type: ignore[assignment]
    # Without parameters the width is no more than a note: whole groups are all that can go.
    layer.num_channels = len(layer.weight) if layer.weight is not None else per_group * layer.num_groups


def _prelu(layer: nn.PReLU, _: list[_Operator]) -> None:
    layer.num_parameters = layer.weight.numel()


def _embedding(layer: nn.Embedding | nn.EmbeddingBag, _: list[_Operator]) -> None:
    layer.num_embeddings, layer.embedding_dim = layer.weight.shape


def _unflatten(layer: nn.Unflatten, operators: list[_Operator]) -> None:
    for one in operators:
        sizes = argument(one.node, 2, (), "sizes")
        if one.name == "aten.unflatten.int" and isinstance(sizes, (list, tuple)):
            layer.unflattened_size = tuple(sizes)


def _attention(layer: nn.MultiheadAttention, _: list[_Operator]) -> None:
    """Whole heads only: narrower heads would change the scale that the layer computes from their width."""
    width = layer.out_proj.weight.shape[1]
    if width % layer.head_dim == 0:
        layer.embed_dim, layer.num_heads = width, width // layer.head_dim
    layer.kdim = width if layer.k_proj_weight is None else layer.k_proj_weight.shape[1]
    layer.vdim = width if layer.v_proj_weight is None else layer.v_proj_weight.shape[1]


def _recurrent(layer: nn.RNNBase, _: list[_Operator]) -> None:
    gates = {"LSTM": 4, "GRU": 3}.get(layer.mode, 1)
    read, projected = layer.weight_ih_l0, layer.weight_hr_l0 if layer.proj_size else None
    assert isinstance(read, Tensor)
    layer.input_size, layer.hidden_size = read.shape[1], read.shape[0] // gates
    if isinstance(projected, Tensor):
        layer.proj_size = len(projected)


def _recurrent_cell(layer: nn.RNNCellBase, _: list[_Operator]) -> None:
    layer.input_size, layer.hidden_size = layer.weight_ih.shape[1], layer.weight_hh.shape[1]


_FOLLOW: dict[type[nn.Module] | tuple[type[nn.Module], ...], Follow] = {
    _ConvNd: _convolution,
    nn.Linear: _linear,
    nn.Bilinear: _bilinear,
    _NormBase: _norm_of_channels,
    (nn.LayerNorm, nn.RMSNorm): _norm_of_last_axes,
    nn.GroupNorm: _group_norm,
    nn.PReLU: _prelu,
    (nn.Embedding, nn.EmbeddingBag): _embedding,
    nn.Unflatten: _unflatten,
    nn.MultiheadAttention: _attention,
    nn.RNNBase: _recurrent,
    nn.RNNCellBase: _recurrent_cell,
}
