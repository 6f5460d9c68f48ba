"""Canonical form: what torch.export leaves open or hidden in a graph, written out for the rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import is_dataclass
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, Node
from torch.fx.graph import _PyTreeCodeGen
from torch.utils._pytree import TreeSpec

from edgeprune.graph.nodes import argument, attribute, operator_name, set_arguments, shape_of


def inferring_batch(module: GraphModule) -> GraphModule:
    """Let views infer their first size, where an archive with a fixed batch has written it out."""
    for node in module.graph.nodes:
        if node.target in {torch.ops.aten.view.default, torch.ops.aten.reshape.default}:
            node.args = (node.args[0], [-1, *shape_of(node)[1:]])
    module.recompile()
    return module


def unguarded(module: GraphModule) -> GraphModule:
    """Drop what only insists on the traced type and device: the graph may run in others."""
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
        elif operator_name(node) == "aten.rms_norm.default" and argument(node, 3, None, "eps") is None:
            # Without a written epsilon it would be that of the type the graph happens to run in.
            sizes, weight = node.args[1], argument(node, 2, None, "weight")
            set_arguments(node, node.args[0], sizes, weight, torch.finfo(node.meta["val"].dtype).eps)
    return module


def sliced(module: GraphModule) -> GraphModule:
    """Drop slices that take everything, as `x[:, 2:4]` brings one for the batch."""
    for node in list(module.graph.nodes):
        source = node.args[0] if operator_name(node) == "aten.slice.Tensor" else None
        if isinstance(source, Node) and _takes_all(node):
            node.replace_all_uses_with(source)
            module.graph.erase_node(node)
    module.recompile()
    return module


def _takes_all(node: Node) -> bool:
    bounds = [argument(node, place, default) for place, default in ((2, 0), (3, _END), (4, 1))]
    return bounds[0] in (None, 0) and bounds[1] in (None, _END) and bounds[2] == 1


_END = 2**63 - 1


def structured(module: GraphModule) -> GraphModule:
    """Answer with dictionaries in place of dataclasses, so that files load without the user's class."""
    codegen = module.graph._codegen
    if isinstance(codegen, _PyTreeCodeGen) and codegen.pytree_info.out_spec is not None:
        plain = _without_classes(codegen.pytree_info.out_spec)
        codegen.pytree_info = codegen.pytree_info._replace(out_spec=plain)
        module.recompile()
    return module


def _without_classes(spec: TreeSpec) -> TreeSpec:
    if spec.is_leaf():
        return spec
    parts = [_without_classes(part) for part in spec.children()]
    if is_dataclass(spec.type):
        # The context of a registered dataclass: the fields that are set, and those that are not.
        return TreeSpec(dict, list(spec.context[0]), parts)
    return TreeSpec(spec.type, spec.context, parts)


def functional(module: GraphModule) -> GraphModule:
    """Replace in-place operators by their functional twins, so that no value changes once computed.

    Readers of the changed tensor that come later are pointed at the new value; a changed slice is
    joined with the rest of its tensor. What is read through other views is left as it is.
    """
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    for node in list(module.graph.nodes):
        twin = _functional_twin(node)
        changed = node.args[0] if node.args else None
        if twin is None or not isinstance(changed, Node):
            continue
        # A view that is taken later is taken of the new value, and follows those it is taken of.
        readers = {
            alias: {user for user in alias.users if order.get(user, -1) > order[node]}
            for alias in _aliases(changed)
            if order.get(alias, -1) < order[node]
        }
        whole = changed.args[0] if _is_slice(changed) else changed
        assert isinstance(whole, Node)
        if any(later and alias not in {changed, whole} for alias, later in readers.items()):
            continue
        node.target = twin
        changed.replace_all_uses_with(node, delete_user_cb=readers[changed].__contains__)
        if whole is not changed and readers[whole]:
            _put_back(module, whole, changed, node, readers[whole])
    module.graph.lint()
    module.recompile()
    return module


def inlined(module: GraphModule) -> GraphModule:
    """Inline the parts that run under a context of their own (no_grad, autocast)."""
    for node in list(module.graph.nodes):
        if node.op != "call_function" or not isinstance(node.target, torch._ops.HigherOrderOperator):
            continue
        inner = next((one for one in node.args if isinstance(one, Node) and _submodule(module, one)), None)
        if inner is None:
            continue
        part = _submodule(module, inner)
        assert part is not None
        operands = node.args[list(node.args).index(inner) + 1 :]
        _inline(module, node, part, operands)
        module.graph.erase_node(inner)
        delattr(module, str(inner.target))
    module.recompile()
    return module


