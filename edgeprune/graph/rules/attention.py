"""Products of activations: rows and columns pass through, what is summed over is read as zero where cut."""

from __future__ import annotations

from collections.abc import Sequence

from torch.fx import Node

from edgeprune.graph.flow import Axes, Flow, Labels, Narrowed, Product, Rule, unlabelled
from edgeprune.graph.nodes import argument, shape_of, stored

_TOKENS = "positions that attend to each other"


def product(flow: Flow, node: Node) -> Axes:
    """(..., m, k) times (..., k, n) gives (..., m, n); a vector lacks its other axis."""
    first, second = node.args[0], node.args[1]
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    left, right = flow.of(first), flow.of(second)
    inner = max(len(right) - 2, 0)
    flow.equate(node, left[-1], right[inner]) if left[-1] is not None or right[inner] is not None else None
    _end(flow, node, first, len(left) - 1, second, inner)
    batch = _broadcast(flow, node, [first, second], [left[:-2], right[:-2]])
    _mark(flow, [first, second], batch, (left[-1], right[-1]))
    rows, columns = left[-2:-1], right[-1:] if len(right) > 1 else ()
    if stored(first) and len(left) > 1:
        flow.play(first, len(left) - 2, "producer")
    if stored(second) and len(right) > 1:
        flow.play(second, len(right) - 1, "producer")
    return (*batch, *rows, *columns)


def biased_product(flow: Flow, node: Node) -> Axes:
    """Addmm and baddbmm: a product that something of its shape is added to."""
    added, first, second = node.args[:3]
    left, right = flow.of(first), flow.of(second)
    flow.meet(node, [left[-1], right[-2]])
    assert isinstance(first, Node)
    assert isinstance(second, Node)
    _end(flow, node, first, len(left) - 1, second, len(right) - 2)
    if stored(second):
        flow.play(second, len(right) - 1, "producer")
    batch = _broadcast(flow, node, [first, second], [left[:-2], right[:-2]])
    _mark(flow, [first, second], batch, (left[-1], right[-1]))
    result = (*batch, left[-2], right[-1])
    assert isinstance(added, Node)
    return _broadcast(flow, node, [node, added], [result, flow.of(added)])


def scaled_dot_product(flow: Flow, node: Node) -> Axes:
    """Query (..., L, E), key (..., S, E) and value (..., S, V) give (..., L, V)."""
    operands = [value for value in node.args[:3] if isinstance(value, Node)]
    query, key, value = (flow.of(operand) for operand in operands)
    flow.lock_axes(node, (query[-2], key[-2], value[-2]), _TOKENS)
    flow.meet(node, [query[-1], key[-1]])
    flow.read(node, operands[0], -1)
    mask = argument(node, 3, None, "attn_mask")
    if isinstance(mask, Node):
        flow.lock_axes(node, flow.of(mask)[-2:], _TOKENS)
    heads = [query[:-2], key[:-2], value[:-2]]
    if node.kwargs.get("enable_gqa") and len(query) > 2:
        heads = _grouped_heads(flow, node, operands[0], operands[1], heads)
    batch = _broadcast(flow, node, operands, heads)
    if isinstance(mask, Node):
        batch = _broadcast(flow, node, [operands[0], mask], [batch, flow.of(mask)[:-2]])
    _mark(flow, operands, batch, (query[-1], value[-1]))
    return (*batch, query[-2], value[-1])


def rewrite_scale(node: Node, narrowed: Narrowed) -> None:
    """A narrower head keeps the scale it was trained with."""
    query = node.args[0]
    assert isinstance(query, Node)
    labels = narrowed.of(query)[-1]
    if labels is not None and narrowed.is_cut(labels) and node.kwargs.get("scale") is None:
        node.kwargs = {**node.kwargs, "scale": len(labels) ** -0.5}


