"""Cutting: half of every free group of one network at once, timed, then proven, run and captured again."""

from __future__ import annotations

import math
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from benchmarks.zoo.child import Notes
from benchmarks.zoo.networks import Network, Sizes
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.group import Group
from edgeprune.core.plan import Cut
from edgeprune.graph.capture import Program, capture, from_exported
from edgeprune.graph.check import TOLERANCE, prove
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple
from edgeprune.graph.input import Input
from edgeprune.graph.surgery import shrink


def cut_network(notes: Notes, source: str, name: str, family: str = "") -> None:
    """One row of the tables `torchvision` and `timm`."""
    notes.doing("build")
    module, sizes = Network(source, name, family).build()
    stored = stored_bytes(module)
    warm_up()
    notes.doing("capture", inputs=["x".join(map(str, one)) for one in sizes], model_bytes=stored)
    with Memory() as memory:
        seconds: dict[str, float] = {}
        with clock(seconds, "capture"):
            program = captured_or_refused(notes, module, sizes)
        if program is None:
            return
        notes.doing("couple")
        with clock(seconds, "couple"):
            coupling = couple(program)
        cuts = halved(coupling.free())
        notes.doing("shrink")
        with clock(seconds, "shrink"):
            shrunk = shrink(coupling, cuts)
    del shrunk
    predicted = count(coupling, coupling.narrowed(cuts))
    before = count(coupling)
    notes.doing(
        "oracle",
        seconds=seconds,
        peak_bytes=memory.growth,
        nodes=len(program.graph.nodes),
        groups=len(coupling.groups),
        free=len(coupling.free()),
        kinds=Counter(kind_of(group) for group in coupling.free()),
        locked=locked_reasons(coupling.groups),
        macs=[before.macs, predicted.macs],
        parameters=[before.parameters, predicted.parameters],
    )
    proven = prove(coupling, cuts)
    notes.doing("forward", error=proven.relative_error, refused_groups=proven.refused)
    first, second = answers(program), answers(proven.program)
    notes.doing(
        "re-capture",
        same_shapes=[one.shape for one in first] == [one.shape for one in second],
        difference=max(map(relative_difference, first, second)),
    )
    again = count(couple(from_exported(proven.program.exported())))
    planned = count(coupling, coupling.narrowed(proven.cuts))
    notes.done(
        as_predicted=(again.macs, again.parameters) == (planned.macs, planned.parameters),
        exact=not proven.refused and proven.relative_error <= TOLERANCE,
    )


def captured(module: nn.Module, sizes: Sizes) -> Program:
    """The program of a network with these inputs."""
    return capture(module, [Input(size) for size in sizes])


def captured_or_refused(notes: Notes, module: nn.Module, sizes: Sizes) -> Program | None:
    """The program, or None with the reason noted: a capture may refuse, anything else is a crash."""
    try:
        return captured(module, sizes)
    except EdgepruneError as error:
        notes.done(refused=error.message)
        return None


def halved(groups: Iterable[Group]) -> tuple[Cut, ...]:
    """Half of the units of every group are kept, drawn with a seed of its own.

    Not every second one: among residual branches that would be all attention, or all of the rest.
    """
    cuts = []
    for group in groups:
        random = np.random.default_rng(zlib.crc32(group.id.encode()))
        kept = random.choice(group.units, size=group.units // 2, replace=False)
        cuts.append(Cut(group=group.id, units=group.units, kept=tuple(sorted(kept.tolist()))))
    return tuple(cuts)


def kind_of(group: Group) -> str:
    """channels, width, heads, groups or blocks."""
    return group.kind


def locked_reasons(groups: Iterable[Group]) -> dict[str, int]:
    """How many groups each reason locks, the commonest first; a missing rule names its operator."""
    found: Counter[str] = Counter()
    for group in groups:
        if group.locked:
            missing = "without a rule" in group.locked.why
            found[f"{group.locked.why}: {group.locked.operator}" if missing else group.locked.why] += 1
    return dict(found.most_common())


def answers(program: Program) -> list[Tensor]:
    """Every output tensor for two seeded inputs."""
    return program.answers(program.examples(2))


def relative_difference(first: Tensor, second: Tensor) -> float:
    """Largest difference relative to the largest value; NaN for other shapes."""
    if first.shape != second.shape:
        return math.nan
    return float((first - second).abs().max()) / (float(first.abs().max()) or 1.0)


def stored_bytes(module: nn.Module) -> int:
    """Bytes of parameters and buffers, tied ones once."""
    tensors = {id(one): one for one in [*module.parameters(), *module.buffers()]}
    return sum(one.numel() * one.element_size() for one in tensors.values())


def warm_up() -> None:
    """Capture and cut one layer: torch.export's own modules are loaded before any clock runs."""
    coupling = couple(capture(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)), (3, 4, 4)))
    shrink(coupling, halved(coupling.free()))


@contextmanager
def clock(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Note the wall seconds of a block under a name."""
    started = time.perf_counter()
    yield
    seconds[name] = time.perf_counter() - started


class Memory:
    """How far the resident memory of this process rose above where it stood when the block began."""

    def __enter__(self) -> Memory:
        # Resets the high-water mark; ru_maxrss would remember the building of the network.
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _status("VmRSS")
        self.growth = 0
        return self

    def __exit__(self, *raised: object) -> None:
        self.growth = _status("VmHWM") - self._before


def _status(key: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    kilobytes = next(line.split()[1] for line in lines if line.startswith(f"{key}:"))
    return int(kilobytes) * 1024