def _submodule(module: GraphModule, node: Node) -> GraphModule | None:
    found = getattr(module, str(node.target), None) if node.op == "get_attr" else None
    return found if isinstance(found, GraphModule) else None


def _inline(module: GraphModule, node: Node, part: GraphModule, operands: Sequence[Any]) -> None:
    places = iter(operands)
    twins: dict[Node, Any] = {}
    with module.graph.inserting_before(node):
        for own in part.graph.nodes:
            if own.op == "placeholder":
                twins[own] = next(places)
            elif own.op == "output":
                results = torch.fx.map_arg(own.args[0], twins.__getitem__)
            else:
                twins[own] = module.graph.node_copy(own, twins.__getitem__)
    for user in list(node.users):
        if operator_name(user) == "_operator.getitem":
            user.replace_all_uses_with(results[user.args[1]])
            module.graph.erase_node(user)
    if node.users:
        node.replace_all_uses_with(results)
    module.graph.erase_node(node)


_WEIGHTED = {
    f"aten.{name}"
    for name in (
        "conv1d.default conv2d.default conv3d.default conv1d.padding conv2d.padding conv3d.padding "
        "conv_transpose1d.default conv_transpose2d.input conv_transpose3d.input linear.default"
    ).split()
}


# What keeps a weight's channels apart: such a weight is left as it is computed.
_TRANSPARENT = "permute transpose t view reshape unsqueeze squeeze mul slice contiguous to".split()


def folded(module: GraphModule) -> GraphModule:
    """Store weights that are computed from parameters alone, as parametrizations do, as parameters.

    They keep the name of the layer (`layer.weight`); `weight_norm` and weight standardisation mix the
    input channels of a weight, so nothing could be cut in front of it otherwise.
    """
    constant: set[Node] = set()
    for node in module.graph.nodes:
        if node.op == "get_attr" or (
            node.op == "call_function"
            and node.all_input_nodes
            and all(one in constant for one in node.all_input_nodes)
        ):
            constant.add(node)
    made: dict[Node, str] = {}
    for node in list(module.graph.nodes):
        weight = node.args[1] if operator_name(node) in _WEIGHTED else None
        if isinstance(weight, Node) and weight in constant and _is_mixed(weight):
            made.setdefault(weight, _layer_weight(node, weight))
    read = [node for node in module.graph.nodes if node in constant and node.users]
    stored: dict[str, nn.Parameter] = {}
    for weight, name in made.items():
        _store(module, weight, name, stored)
    erase_unread(module, read)
    return module


def _is_mixed(weight: Node) -> bool:
    """Whether more than views and element-wise factors lie between a weight and its parameters."""
    pending = [weight]
    while pending:
        node = pending.pop()
        if node.op != "get_attr":
            if operator_name(node).split(".")[1] not in _TRANSPARENT:
                return True
            pending.extend(node.all_input_nodes)
    return False


def _layer_weight(node: Node, weight: Node) -> str:
    """`<path of the layer>.weight`, by the parameters behind it and without parametrizations."""
    pending, names = [weight], []
    while pending:
        one = pending.pop()
        pending.extend(one.all_input_nodes)
        if one.op == "get_attr":
            names.append(str(one.target))
    path = min(names).split(".parametrizations.")[0].rpartition(".weight")[0] or min(names).rpartition(".")[0]
    if ".parametrizations." in min(names):
        path = min(names).split(".parametrizations.")[0]
    return f"{path}.weight" if path else f"{node.name}_weight"


def _store(module: GraphModule, weight: Node, name: str, stored: dict[str, nn.Parameter]) -> None:
    """Register the weight's value; a layer that is used again computes what is stored by then."""
    value = _evaluate(module, weight)
    for known, parameter in stored.items():
        if known.removesuffix("_folded") == name and torch.equal(parameter, value):
            _read_from(module, weight, known)
            return
    owner, _, leaf = name.rpartition(".")
    parent: nn.Module = module
    for part in owner.split(".") if owner else ():
        if not hasattr(parent, part):
            parent.add_module(part, nn.Module())
        parent = parent.get_submodule(part)
    if hasattr(parent, leaf):
        # The user's own tensor, from which the layer computes its weight: its name stays its own.
        name, leaf = f"{name}_folded", f"{leaf}_folded"
    stored[name] = nn.Parameter(value)
    parent.register_parameter(leaf, stored[name])
    _read_from(module, weight, name)


