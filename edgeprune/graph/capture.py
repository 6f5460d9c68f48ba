"""Capture: whatever the user hands in becomes one torch.export program with a free batch axis."""

from __future__ import annotations

import hashlib
import io
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx import Graph, GraphModule, Interpreter, Node
from torch.fx.graph import _PyTreeCodeGen
from torch.utils._pytree import tree_leaves, tree_map, tree_unflatten

from edgeprune.core.errors import ModelError
from edgeprune.core.files import written_whole
from edgeprune.core.quiet import first_line
from edgeprune.graph.canonical import (
    folded,
    functional,
    inferring_batch,
    inlined,
    sliced,
    structured,
    unguarded,
)
from edgeprune.graph.input import Input
from edgeprune.graph.nodes import attribute, operator_name, shape_of
from edgeprune.graph.user_frames import noting_helpers, user_line
from edgeprune.graph.user_module import require_usable, tried

# The batch the graph is traced with. An unusual size makes a batch that leaks into a constant visible.
_TRACE_BATCH = 5


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """One captured network: a graph of ATen operators over named parameters, in evaluation mode.

    `module` maps inputs of shapes (batch, *size) to outputs; its graph has one placeholder for each,
    `get_attr` nodes named as the user's parameters, and functional operators only.
    """

    module: GraphModule
    inputs: tuple[Input, ...]

    def afresh(self) -> Program:
        """The same network captured again: after a cut, the graph knows its sizes only then."""
        return Program(self.exported().module(check_guards=False), self.inputs)

    @property
    def input_size(self) -> tuple[int, ...]:
        """Sizes of the first input, without the batch."""
        return self.inputs[0].size

    @property
    def outputs(self) -> int:
        """How many tensors the network answers with."""
        return len(self.graph.output_node().all_input_nodes)

    @property
    def answer(self) -> Node:
        """The value that a network with one output answers with."""
        (answer,) = self.graph.output_node().all_input_nodes
        return answer

    @property
    def graph(self) -> Graph:
        """The operators in execution order."""
        return self.module.graph

    def tensors(self) -> dict[str, Tensor]:
        """Parameters and buffers the graph reads, by name, in order of first use."""
        names = dict.fromkeys(str(node.target) for node in self.graph.nodes if node.op == "get_attr")
        return {name: attribute(self.module, name) for name in names}

    def examples(self, batch: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> list[Tensor]:
        """Seeded values for every input, of shapes (batch, *size); those that are no integers in `dtype`."""
        return [one.example(batch, seed + place, dtype) for place, one in enumerate(self.inputs)]

    def example(self, batch: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
        """Seeded values for the first input."""
        return self.examples(batch, seed=seed, dtype=dtype)[0]

    def run(self, inputs: Tensor) -> Tensor:
        """The output of a network with one input and one output, without gradients."""
        with torch.no_grad():
            output = self.module(inputs)
        assert isinstance(output, Tensor)
        return output

    def answers(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """All tensors the network answers with, in the order of its structure, without gradients."""
        with torch.no_grad():
            output = Interpreter(self.module).run(*inputs, enable_io_processing=False)
        return [one for one in tree_leaves(output) if isinstance(one, Tensor)]

    def exported(self) -> ExportedProgram:
        """A fresh torch.export program of the present weights and widths."""
        return _export(self.module, _structured(self.module, self.examples(_TRACE_BATCH)))

    def save(self, path: Path, *, sources: bool = False) -> None:
        """Write a `.pt2` that loads without the user's class, whole or not at all.

        Source lines (they hold absolute paths) and class names are only written with `sources`.
        """
        exported = self.exported() if sources else without_sources(self.exported())
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
        sizes = self.input_size if len(self.inputs) == 1 else [one.size for one in self.inputs]
        text = json.dumps([lines, shapes, sizes])
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def capture(module: nn.Module, inputs: tuple[int, ...] | Sequence[Input]) -> Program:
    """Capture a module in evaluation mode; the module itself is left as it was.

    Parameters
    ----------
    inputs : tuple of int, or sequence of Input
        The size of its one input without the batch, or all its inputs in the order of its arguments.

    Raises
    ------
    ModelError
        The network refuses such inputs, or cannot be captured; the message names the user's line.
    """
    given = tuple(one for one in inputs if isinstance(one, Input)) or (Input(_sizes(inputs)),)
    require_usable(module)
    modes = {name: part.training for name, part in module.named_modules()}
    # Not module.eval(): the graph module inside an exported program refuses that call.
    for part in module.modules():
        part.training = False
    try:
        expected = tried(module, given)
        examples = tuple(one.example(_TRACE_BATCH, 0, torch.float32) for one in given)
        exported = _export(module, (examples, {})).module(check_guards=False)
    finally:
        for name, part in module.named_modules():
            part.training = modes[name]
    assert isinstance(exported, GraphModule)
    program = Program(_canonical(exported), given)
    found = program.answers(program.examples(2))
    _require_batch(found)
    _require_equal(found, expected)
    return program


def from_exported(exported: ExportedProgram) -> Program:
    """The program of a torch.export archive, with its batch axis freed where it was fixed.

    Raises
    ------
    ModelError
        An input has sizes that are not fixed, or no batch axis, or it cannot be freed.
    """
    module = exported.module(check_guards=False)
    assert isinstance(module, GraphModule)
    inputs = _inputs_of(module)
    placeholders = [node for node in module.graph.nodes if node.op == "placeholder"]
    if all(shape_of(node)[0] is not None for node in placeholders):
        examples = [one.example(_TRACE_BATCH, 0, torch.float32) for one in inputs]
        module = _export(inferring_batch(module), _structured(module, examples)).module(check_guards=False)
    program = Program(_canonical(module), inputs)
    _require_batch(program.answers(program.examples(2)))
    return program


def _canonical(module: GraphModule) -> GraphModule:
    return structured(functional(folded(sliced(unguarded(inlined(module))))))


def _require_batch(found: Sequence[Tensor]) -> None:
    """The answers to a batch of two: tensors, and where there is one only, two rows of it."""
    if not found:
        raise ModelError("the network answers without any tensor", hint="return the logits")
    if len(found) == 1 and (found[0].ndim < 2 or found[0].shape[0] != 2):
        raise ModelError(
            f"the network answers a batch of 2 with shape {tuple(found[0].shape)}",
            hint="the first output axis must be the batch",
        )


_MODULE = "torch.nn.modules.module.Module"


def without_sources(fresh: ExportedProgram) -> ExportedProgram:
    """The program, of which nobody else holds a part, without the user's paths and class names.

    The names of modules stay, as those of parameters do: files made of it later are named after them.
    """
    for node in fresh.graph.nodes:
        for key in ("stack_trace", "source_fn_stack", "from_node", "custom"):
            node.meta.pop(key, None)
        stack = node.meta.get("nn_module_stack")
        if stack:
            node.meta["nn_module_stack"] = {key: (path, _MODULE) for key, (path, _) in stack.items()}
    return fresh


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


_Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def _structured(module: GraphModule, flat: Sequence[Tensor]) -> _Arguments:
    """Positional and keyword arguments of a captured module, from its placeholders' values."""
    codegen = module.graph._codegen
    if not isinstance(codegen, _PyTreeCodeGen) or codegen.pytree_info.in_spec is None:
        return tuple(flat), {}
    args, kwargs = tree_unflatten(list(flat), codegen.pytree_info.in_spec)
    return tuple(args), kwargs


def _export(module: nn.Module, arguments: _Arguments) -> ExportedProgram:
    args, kwargs = arguments
    batch = Dim("batch", min=1)

    def free(values: Any) -> Any:
        return tree_map(lambda value: {0: batch} if isinstance(value, Tensor) else None, values)

    try:
        shapes = free(signature(module.forward).bind(*args, **kwargs).arguments)
        with torch.no_grad(), noting_helpers(), warnings.catch_warnings():
            # Recurrent layers keep a second list of their weights, which export notices and leaves alone.
            warnings.filterwarnings("ignore", "The tensor attributes .*_flat_weights", UserWarning)
            return torch.export.export(module, args, kwargs, dynamic_shapes=shapes)
    except Exception as error:  # any exception of the user's forward, of dynamo or of shape reasoning
        where = user_line(error)
        raise ModelError(
            f"the network cannot be captured{f' at {where}' if where else ''}: {_why(error)}",
            hint="control flow on values and a fixed batch size cannot be exported; "
            "use torch.where / torch.cond, and x.shape[0] for the batch",
        ) from error


def _why(error: Exception) -> str:
    """What torch.export says, in one line; of constraints it is the second line that tells."""
    lines = [line.strip(" -") for line in str(error).splitlines()]
    if lines and lines[0].startswith("Constraints violated") and len(lines) > 1:
        return f"the batch is tied to other sizes: {lines[1]}"
    return first_line(error)


def _require_equal(found: Sequence[Tensor], expected: Sequence[Tensor]) -> None:
    """The captured program must answer like the module it was captured from."""
    differences = [0.0 if len(found) == len(expected) else float("inf")]
    for answer, wanted in zip(found, expected, strict=False):
        if wanted.numel():
            scale = float(wanted.abs().max()) or 1.0
            differences.append(float((answer.double() - wanted).abs().max()) / scale)
    # NaN must fail: numpy's max keeps it, Python's may lose it.
    difference = float(np.max(differences))
    if not difference <= 1e-4:
        raise ModelError(
            f"the captured program differs from the network by {difference:.1e} (relative)",
            hint="does its forward depend on random numbers or hidden state?",
        )


def _sizes(given: Sequence[int | Input]) -> tuple[int, ...]:
    return tuple(size for size in given if isinstance(size, int))


def _inputs_of(module: GraphModule) -> tuple[Input, ...]:
    """The placeholders of an archive; integers are taken for entries of the smallest table they look up."""
    inputs = []
    nodes = [node for node in module.graph.nodes if node.op == "placeholder"]
    for node in nodes:
        value, sizes = node.meta.get("val"), shape_of(node)
        if not isinstance(value, Tensor) or not sizes or any(size is None for size in sizes[1:]):
            raise ModelError(
                f"the network takes {len(nodes)} inputs, one of shape {sizes}",
                hint="edgeprune works on networks whose inputs are tensors of fixed sizes with a batch axis",
            )
        tables = [
            shape_of(user.args[0])[0]
            for user in node.users
            if operator_name(user) == "aten.embedding.default"
        ]
        limit = min((size for size in tables if size is not None), default=2)
        inputs.append(Input(tuple(size for size in sizes[1:] if size is not None), value.dtype, limit))
    return tuple(inputs)
