"""Capture: whatever the user hands in becomes one torch.export program with a free batch axis."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import Graph, GraphModule, Node

from edgeprune.core.errors import ModelError
from edgeprune.core.files import written_whole
from edgeprune.core.quiet import first_line

# The batch the graph is traced with. An unusual size makes a batch that leaks into a constant visible.
_TRACE_BATCH = 5
_TORCH = str(Path(torch.__file__).parent) + os.sep


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """One captured network: a graph of ATen operators over named parameters, in evaluation mode.

    `module` maps inputs of shape (batch, *input_size) to outputs; its graph has one placeholder,
    `get_attr` nodes named as the user's parameters, and functional operators only.
    """

    module: GraphModule
    input_size: tuple[int, ...]

    @property
    def graph(self) -> Graph:
        """The operators in execution order."""
        return self.module.graph

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers the graph reads, by name, in order of first use."""
        names = dict.fromkeys(str(node.target) for node in self.graph.nodes if node.op == "get_attr")
        return {name: attribute(self.module, name) for name in names}

    def example(self, batch: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Seeded standard-normal inputs of shape (batch, *input_size)."""
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(batch, *self.input_size, generator=generator, dtype=dtype)

    def run(self, inputs: Tensor) -> Tensor:
        """The network's output for a batch, without gradients."""
        with torch.no_grad():
            output = self.module(inputs)
        assert isinstance(output, Tensor)
        return output

    def exported(self) -> ExportedProgram:
        """A fresh torch.export program of the present weights and widths."""
        return _export(self.module, self.input_size)

    def save(self, path: Path, *, sources: bool = False) -> None:
        """Write a `.pt2` that loads without the user's class, whole or not at all.

        Source lines (they hold absolute paths) and class names are only written with `sources`.
        """
        exported = self.exported()
        for node in exported.graph.nodes if not sources else ():
            for key in ("stack_trace", "nn_module_stack", "source_fn_stack", "from_node", "custom"):
                node.meta.pop(key, None)
        buffer = io.BytesIO()
        torch.export.save(exported, buffer)
        with written_whole(path) as scratch:
            scratch.write_bytes(buffer.getbuffer())

    def fingerprint(self) -> str:
        """A hash of operators, wiring and parameter shapes, whatever the weights are."""
        position = {node: index for index, node in enumerate(self.graph.nodes)}
        lines = []
        for node in self.graph.nodes:
            wiring = torch.fx.map_arg((node.args, node.kwargs), lambda other: f"%{position[other]}")
            lines.append(f"{node.op} {node.target if node.op != 'placeholder' else ''} {wiring}")
        shapes = {name: list(tensor.shape) for name, tensor in self.tensors().items()}
        text = json.dumps([lines, shapes, self.input_size])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def capture(module: nn.Module, input_size: tuple[int, ...]) -> Program:
    """Capture a module in evaluation mode; the module itself is left as it was.

    Raises
    ------
    ModelError
        The network refuses such inputs, or cannot be captured; the message names the user's line.
    """
    modes = {name: part.training for name, part in module.named_modules()}
    # Not module.eval(): the graph module inside an exported program refuses that call.
    for part in module.modules():
        part.training = False
    try:
        expected = _try_forward(module, input_size)
        program = from_exported(_export(module, input_size))
    finally:
        for name, part in module.named_modules():
            part.training = modes[name]
    _require_equal(program, expected)
    return program


def from_exported(exported: ExportedProgram) -> Program:
    """The program of a torch.export archive, with its batch axis freed where it was fixed.

    Raises
    ------
    ModelError
        Not one image-like input and one tensor output, or the batch axis cannot be freed.
    """
    module = exported.module(check_guards=False)
    assert isinstance(module, GraphModule)
    sizes = [shape_of(node) for node in module.graph.nodes if node.op == "placeholder"]
    if len(sizes) != 1 or len(sizes[0]) < 2 or any(size is None for size in sizes[0][1:]):
        raise ModelError(
            f"the network takes {len(sizes)} inputs of shapes {sizes}",
            hint="edgeprune works on networks with one input of fixed size and a batch axis",
        )
    input_size = tuple(size for size in sizes[0][1:] if size is not None)
    if sizes[0][0] is not None:
        module = _export(_inferring_batch(module), input_size).module(check_guards=False)
    program = Program(_functional(_unguarded(module)), input_size)
    output = program.run(program.example(2))
    if output.ndim < 2 or output.shape[0] != 2:
        raise ModelError(
            f"the network answers a batch of 2 with shape {tuple(output.shape)}",
            hint="the first output axis must be the batch",
        )
    return program


def attribute(module: nn.Module, name: str) -> Tensor:
    """A parameter or buffer by its dotted name."""
    owner, _, leaf = name.rpartition(".")
    value = getattr(module.get_submodule(owner), leaf)
    assert isinstance(value, Tensor)
    return value


def rebuild(program: Program, tensors: Mapping[str, Tensor]) -> GraphModule:
    """A copy of the graph over other tensors of the same names (node names are kept)."""
    graph = Graph()
    copied: dict[Node, Node] = {}
    output = graph.graph_copy(program.graph, copied, return_output_node=True)
    if output is not None:
        graph.output(output[0] if isinstance(output, tuple) else output)
    graph.set_codegen(program.graph._codegen)
    parameters = dict(program.module.named_parameters(remove_duplicate=False))
    # Tied parameters are one tensor under several names, and stay one.
    tied = {
        id(tensor): nn.Parameter(tensor, requires_grad=tensor.is_floating_point())
        for name, tensor in tensors.items()
        if name in parameters
    }
    root = {name: tied.get(id(tensor), tensor) for name, tensor in tensors.items()}
    return GraphModule(root, graph, "Captured")


def shape_of(node: Node) -> tuple[int | None, ...]:
    """Sizes of a node's tensor value; None where they depend on the batch."""
    value = node.meta.get("val")
    return tensor_shape(value) if isinstance(value, Tensor) else ()


def tensor_shape(value: Tensor) -> tuple[int | None, ...]:
    """Sizes of a (fake) tensor; None where they are symbolic."""
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def single_sizes(value: Tensor) -> tuple[int, ...]:
    """Sizes of a (fake) tensor for a batch of one."""
    return tuple(size if isinstance(size, int) else _at_batch_one(size) for size in value.shape)


def source_of(node: Node) -> str:
    """`file.py:12` of the user's line behind a node, '' when the archive does not say."""
    found = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
    own = [(file, line) for file, line in found if not file.startswith(_TORCH)]
    return f"{Path(own[-1][0]).name}:{own[-1][1]}" if own else ""


def _export(module: nn.Module, input_size: tuple[int, ...]) -> ExportedProgram:
    example = torch.zeros(_TRACE_BATCH, *input_size)
    try:
        with torch.no_grad():
            return torch.export.export(module, (example,), dynamic_shapes=({0: Dim("batch", min=1)},))
    except Exception as error:  # any exception of the user's forward, of dynamo or of shape reasoning
        where = _user_line(error)
        raise ModelError(
            f"the network cannot be captured{f' at {where}' if where else ''}: {first_line(error)}",
            hint="control flow on values and a fixed batch size cannot be exported; "
            "use torch.where / torch.cond, and x.shape[0] for the batch",
        ) from error


def _try_forward(module: nn.Module, input_size: tuple[int, ...]) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(2, *input_size, generator=generator)
    try:
        with torch.no_grad():
            output = module(inputs)
    except Exception as error:  # the user's forward may raise anything
        where = _user_line(error)
        raise ModelError(
            f"the network refuses inputs of shape {'x'.join(map(str, input_size))}"
            f"{f' at {where}' if where else ''}: {first_line(error)}",
            hint="give the size it was trained with, as --input CxHxW or in edgeprune.toml",
        ) from error
    if not isinstance(output, Tensor):
        raise ModelError(
            f"the network returns a {type(output).__name__}, not one tensor",
            hint="wrap it in a module that returns the logits only",
        )
    return output


def _require_equal(program: Program, expected: Tensor) -> None:
    """The captured program must answer like the module it was captured from."""
    answer = program.run(program.example(2))
    scale = float(expected.abs().max()) or 1.0
    difference = float((answer - expected).abs().max()) / scale
    if not difference <= 1e-4:
        raise ModelError(
            f"the captured program differs from the network by {difference:.1e} (relative)",
            hint="does its forward depend on random numbers or hidden state?",
        )


def _user_line(error: BaseException) -> str:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((_TORCH, str(Path(__file__).parent), "<"))
    ]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""


