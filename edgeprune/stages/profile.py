"""Profile: time files on this machine or a device, interleaved, with the facts that explain the numbers."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.address import transport_at
from edgeprune.core.artifact import Artifact, Format, Tensor
from edgeprune.core.device_run import DeviceRun, FileRun, Job
from edgeprune.core.errors import RequestError
from edgeprune.core.interpreter import CARRIED_FORMATS, Interpreter, choose_interpreter
from edgeprune.core.measure import Measured, measure
from edgeprune.core.plausibility import implausible
from edgeprune.core.profiling import Conditions, ProfiledFile, Profiling
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import FileFormat, Runtime, Transport
from edgeprune.core.registry import build, find, names
from edgeprune.core.report import Device, Latency
from edgeprune.core.survey import Survey, survey
from edgeprune.core.target import Target
from edgeprune.core.timing import Timing

_COOL_C = 60.0
_COOL_S = 120.0
_WARMUP, _RUNS = 10, 100


@dataclass(frozen=True, slots=True)
class How:
    """How to measure on a device: what runs there, on how many threads, what else is asked."""

    threads: tuple[int, ...] = ()
    python: str = ""
    capsule: Path | None = None
    operators: bool = False


def profile(
    artifacts: Sequence[Artifact],
    folder: Path,
    target: Target,
    *,
    threads: int | None = None,
    macs: Mapping[str, int] | None = None,
    progress: Progress | None = None,
) -> list[Latency]:
    """Latency of one inference of each file on this machine, in the artifacts' order.

    `macs` are multiply-accumulates by path, where they are known: nothing is faster than they can be done.
    """
    progress = progress or Silent()
    threads = threads or min(target.threads, os.cpu_count() or 1)
    progress.start("profile", 1 + len(artifacts))
    carried = [one for one in artifacts if one.format in CARRIED_FORMATS]
    files = [_measured(one, folder, target, progress) for one in carried]
    here = Interpreter("this machine's own Python", sys.executable)
    device, host = describe_device().name, target if target.at_hand() else None
    timed = {
        one.path: _timed(one, folder, target, threads, device)
        for one in artifacts
        if one.format not in CARRIED_FORMATS
    }
    if carried:
        with transport_at("local").connect() as link:
            run = measure(link, files, Job(files=(), threads=(threads,)), here)
        assert run is not None, "this machine rehearses nothing"
        timed |= {
            artifact.path: _latency(artifact, found, run, device, host, (macs or {}).get(artifact.path))
            for artifact, found in zip(carried, run.files, strict=True)
        }
    progress.advance()
    progress.finish()
    return [timed[one.path] for one in artifacts]


def profile_files(
    files: Sequence[Path],
    target: Target,
    *,
    at: str = "local",
    transport: Transport | None = None,
    how: How | None = None,
    progress: Progress | None = None,
) -> Profiling | None:
    """Latency of loose files at an address; None where the transport only rehearses.

    Raises
    ------
    RequestError
        A file is absent, or the target has no runtime for its format.
    DeviceError
        The device cannot be reached, lacks a runtime, or refuses a file.
    """
    progress, how = progress or Silent(), how or How()
    artifacts = [_artifact(path, target) for path in files]
    progress.start("profile", 2 + len(artifacts))
    measured = [_measured(one, Path(), target, progress) for one in artifacts]
    with (transport or transport_at(at)).connect() as link:
        own = sys.executable if at == "local" else ""
        facts = survey(link, at.partition("?")[0], python=how.python or own)
        progress.advance()
        formats = sorted({one.format for one in artifacts})
        interpreter = choose_interpreter(facts, formats, python=how.python, capsule=how.capsule)
        run = measure(link, measured, _job(how, target, facts, at), interpreter)
    if run is None:
        return None
    progress.advance()
    progress.finish()
    return _profiling(target, facts, interpreter, run, artifacts)


def _job(how: How, target: Target, facts: Survey, at: str) -> Job:
    """What is asked: a device is there to be measured, while this machine's settings are left alone."""
    apart = at != "local"
    return Job(
        files=(),
        threads=how.threads or (min(target.threads, facts.cores),),
        pin=apart,
        governor="performance" if apart else None,
        cool_to_c=_COOL_C if apart else None,
        cool_s=_COOL_S if apart else 0.0,
        memory=True,
        operators=how.operators,
    )


def _profiling(
    target: Target, facts: Survey, interpreter: Interpreter, run: DeviceRun, artifacts: Sequence[Artifact]
) -> Profiling:
    fits = facts.fits(target)
    device = facts.device().model_copy(update={"governor": run.governor, **_state(run)})
    return Profiling(
        target=target.name,
        at=facts.address,
        at_hand=fits,
        device=device,
        conditions=Conditions(
            interpreter=interpreter.why,
            **run.model_dump(exclude={"kind", "files"}),
        ),
        survey=facts,
        files=tuple(
            ProfiledFile(
                artifact=artifact,
                latency=_latency(artifact, found, run, device.name, target if fits else None, None),
                run=found,
            )
            for artifact, found in zip(artifacts, run.files, strict=True)
        ),
    )


