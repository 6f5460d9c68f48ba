"""Bundle: put a run's file, what it promises and what proves it into one signed file."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Artifact, Precision
from edgeprune.core.bundle import CAPSULE, LOADER, Bundle, Golden, Requirements
from edgeprune.core.bundle_file import entry_of, write_bundle
from edgeprune.core.errors import ModelError, RequestError, did_you_mean
from edgeprune.core.files import sha256
from edgeprune.core.golden import tolerance
from edgeprune.core.interpreter import CARRIED_FORMATS, require_capsule
from edgeprune.core.journal import JOURNAL, Journal
from edgeprune.core.keys import load_private
from edgeprune.core.protocols import Runtime
from edgeprune.core.recipe import Preprocess
from edgeprune.core.registry import build
from edgeprune.core.report import DeliveredArtifact, Report
from edgeprune.core.target import Target, find_target

LOADER_FILE = Path(__file__).parents[1] / "device" / LOADER
_INPUTS, _OUTPUTS = "golden/inputs.npy", "golden/outputs.npy"


def bundle(
    run: Path,
    out: Path,
    *,
    key: Path | None = None,
    precision: Precision | None = None,
    file: str | None = None,
    latency_budget_ms: float | None = None,
    capsule: Path | None = None,
) -> Bundle:
    """Write `out` from a finished run; equal runs, options and keys give equal bytes.

    Raises
    ------
    RequestError
        The run has no such file, or one that failed verification, or was changed; no key, no fitting capsule.
    """
    signer = load_private(key)
    report = _report(run)
    artifact = _chosen(report, precision, file)
    target = find_target(report.target)
    path = run / artifact.path
    if not path.is_file() or sha256(path) != artifact.sha256:
        raise RequestError(
            f"{path}: it is not the file that was verified", hint="give the command of the run again"
        )
    inputs, outputs, runtime_version = _golden_pair(path, artifact, target)
    with tempfile.TemporaryDirectory() as scratch:
        golden = Path(scratch)
        np.save(golden / "inputs.npy", inputs)
        np.save(golden / "outputs.npy", outputs)
        files = {artifact.path: path, _INPUTS: golden / "inputs.npy", _OUTPUTS: golden / "outputs.npy"}
        files |= {LOADER: LOADER_FILE, "report.json": run / "report.json"}
        files |= {"plan.json": run / "plan.json"} if (run / "plan.json").is_file() else {}
        if capsule is not None:
            require_capsule(capsule, target.host.machine, [artifact.format])
            files |= dict(_capsule_files(capsule))
        made = Bundle(
            name=Path(report.model).stem or artifact.path,
            edgeprune=version("edgeprune"),
            target=target.name,
            artifact=Artifact(**artifact.model_dump(include=set(Artifact.model_fields))),
            requires=_requirements(target, artifact, runtime_version),
            golden=Golden(inputs=_INPUTS, outputs=_OUTPUTS, tolerance=tolerance(artifact.precision)),
            latency_budget_ms=latency_budget_ms,
            labels=report.labels,
            preprocess=_preprocess(run),
            entries=tuple(
                entry_of(
                    source,
                    name,
                    executable=name.startswith(f"{CAPSULE}/") and bool(source.stat().st_mode & 0o100),
                )
                for name, source in sorted(files.items())
            ),
        )
        write_bundle(out, made, files, signer)
    return made


def _report(run: Path) -> Report:
    if not (run / "report.json").is_file():
        raise RequestError(
            f"{run}: not a finished run (it has no report.json)",
            hint="give the folder that `edgeprune compress` wrote: runs/NAME-TARGET",
        )
    return Report.load(run / "report.json")


def _chosen(report: Report, precision: Precision | None, file: str | None) -> DeliveredArtifact:
    """The file asked for, or the fastest that was verified; without latencies the smallest."""
    carried = [one for one in report.artifacts if one.format in CARRIED_FORMATS]
    names = [one.path for one in carried]
    fitting = [one for one in carried if file in {None, one.path} and precision in {None, one.precision}]
    if not fitting:
        wanted = " ".join(part for part in (precision, file) if part)
        raise RequestError(f"the run has no file '{wanted}'", hint=did_you_mean(file or wanted, names))
    passed = [one for one in fitting if one.passed]
    if not passed:
        raise RequestError(
            f"{fitting[0].path}: it failed verification ({fitting[0].why}), and is not bundled",
            hint=f"verified: {', '.join(one.path for one in carried if one.passed) or '(none)'}",
        )

    def rank(one: DeliveredArtifact) -> tuple[float, int]:
        measured = one.latency if one.latency.kind == "measured" else one.latency_here
        return (measured.p50_ms if measured and measured.p50_ms else float("inf"), one.bytes)

    return min(passed, key=rank)


def _golden_pair(
    path: Path, artifact: DeliveredArtifact, target: Target
) -> tuple[NDArray[np.float32], NDArray[np.float32], str]:
    """Noise, what this machine answers to it, and the runtime's version."""
    runtime: Runtime = build("runtimes", target.runtimes[artifact.format])
    session = runtime.open(path)
    inputs = _noise(artifact, session.input_shape)
    outputs = session.infer(inputs)
    if not np.isfinite(outputs).all():
        raise ModelError(f"{path.name}: it answers with NaN or infinity to noise", hint="do not ship it")
    return inputs, outputs, session.facts()["version"]


def _noise(artifact: DeliveredArtifact, shape: tuple[int | None, ...]) -> NDArray[np.float32]:
    """Seeded values of the type that the file takes: 8-bit frames are passed on as they are."""
    sizes, random = [size or 1 for size in shape], np.random.default_rng(0)
    if artifact.inputs and artifact.inputs[0].dtype == "uint8":
        return cast(NDArray[np.float32], random.integers(256, size=sizes, dtype=np.uint8))
    return random.standard_normal(sizes, dtype=np.float32)


def _requirements(target: Target, artifact: DeliveredArtifact, runtime_version: str) -> Requirements:
    return Requirements(
        system=target.host.system,
        machine=target.host.machine,
        model=target.host.model,
        runtime=target.runtimes[artifact.format],
        runtime_version=runtime_version,
        threads=target.threads,
    )


def _preprocess(run: Path) -> Preprocess:
    """What turns images into inputs, as the run was told; nothing where its journal is gone."""
    path = run / JOURNAL / "journal.json"
    return Journal.load(path).request.preprocess if path.is_file() else Preprocess()


def _capsule_files(capsule: Path) -> Iterator[tuple[str, Path]]:
    """Every file of a capsule by its name in the bundle; links become the files they lead to."""
    inside = capsule.resolve()
    for path in sorted(capsule.rglob("*")):
        if not path.is_file():
            continue
        if not path.resolve().is_relative_to(inside):
            raise RequestError(f"{path}: leads out of the capsule", hint="build the capsule again")
        yield f"{CAPSULE}/{path.relative_to(capsule).as_posix()}", path