def einsum(flow: Flow, node: Node) -> Axes:
    """Letters that meet are cut alike; those that the result lacks are summed over."""
    equation, operands = node.args[0], node.args[1]
    assert isinstance(equation, str)
    assert isinstance(operands, (list, tuple))
    nodes = [one for one in operands if isinstance(one, Node)]
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    if not arrow:
        letters = sorted(set(left) - {","})
        right = "".join(one for one in letters if left.count(one) == 1)
    if "." in equation or any(len(set(term)) != len(term) for term in terms):
        flow.lock_all(node, nodes, "an einsum with an ellipsis or a diagonal", "name every axis once")
        return unlabelled(node)
    found: dict[str, Labels | None] = {}
    for letter in dict.fromkeys("".join(terms)):
        places = [(one, term.index(letter)) for one, term in zip(nodes, terms, strict=True) if letter in term]
        found[letter] = flow.meet(node, [flow.of(one)[axis] for one, axis in places])
        if letter not in right:
            _end(flow, node, *places[0], *(places[1] if len(places) > 1 else places[0]))
        if len(nodes) > 1 and not any(stored(one) for one in nodes):
            shared = letter in right and len(places) == len(nodes)
            flow.mark(found[letter], "heads" if shared else "width")
        for one, axis in places:
            if stored(one) and letter in right and len(places) == 1:
                flow.play(one, axis, "producer")
    return tuple(found[letter] for letter in right)


def embedding(flow: Flow, node: Node) -> Axes:
    """Table (entries, width) looked up by indices gives (*indices, width)."""
    table, indices = flow.of(node.args[0]), flow.of(node.args[1])
    flow.lock(node, table[0], "entries of an embedding")
    flow.lock_axes(node, indices, "indices of an embedding")
    flow.play(node.args[0], 1, "producer")
    return (*(None for _ in indices), table[1])


def _mark(
    flow: Flow, operands: Sequence[Node], batch: Sequence[Labels | None], widths: Sequence[Labels | None]
) -> None:
    """Products of two activations are attention: what they share are heads, the rest is their width."""
    if any(stored(one) for one in operands):
        return
    for labels in batch:
        flow.mark(labels, "heads")
    for labels in widths:
        flow.mark(labels, "width")


def _end(flow: Flow, node: Node, first: Node, axis: int, second: Node, other: int) -> None:
    """Labels end in a sum over an axis of two operands; a weight is silenced, else the first of them."""
    if stored(second) and not stored(first):
        flow.consume(node, second, other, first, axis)
    elif stored(first) and not stored(second):
        flow.consume(node, first, axis, second, other)
    else:
        flow.read(node, first, axis)


def _broadcast(
    flow: Flow, node: Node, operands: Sequence[Node], axes: Sequence[Sequence[Labels | None]]
) -> tuple[Labels | None, ...]:
    """Leading axes that meet as in broadcasting, aligned at their end."""
    rank = max(len(one) for one in axes)
    result: list[Labels | None] = []
    for back in range(-rank, 0):
        there = [
            (own[back], shape_of(operand)[: len(own)][back])
            for operand, own in zip(operands, axes, strict=True)
            if -back <= len(own)
        ]
        long = [labels for labels, size in there if size != 1]
        for labels, size in there:
            if size == 1 and long:
                flow.lock(node, labels, "one index that is repeated for all others")
        result.append(flow.meet(node, long) if long else None)
    return tuple(result)


def _grouped_heads(
    flow: Flow, node: Node, query: Node, key: Node, heads: Sequence[Axes]
) -> list[tuple[Labels | None, ...]]:
    """Several query heads share one head of key and value: (shared, own) merged in this order."""
    of_query, shared = shape_of(query)[-3], shape_of(key)[-3]
    result = [tuple(one) for one in heads]
    if of_query == shared or of_query is None or shared is None:
        return result
    asked = result[0][-1]
    met = flow.meet(node, [result[1][-1], result[2][-1]])
    if asked is None or met is None:
        flow.lock(node, asked, "meets heads that cannot be cut")
        flow.lock(node, met, "meets heads that cannot be cut")
        return [result[0]] * 3
    flow.products.append(Product(asked.reshape(shared, -1), (met, flow.fresh(of_query // shared))))
    return [result[0]] * 3


_PRODUCT = Rule(product)

RULES = {
    "aten.matmul.default": _PRODUCT,
    "aten.bmm.default": _PRODUCT,
    "aten.mm.default": _PRODUCT,
    "aten.mv.default": _PRODUCT,
    "aten.addmm.default": Rule(biased_product),
    "aten.baddbmm.default": Rule(biased_product),
    "aten.einsum.default": Rule(einsum),
    "aten.scaled_dot_product_attention.default": Rule(scaled_dot_product, rewrite_scale),
    "aten.embedding.default": Rule(embedding),
}