def _read_from(module: GraphModule, weight: Node, name: str) -> None:
    with module.graph.inserting_before(weight):
        stored = module.graph.get_attr(name)
    stored.meta = {"val": weight.meta["val"], "stack_trace": weight.meta.get("stack_trace")}
    weight.replace_all_uses_with(stored)


def _evaluate(module: GraphModule, node: Node) -> Any:
    if node.op == "get_attr":
        return attribute(module, str(node.target)).detach()
    args, kwargs = torch.fx.map_arg((node.args, node.kwargs), lambda one: _evaluate(module, one))
    assert callable(node.target)
    with torch.no_grad():
        return node.target(*args, **kwargs)


def erase_unread(module: GraphModule, nodes: Sequence[Node]) -> None:
    """Erase those of some nodes, given in graph order, that nobody reads, and the tensors behind them."""
    names = set()
    for node in reversed(nodes):
        if not node.users:
            names |= {str(node.target)} if node.op == "get_attr" else set()
            module.graph.erase_node(node)
    names -= {str(node.target) for node in module.graph.nodes if node.op == "get_attr"}
    for name in names:
        owner, _, leaf = name.rpartition(".")
        delattr(module.get_submodule(owner), leaf)
    module.recompile()


_VIEWS = (
    "alias chunk detach expand flatten permute reshape select slice split "
    "split_with_sizes squeeze t transpose unflatten unsqueeze view"
).split()


def _aliases(node: Node) -> set[Node]:
    """Every node that may share memory with this one through views."""
    base = node
    while _is_view(base) and isinstance(base.args[0], Node):
        base = base.args[0]
    family, pending = {base}, [base]
    while pending:
        for user in pending.pop().users:
            if user not in family and _is_view(user):
                family.add(user)
                pending.append(user)
    return family


def _is_slice(node: Node) -> bool:
    return operator_name(node) == "aten.slice.Tensor" and argument(node, 4, 1, "step") == 1


def _put_back(module: GraphModule, whole: Node, part: Node, changed: Node, readers: set[Node]) -> None:
    """Join a changed slice with what lies before and behind it, for those who read the whole later."""
    axis, start, end = (
        argument(part, place, default, name)
        for place, default, name in ((1, 0, "dim"), (2, 0, "start"), (3, None, "end"))
    )
    assert isinstance(axis, int)
    size = shape_of(whole)[axis] or 0
    first, last, _ = slice(start, end).indices(size)
    axis %= len(shape_of(whole))
    value, cut = whole.meta["val"], torch.ops.aten.slice.Tensor
    with module.graph.inserting_after(changed):
        joined = module.graph.call_function(torch.ops.aten.cat.default, ([], axis))
    pieces = [changed]
    with module.graph.inserting_before(joined):
        if first > 0:
            pieces.insert(0, module.graph.call_function(cut, (whole, axis, 0, first)))
            pieces[0].meta = {**changed.meta, "val": value.narrow(axis, 0, first)}
        if last < size:
            pieces.append(module.graph.call_function(cut, (whole, axis, last, size)))
            pieces[-1].meta = {**changed.meta, "val": value.narrow(axis, last, size - last)}
    joined.args = (pieces, axis)
    joined.meta = {**changed.meta, "val": value}
    whole.replace_all_uses_with(joined, delete_user_cb=readers.__contains__)


def _is_view(node: Node) -> bool:
    name = getattr(node.target, "__name__", "").split(".")[0]
    return node.op == "call_function" and (name in _VIEWS or name == "getitem")


def _functional_twin(node: Node) -> Any:
    if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
        return None
    namespace, _, name = node.target._schema.name.partition("::")
    if not name.endswith("_") or name.startswith("_"):
        return None
    packet = getattr(getattr(torch.ops, namespace), name.rstrip("_"), None)
    return getattr(packet, node.target._overloadname, None)
