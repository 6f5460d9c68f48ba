"""Products of activations: rows and columns pass through, what is summed over is locked."""

from __future__ import annotations

from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Labels, Rule, unlabelled

_WHY = "summed over by a product of activations"


def product(flow: Flow, node: Node) -> Axes:
    """(..., m, k) times (..., k, n) gives (..., m, n)."""
    first, second = flow.of(node.args[0]), flow.of(node.args[1])
    flow.lock(node, first[-1], _WHY)
    flow.lock(node, second[-2] if len(second) > 1 else second[-1], _WHY)
    if len(first) < 2 or len(second) < 2 or len(first) != len(second):
        flow.lock_all(node, node.all_input_nodes, "a product of tensors with unequal ranks")
        return unlabelled(node)
    batch = tuple(_meet(flow, node, a, b) for a, b in zip(first[:-2], second[:-2], strict=True))
    return (*batch, first[-2], second[-1])


def scaled_dot_product(flow: Flow, node: Node) -> Axes:
    """Query and key are summed over their last axis; the value's last axis passes through."""
    query, key, value = (flow.of(operand) for operand in node.args[:3])
    for labels in (query[-1], key[-1], *query[:-1], *key[:-1], *value[:-1]):
        flow.lock(node, labels, _WHY)
    others = [operand for operand in node.all_input_nodes if operand not in node.args[:3]]
    flow.lock_all(node, others, "an attention mask")
    return (*(None for _ in query[:-1]), value[-1])


def embedding(flow: Flow, node: Node) -> Axes:
    """Table (entries, width) looked up by indices gives (*indices, width)."""
    table, indices = flow.of(node.args[0]), flow.of(node.args[1])
    flow.lock(node, table[0], "entries of an embedding")
    flow.play(node.args[0], 1, "producer")
    return (*(None for _ in indices), table[1])


def _meet(flow: Flow, node: Node, first: Labels | None, second: Labels | None) -> Labels | None:
    if first is None and second is None:
        return None
    return flow.equate(node, first, second)


RULES = {
    "aten.matmul.default": Rule(product),
    "aten.bmm.default": Rule(product),
    "aten.mm.default": Rule(product),
    "aten.scaled_dot_product_attention.default": Rule(scaled_dot_product),
    "aten.embedding.default": Rule(embedding),
}
