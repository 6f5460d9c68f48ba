"""Tree specifications: how inputs and outputs nest, in plain containers only.

torch imports the module that an enum or a defaultdict in such a text names (utils/_pytree.py:971, 2018).
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

from edgeprune.graph.archive.names import is_identifier

_CONTAINERS: Final = {
    *("builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", "collections.deque"),
}
_KEY: Final = re.compile(r"[\w.\-:/ ]*\Z", re.ASCII)


def is_tree(text: object) -> bool:
    """A tree of plain containers."""
    return _parse(text) is not None


def is_input_tree(text: object) -> bool:
    """A tree of positional and keyword inputs; the keywords become source text, so they are identifiers."""
    tree = _parse(text)
    if tree is None:
        return False
    children = tree["children_spec"]
    if tree["type"] != "builtins.tuple" or len(children) != 2 or children[1]["type"] != "builtins.dict":
        return tree["type"] is None
    return all(is_identifier(name) for name in json.loads(children[1]["context"]))


def _parse(text: object) -> dict[str, Any] | None:
    try:
        match json.loads(text) if isinstance(text, str) else None:
            case [1, dict() as tree] if _is_node(tree):  # 1: the version of the format
                return tree
    except ValueError:
        pass
    return None


def _is_node(node: object) -> bool:
    if not isinstance(node, dict) or set(node) != {"type", "context", "children_spec"}:
        return False
    kind, context, children = node["type"], node["context"], node["children_spec"]
    if kind is None:
        return context is None and children == []
    if kind not in _CONTAINERS or not isinstance(context, str) or not isinstance(children, list):
        return False
    return _is_context(json.loads(context)) and all(_is_node(child) for child in children)


def _is_context(context: object) -> bool:
    """Nothing, a deque's length, or the keys of a dict."""
    return (
        context is None
        or isinstance(context, int)
        or (isinstance(context, list) and all(_is_key(key) for key in context))
    )


def _is_key(key: object) -> bool:
    return isinstance(key, int | float) or (isinstance(key, str) and _KEY.match(key) is not None)