def _state(run: DeviceRun) -> dict[str, float | None]:
    return {"clock_mhz": run.before.clock_mhz, "temperature_c": run.before.temperature_c}


def _latency(
    artifact: Artifact, found: FileRun, run: DeviceRun, device: str, target: Target | None, macs: int | None
) -> Latency:
    timing = found.timings[0]
    return Latency(
        kind="measured",
        device=device,
        runtime=found.runtime,
        runtime_version=found.runtime_version,
        invalid=implausible(
            timing,
            target=target,
            precision=artifact.precision,
            macs=macs,
            deviation=found.deviation,
            throttled=run.throttled,
        ),
        p50_ms=timing.p50_ms,
        p95_ms=timing.p95_ms,
        p99_ms=timing.p99_ms,
        timing=timing,
    )


def _timed(artifact: Artifact, folder: Path, target: Target, threads: int, device: str) -> Latency:
    """Of a format that the runner does not know: by its runtime, in this process, and not in turns."""
    runtime: Runtime = build("runtimes", target.runtimes[artifact.format], {"threads": threads})
    session = runtime.open(folder / artifact.path)
    samples = session.time(_inputs(artifact.inputs[0]), warmup=_WARMUP, runs=_RUNS)
    timing, facts = Timing(samples_ns=tuple(samples), warmup=_WARMUP, threads=threads), session.facts()
    return Latency(
        kind="measured",
        device=device,
        note="measured apart from the others",
        runtime=facts["runtime"],
        runtime_version=facts["version"],
        p50_ms=timing.p50_ms,
        p95_ms=timing.p95_ms,
        p99_ms=timing.p99_ms,
        timing=timing,
    )


def _measured(artifact: Artifact, folder: Path, target: Target, progress: Progress) -> Measured:
    """A file with a golden pair: noise, and what this machine answers to it."""
    path = folder / artifact.path
    runtime: Runtime = build("runtimes", target.runtimes[artifact.format])
    inputs = _inputs(artifact.inputs[0])
    outputs = runtime.open(path).infer(inputs)
    progress.advance()
    return Measured(path, artifact.format, inputs, outputs)


def _inputs(described: Tensor) -> NDArray[np.float32]:
    """Seeded values of the type that the file takes: 8-bit frames are passed on as they are."""
    shape, random = [size or 1 for size in described.shape], np.random.default_rng(0)
    if described.dtype == "uint8":
        return cast(NDArray[np.float32], random.integers(256, size=shape, dtype=np.uint8))
    return random.standard_normal(shape, dtype=np.float32)


def _artifact(path: Path, target: Target) -> Artifact:
    """Describe a file by asking its runtime; the precision inside is not looked up."""
    if not path.is_file():
        raise RequestError(f"{path}: no such file", hint="check the path of the file")
    format = next((one for one in target.runtimes if path.name.endswith(f".{_suffix(one)}")), None)
    if format is None:
        raise RequestError(
            f"{path}: target '{target.name}' has no runtime for it",
            hint=f"it runs {', '.join(f'.{one}' for one in target.runtimes)} files",
        )
    runtime: Runtime = build("runtimes", target.runtimes[format])
    described = Artifact.of_file(path, format=format, precision="fp32", parent="")
    return described.model_copy(update={"path": str(path), "inputs": (_first_input(path, format, runtime),)})


def _suffix(format: Format) -> str:
    return getattr(find("exporters", format), "suffix", format)


def _first_input(path: Path, format: Format, runtime: Runtime) -> Tensor:
    """As the file says it, where its format is read; else as its runtime does, which takes real numbers."""
    shape = runtime.open(path).input_shape
    if format not in names("formats"):
        return Tensor(name="input", shape=shape, dtype="float32")
    reader: FileFormat = build("formats", format)
    return reader.look(path).inputs[0].model_copy(update={"shape": shape})


def describe_device() -> Device:
    """Facts about this machine; what it does not say is None."""
    cpu = _cpu_name()
    governor = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    clock = _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
    temperature = _read("/sys/class/thermal/thermal_zone0/temp")
    return Device(
        name=f"{platform.node()} ({cpu})",
        machine=platform.machine(),
        cpu=cpu,
        cores=os.cpu_count() or 1,
        governor=governor,
        clock_mhz=int(clock) / 1000 if clock else _cpuinfo_clock(),
        temperature_c=int(temperature) / 1000 if temperature else None,
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    )


def _read(path: str) -> str | None:
    try:
        return Path(path).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _cpu_name() -> str:
    model = _read("/sys/firmware/devicetree/base/model")
    if model:
        return model.rstrip("\0")
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _cpuinfo_clock() -> float | None:
    clock = _cpuinfo("cpu MHz")
    return float(clock) if clock else None


def _cpuinfo(key: str) -> str | None:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return None
