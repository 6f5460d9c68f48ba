"""Old runtime: whether a TFLite file may go to a device that has tflite-runtime 2.14 and nothing newer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.alike import alike
from edgeprune.core.artifact import Artifact, Tensor
from edgeprune.core.errors import DeviceError, PluginError
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Runtime
from edgeprune.core.registry import build
from edgeprune.core.report import OldRuntime
from edgeprune.core.target import Target

_INPUTS = 20
_CLOSE = 1e-3
"""Of the largest answer: the two runtimes' float kernels add up in another order."""
_ALIKE = 0.95
"""Of the inputs: integer kernels of two generations round differently."""


def try_old_runtime(
    artifacts: Sequence[Artifact], folder: Path, target: Target, *, progress: Progress | None = None
) -> dict[str, OldRuntime]:
    """What tflite-runtime makes of every TFLite file, by path: loaded, run, compared with the target's."""
    progress = progress or Silent()
    files = [one for one in artifacts if one.format == "tflite"]
    if not files:
        return {}
    progress.start("tflite runtime", len(files))
    found = {}
    for artifact in files:
        found[artifact.path] = _tried(artifact, folder / artifact.path, target)
        progress.advance()
    progress.finish()
    return found


def _tried(artifact: Artifact, path: Path, target: Target) -> OldRuntime:
    inputs = _inputs(artifact.inputs[0])
    newer: Runtime = build("runtimes", target.runtimes[artifact.format], {"threads": 1})
    older: Runtime = build("runtimes", "tflite-runtime", {"threads": 1})
    try:
        session = older.open(path)
        answered = session.infer(inputs)
        samples = session.time(inputs[:1], warmup=2, runs=10)
    except PluginError as error:
        return OldRuntime(ships=None, why=error.message)
    except DeviceError as error:
        return OldRuntime(ships=False, why=error.message)
    why = _differs(answered, newer.open(path).infer(inputs), artifact)
    return OldRuntime(
        ships=not why,
        why=why,
        version=session.facts()["version"],
        p50_ms=round(float(np.median(samples)) / 1e6, 6),
    )


def _differs(answered: NDArray[np.float32], expected: NDArray[np.float32], artifact: Artifact) -> str:
    """In which way answers are not those of the target's runtime; '' where they are."""
    if not np.isfinite(answered).all():
        return "its answers are not finite there"
    if artifact.precision in {"fp32", "fp16"} and artifact.outputs[0].dtype == "float32":
        difference = float(np.abs(answered - expected).max()) / (float(np.abs(expected).max()) or 1.0)
        return f"its answers differ by {difference:.1e} (relative) there" if difference > _CLOSE else ""
    share = float(alike(expected, answered).mean())
    return f"it answers alike on {100 * share:.0f} % of {_INPUTS} inputs only there" if share < _ALIKE else ""


def _inputs(described: Tensor) -> NDArray[np.float32]:
    shape = (_INPUTS, *(size or 1 for size in described.shape[1:]))
    random = np.random.default_rng(0)
    if described.dtype == "uint8":
        return random.integers(256, size=shape, dtype=np.uint8)  # type: ignore[return-value]
    return random.standard_normal(shape, dtype=np.float32)
