"""Locate: where a file that failed verification parts from the captured program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Artifact
from edgeprune.core.operator import short_name
from edgeprune.core.protocols import SteppingRuntime
from edgeprune.core.registry import build
from edgeprune.core.report import Verdict
from edgeprune.core.target import Target
from edgeprune.graph.capture import Program
from edgeprune.graph.parting import parted

TOLERANCES = {"fp32": 1e-3, "fp16": 5e-2}
"""Of single values, wider than those of answers: what is near zero in between may be off by more."""


def located(
    verdict: Verdict,
    program: Program,
    artifact: Artifact,
    folder: Path,
    target: Target,
    one: NDArray[np.float32],
) -> Verdict:
    """The verdict, with the first operator that differs where a float file failed and its runtime can tell.

    Parameters
    ----------
    one : array of shape (1, channels, ...)
        The input that both are asked.
    """
    tolerance = TOLERANCES.get(artifact.precision)
    runtime = build("runtimes", target.runtimes[artifact.format], {"threads": 1})
    if verdict.passed or tolerance is None or not isinstance(runtime, SteppingRuntime):
        return verdict
    operator = parted(program, one, runtime.steps(folder / artifact.path, one), tolerance)
    if operator is None:
        return verdict
    return verdict.model_copy(
        update={
            "why": f"{verdict.why}; it parts from the network at {operator.kind} {short_name(operator.name)}"
        }
    )