def _inferring_batch(module: GraphModule) -> GraphModule:
    """Let views infer their first size, where an archive with a fixed batch has written it out."""
    for node in module.graph.nodes:
        if node.target in {torch.ops.aten.view.default, torch.ops.aten.reshape.default}:
            node.args = (node.args[0], [-1, *shape_of(node)[1:]])
    module.recompile()
    return module


def _unguarded(module: GraphModule) -> GraphModule:
    """Drop what only insists on the traced type and device: the graph may run in others."""
    for node in list(module.graph.nodes):
        if node.target is torch.ops.aten._assert_tensor_metadata.default:
            module.graph.erase_node(node)
    return module


def _functional(module: GraphModule) -> GraphModule:
    """Replace in-place operators by their functional twins, so that no value changes once computed.

    Readers of the changed tensor that come later are pointed at the new value. An operator that
    changes part of a tensor which others still read (a slice of it) is left as it is.
    """
    order = {node: index for index, node in enumerate(module.graph.nodes)}
    for node in list(module.graph.nodes):
        twin = _functional_twin(node)
        changed = node.args[0] if node.args else None
        if twin is None or not isinstance(changed, Node):
            continue
        aliases = _aliases(changed) - {changed}
        if any(order[user] > order[node] for alias in aliases for user in alias.users):
            continue
        node.target = twin
        later = {user for user in changed.users if order[user] > order[node]}
        changed.replace_all_uses_with(node, delete_user_cb=later.__contains__)
    module.graph.lint()
    module.recompile()
    return module


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


def _at_batch_one(size: Any) -> int:
    expression = size.node.expr
    return int(expression.xreplace(dict.fromkeys(expression.free_symbols, 1)))
