"""The module hierarchy as a tree: every layer with its width and its group, repeated siblings once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby

from rich.tree import Tree

from edgeprune.cli import render
from edgeprune.core.inspection import GroupRow, Inspection, LayerRow
from edgeprune.core.units import format_operator


def print_tree(document: Inspection, *, all: bool) -> None:
    """Print it; siblings that look alike are folded into one with a count, unless `all` is asked for."""
    groups = {row.id: row for row in document.groups}
    root = _Branch("")
    for layer in document.layers:
        branch = root
        for part in layer.path.split("."):
            branch = branch.child(part)
        branch.layer = layer
    tree = Tree(" and ".join(map(str, document.inputs)))
    _grow(tree, root, groups, fold=not all)
    render.console().print(tree)
    render.inspection_summary(document)


@dataclass(slots=True)
class _Branch:
    """A module on the way to layers."""

    path: str
    layer: LayerRow | None = None
    children: dict[str, _Branch] = field(default_factory=dict)

    def child(self, name: str) -> _Branch:
        """The submodule of that name."""
        path = f"{self.path}.{name}" if self.path else name
        return self.children.setdefault(name, _Branch(path))


def _grow(tree: Tree, branch: _Branch, groups: dict[str, GroupRow], *, fold: bool) -> None:
    for _, alike in groupby(
        branch.children.items(), lambda child: _looks(child[1], child[1].path, groups) if fold else child[0]
    ):
        names, branches = zip(*alike, strict=True)
        first = branches[0]
        words = _layer(first.layer, groups) if first.layer else ""
        _grow(tree.add(f"{_names(names)}{words}"), first, groups, fold=fold)


def _names(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    numbered = all(name.isdecimal() for name in names)
    listed = f"{names[0]}..{names[-1]}" if numbered or len(names) > 3 else ", ".join(names)
    return f"{listed} x{len(names)}"


def _looks(branch: _Branch, within: str, groups: dict[str, GroupRow]) -> object:
    """What decides whether two siblings are alike: everything but their own name."""
    layer = None
    if branch.layer is not None:
        layer = (
            branch.layer.operator,
            branch.layer.reads,
            branch.layer.makes,
            *(name.removeprefix(within) for name in branch.layer.groups),
            *(render.group_note([groups[name]]) for name in branch.layer.groups),
        )
    children = ((name, _looks(child, within, groups)) for name, child in branch.children.items())
    return layer, tuple(children)


def _layer(layer: LayerRow, groups: dict[str, GroupRow]) -> str:
    width = " -> ".join(str(size) for size in (layer.reads, layer.makes) if size)
    return f": {format_operator(layer.operator)} {width}{_groups(layer, groups)}"


def _groups(layer: LayerRow, groups: dict[str, GroupRow]) -> str:
    rows = [groups[name] for name in layer.groups]
    if not rows:
        return ""
    own = [row for row in rows if _home(row) == layer.path]
    others = [row.id for row in rows if row not in own]
    units = ", ".join(f"{row.units} {row.kind}" for row in own)
    words = [units] if own else []
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        locked = " (locked)" if groups[others[0]].locked else ""
        words.append(f"with {others[0]}{locked}{more}")
    note = next((note for row in own if (note := render.group_note([row]))), "")
    return f", {', '.join(words)}{f'; {note}' if note else ''}"


def _home(row: GroupRow) -> str:
    """The layer a group is named after; a parameter that is no `weight` gives its full name."""
    name = row.id.partition("/")[0].partition("#")[0]
    return name.rpartition(".")[0] or name if name in row.members else name
