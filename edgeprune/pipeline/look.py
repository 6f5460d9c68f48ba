"""Looking at a network: what can be cut in it, and where its channels go."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeprune.core.contents import Contents
from edgeprune.core.explanation import Explanation
from edgeprune.core.inputs import InputSize
from edgeprune.core.inspection import Inspection
from edgeprune.core.request import Look
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.input import Input
from edgeprune.stages.ask import ask_to_look
from edgeprune.stages.explain import explain_layer
from edgeprune.stages.inspect import inspect_groups
from edgeprune.stages.load import load
from edgeprune.stages.look_into import look_into

if TYPE_CHECKING:
    from torch import nn


def inspect(
    model: str | Path | nn.Module | None = None,
    *,
    arch: str | None = None,
    input: tuple[int, ...] | Sequence[InputSize] | None = None,
    trust_pickle: bool = False,
    allow_inexact: Iterable[str] = (),
) -> Inspection:
    """What can be cut in a network, and why the rest cannot; without a model, random weights.

    `input` is the size of its one input without the batch, or one `InputSize` for each of several.
    """
    return inspect_groups(_coupled(model, arch, input, trust_pickle, allow_inexact))


def contents(path: str | Path) -> Contents:
    """What an ONNX or TFLite file says of itself: ends, operators, weights, the notes written into it."""
    return look_into(Path(path))


def explain(
    model: str | Path | nn.Module | None = None,
    *,
    layer: str,
    arch: str | None = None,
    input: tuple[int, ...] | Sequence[InputSize] | None = None,
    trust_pickle: bool = False,
    allow_inexact: Iterable[str] = (),
) -> Explanation:
    """Where the channels of a layer (or of all layers below a name) go, and what goes with them."""
    return explain_layer(_coupled(model, arch, input, trust_pickle, allow_inexact), layer)


def _coupled(
    model: str | Path | nn.Module | None,
    arch: str | None,
    input: tuple[int, ...] | Sequence[InputSize] | None,
    trust_pickle: bool,
    allow_inexact: Iterable[str],
) -> Coupling:
    """What `inspect` and `explain` look at."""
    source = Path(model) if isinstance(model, (str, Path)) else model
    look = ask_to_look(
        source,
        arch=arch,
        inputs=sizes(input),
        trust_pickle=trust_pickle,
        allow_inexact=allow_inexact,
    )
    return looked_at(source, look)


def looked_at(source: Path | nn.Module | None, look: Look) -> Coupling:
    """The network of a request, loaded and coupled."""
    program = load(
        source,
        arch=look.arch,
        input_size=[Input.of(one) for one in look.inputs] or None,
        trust_pickle=look.trust_pickle,
        base=Path(look.arch_base),
    )
    return couple(program, look.allow_inexact)


def sizes(given: tuple[int, ...] | Sequence[InputSize] | None) -> tuple[InputSize, ...]:
    """The inputs that were named: one size without the batch, or one `InputSize` each."""
    several = tuple(one for one in given or () if isinstance(one, InputSize))
    single = tuple(size for size in given or () if isinstance(size, int))
    return (InputSize(size=single),) if single else several
