"""Repeated work: what runs often on inputs of the same shapes is recorded once, and replayed as one launch.

A training step of ResNet-56 launches about a thousand kernels of a few microseconds each: launching them
one by one from Python takes longer than running them.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

_PLAIN_RUNS = 3
"""Before a recording: libraries choose their algorithms and take their memory in the first runs."""

Shapes = tuple[tuple[int, ...], ...]
Record = Callable[[Callable[[], Tensor]], Callable[[], Tensor]]
"""Records work with fixed inputs, without doing it; what it gives does the work and returns its result."""


@dataclass(frozen=True, slots=True, eq=False)
class _Recording:
    """Inputs that new ones are copied into, and what is done with them."""

    inputs: tuple[Tensor, ...]
    replay: Callable[[], Tensor]


class Repeated:
    """Work whose every run counts: run as it is a few times for each set of shapes, replayed from then on.

    Where recording fails the work goes on as it is, with one warning. What it returns is overwritten by the
    next run.
    """

    def __init__(self, work: Callable[..., Tensor], record: Record | None) -> None:
        self._work, self._record = work, record
        self._runs: Counter[Shapes] = Counter()
        self._recordings: dict[Shapes, _Recording] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Do the work once."""
        shapes = tuple(tuple(one.shape) for one in inputs)
        self._runs[shapes] += 1
        if self._record is not None and self._runs[shapes] == _PLAIN_RUNS + 1:
            self._make(shapes, inputs, self._record)
        recording = self._recordings.get(shapes)
        if recording is None:
            return self._work(*inputs)
        for held, new in zip(recording.inputs, inputs, strict=True):
            held.copy_(new)
        return recording.replay()

    def _make(self, shapes: Shapes, inputs: tuple[Tensor, ...], record: Record) -> None:
        held = tuple(one.clone() for one in inputs)
        try:
            self._recordings[shapes] = _Recording(held, record(lambda: self._work(*held)))
        except RuntimeError as error:  # what torch raises for an operator that cannot be recorded
            self._record = None
            warnings.warn(
                f"training goes on without a CUDA graph, slower: {str(error).splitlines()[0]}",
                RuntimeWarning,
                stacklevel=2,
            )


class CudaGraphs:
    """Records as CUDA graphs, which share their memory: only one of them runs at a time."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Capture the work; nothing of it runs before the first replay."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            result = work()

        def replay() -> Tensor:
            graph.replay()
            return result

        return replay
