"""Golden tests: whether a version that lies on a device answers as it did where it was made, and how fast."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from edgeprune.core.bundle import CAPSULE, Bundle
from edgeprune.core.device_run import FileRun, Job, JobFile
from edgeprune.core.errors import DeviceError
from edgeprune.core.interpreter import choose_interpreter
from edgeprune.core.measure import measure_there
from edgeprune.core.protocols import Link
from edgeprune.core.survey import Survey

_BUNDLED = "`edgeprune bundle RUN --out FILE --capsule FOLDER`, and ship that"
_TOLERANCES = {"fp32": 1e-4, "fp16": 2e-2}
_INTEGER_TOLERANCE = 0.05
"""As for measurements (`plausibility.py`): kernels of other machines may round a step otherwise."""


def tolerance(precision: str) -> float:
    """How far an answer may lie off, over the answer's largest magnitude."""
    return _TOLERANCES.get(precision, _INTEGER_TOLERANCE)


def starter(bundle: Bundle, folder: PurePosixPath, facts: Survey, python: str) -> list[str]:
    """The words that start a Python with the runtime: the bundle's own, or one of the device's.

    Raises
    ------
    DeviceError
        The bundle has none, nor has the device.
    """
    if bundle.has_capsule:
        return ["sh", str(folder / CAPSULE / "py")]
    formats = [bundle.artifact.format]
    return [choose_interpreter(facts, formats, python=python, carry=_BUNDLED).python]


def golden_test(
    link: Link, bundle: Bundle, folder: PurePosixPath, start: Sequence[str], *, cores: int
) -> FileRun | None:
    """What the version in a folder of the device answers there; None where it was only rehearsed.

    Raises
    ------
    DeviceError
        It does not run, answers otherwise, or takes longer than its budget.
    """
    entry = JobFile(
        path=str(folder / bundle.artifact.path),
        format=bundle.artifact.format,
        inputs=str(folder / bundle.golden.inputs),
        outputs=str(folder / bundle.golden.outputs),
    )
    threads = min(bundle.requires.threads, max(1, cores))
    job = Job(files=(entry,), threads=(threads,), rounds=5, runs=10, warmup=5, seconds_per_file=5.0)
    run = measure_there(link, job, start)
    if run is None:
        return None
    (found,) = run.files
    _require_answer(bundle, found)
    _require_latency(bundle, found)
    return found


def _require_answer(bundle: Bundle, found: FileRun) -> None:
    # NaN is no answer, and compares with nothing.
    if found.deviation is None or not found.deviation <= bundle.golden.tolerance:
        off = (
            "in another shape"
            if found.deviation is None
            else f"{100 * found.deviation:.3g} % off, {100 * bundle.golden.tolerance:g} % are allowed"
        )
        raise DeviceError(
            f"{bundle.artifact.path}: it answers otherwise there than where it was made ({off})",
            hint=f"it ran on {found.runtime} {found.runtime_version} there and on {bundle.requires.runtime} "
            f"{bundle.requires.runtime_version} when it was made: use that version, or a capsule",
        )


def _require_latency(bundle: Bundle, found: FileRun) -> None:
    budget, median = bundle.latency_budget_ms, found.timings[0].p50_ms
    if budget is not None and median > budget:
        raise DeviceError(
            f"{bundle.artifact.path}: it takes {median:.3g} ms there, its budget is {budget:g} ms",
            hint="is the device busy, hot or slowed down? `edgeprune device doctor`; else compress further",
        )
