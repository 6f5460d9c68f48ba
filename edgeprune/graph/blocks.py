"""Blocks: residual branches that may go altogether, because what they are added to goes on without them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor
from torch.fx import Node

from edgeprune.graph.capture import Program
from edgeprune.graph.nodes import attribute, operator_name, shape_of


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """`total = skip + branch`, where the branch starts from the skip and is read nowhere else."""

    name: str
    total: Node
    skip: Node
    branch: Node
    members: frozenset[Node]
    """Nodes that nobody needs once the branch is gone, its layers' tensors included."""

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of the parameters and buffers it reads."""
        read = (node for node in self.members if node.op == "get_attr" and node.users)
        return tuple(sorted(str(node.target) for node in read))


def find_blocks(program: Program) -> list[Block]:
    """Every residual branch with parameters of its own, in graph order."""
    behind = _ancestors(program)
    numbers = {node: index for index, node in enumerate(program.graph.nodes)}
    nodes = list(program.graph.nodes)
    shared, unread = _shared_tensors(program), _unread(program)
    found, names = [], set[str]()
    for total in nodes:
        if operator_name(total) != "aten.add.Tensor" or total.kwargs:
            continue
        for skip, branch in (total.args, total.args[::-1]):
            if not isinstance(skip, Node) or not isinstance(branch, Node) or skip is branch:
                continue
            if shape_of(skip) != shape_of(branch) or not behind[branch] >> numbers[skip] & 1:
                continue
            only = behind[branch] & ~behind[skip] & ~(1 << numbers[skip]) | 1 << numbers[branch]
            members = frozenset(nodes[index] for index in _bits(only))
            if _is_separable(members, total) and not _names(members) & shared and _names(members):
                name = _unique(_name_of(total, members), names)
                members |= {node for owner in _owners(members) for node in unread.get(owner, ())}
                found.append(Block(name, total, skip, branch, members))
                break
    return found


def _ancestors(program: Program) -> dict[Node, int]:
    """For every node the set of those it is computed from, as the bits of one integer."""
    behind: dict[Node, int] = {}
    number = {node: index for index, node in enumerate(program.graph.nodes)}
    for node in program.graph.nodes:
        bits = 0
        for value in node.all_input_nodes:
            bits |= behind[value] | 1 << number[value]
        behind[node] = bits
    return behind


def _bits(number: int) -> Iterable[int]:
    text = bin(number)[:1:-1]
    place = text.find("1")
    while place >= 0:
        yield place
        place = text.find("1", place + 1)


def _is_separable(members: frozenset[Node], total: Node) -> bool:
    """Nothing but the sum reads what the branch computes."""
    return all(user in members or user is total for node in members for user in node.users) and not any(
        node.op == "placeholder" for node in members
    )


def _shared_tensors(program: Program) -> set[str]:
    """Names of parameters that exist under several names."""
    names: dict[int, list[str]] = {}
    for node in program.graph.nodes:
        if node.op == "get_attr":
            name = str(node.target)
            names.setdefault(id(attribute(program.module, name)), []).append(name)
    return {name for each in names.values() if len(set(each)) > 1 for name in each}


def _unread(program: Program) -> dict[str, list[Node]]:
    """Buffers that a layer holds and nobody reads (how many batches a norm has seen), by the layer."""
    found: dict[str, list[Node]] = {}
    for node in program.graph.nodes:
        if node.op == "get_attr" and not node.users:
            found.setdefault(str(node.target).rpartition(".")[0], []).append(node)
    return found


def _owners(members: Iterable[Node]) -> set[str]:
    return {name.rpartition(".")[0] for name in _names(members)}


def _names(members: Iterable[Node]) -> set[str]:
    return {
        str(node.target)
        for node in members
        if node.op == "get_attr" and isinstance(node.meta.get("val"), Tensor)
    }


def _name_of(total: Node, members: frozenset[Node]) -> str:
    """The longest module path that all of the branch's parameters share."""
    paths = [name.split(".")[:-1] for name in _names(members)]
    common = paths[0]
    for path in paths[1:]:
        length = next(
            (place for place, (a, b) in enumerate(zip(common, path, strict=False)) if a != b),
            min(len(common), len(path)),
        )
        common = common[:length]
    return ".".join(common) or total.name


def _unique(name: str, taken: set[str]) -> str:
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}#{number}"
    taken.add(unique)
    return unique
