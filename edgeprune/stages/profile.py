"""Profile: time files on this machine, interleaved, with the facts that explain the numbers."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from edgeprune.core.artifact import Artifact, Tensor
from edgeprune.core.errors import RequestError
from edgeprune.core.profiling import ProfiledFile, Profiling
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Runtime, Session
from edgeprune.core.registry import build
from edgeprune.core.report import Device, Latency
from edgeprune.core.target import Target
from edgeprune.core.timing import Timing

_ROUNDS = 15
_RUNS_PER_ROUND = 20
_WARMUP = 20
_SECONDS_PER_FILE = 15.0


def profile(
    artifacts: Sequence[Artifact],
    folder: Path,
    target: Target,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
) -> list[Latency]:
    """Latency of one inference of each file on this machine, in the artifacts' order.

    Files take turns in short rounds, so that a slow moment of the machine hits all of them alike.
    A file that is slow is run less often, never less than once per round.
    """
    progress = progress or Silent()
    threads = threads or min(target.threads, os.cpu_count() or 1)
    progress.start("profile", (1 + _ROUNDS) * len(artifacts))
    timers = []
    for artifact in artifacts:
        timers.append(_Timer(artifact, folder, target, threads))
        progress.advance()
    for _ in range(_ROUNDS):
        for timer in timers:
            timer.round()
            progress.advance()
    progress.finish()
    device = describe_device()
    return [timer.latency(device.name, threads) for timer in timers]


def profile_files(
    files: Sequence[Path], target: Target, *, threads: int | None = None, progress: Progress | None = None
) -> Profiling:
    """Latency of loose files, whatever folder they lie in.

    Raises
    ------
    RequestError
        A file is absent, or the target has no runtime for its format.
    """
    device = describe_device()
    artifacts = [_artifact(path, target) for path in files]
    latencies = profile(artifacts, Path(), target, threads=threads, progress=progress)
    return Profiling(
        target=target.name,
        at_hand=target.at_hand(),
        device=device,
        files=tuple(
            ProfiledFile(artifact=artifact, latency=latency)
            for artifact, latency in zip(artifacts, latencies, strict=True)
        ),
    )


def _artifact(path: Path, target: Target) -> Artifact:
    """Describe a file by asking its runtime; the precision inside is not looked up."""
    if not path.is_file():
        raise RequestError(f"{path}: no such file", hint="check the path of the file")
    format = next((one for one in target.runtimes if path.suffix == f".{one}"), None)
    if format is None:
        raise RequestError(
            f"{path}: target '{target.name}' has no runtime for it",
            hint=f"it runs {', '.join(f'.{one}' for one in target.runtimes)} files",
        )
    runtime: Runtime = build("runtimes", target.runtimes[format])
    described = Artifact.of_file(path, format=format, precision="fp32", parent="")
    shape = runtime.open(path).input_shape
    return described.model_copy(
        update={"path": str(path), "inputs": (Tensor(name="input", shape=shape, dtype="float32"),)}
    )


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


class _Timer:
    """One file's session and the samples taken so far."""

    def __init__(self, artifact: Artifact, folder: Path, target: Target, threads: int) -> None:
        name = target.runtimes[artifact.format]
        runtime: Runtime = build("runtimes", name, {"threads": threads})
        self._session: Session = runtime.open(folder / artifact.path)
        shape = [size or 1 for size in artifact.inputs[0].shape]
        self._inputs = _inputs(shape, artifact.inputs[0].dtype)
        started = time.perf_counter()
        self._session.time(self._inputs, warmup=0, runs=2)
        single = (time.perf_counter() - started) / 2
        affordable = int(_SECONDS_PER_FILE / _ROUNDS / max(single, 1e-9))
        self._runs = max(1, min(_RUNS_PER_ROUND, affordable))
        self._warmup = min(_WARMUP, self._runs)
        self._samples: list[int] = []

    def round(self) -> None:
        # Other files ran since the last round: two untimed runs bring the caches back.
        warmup = self._warmup if not self._samples else min(2, self._warmup)
        self._samples += self._session.time(self._inputs, warmup=warmup, runs=self._runs)

    def latency(self, device: str, threads: int) -> Latency:
        timing = Timing(samples_ns=tuple(self._samples), warmup=self._warmup, threads=threads)
        facts = self._session.facts()
        return Latency(
            kind="measured",
            device=device,
            runtime=facts["runtime"],
            runtime_version=facts["version"],
            p50_ms=timing.p50_ms,
            p95_ms=timing.p95_ms,
            p99_ms=timing.p99_ms,
            timing=timing,
        )


def _inputs(shape: Sequence[int], dtype: str) -> NDArray[np.float32]:
    """Seeded values of the type that the file takes."""
    random = np.random.default_rng(0)
    if dtype == "uint8":
        return cast(NDArray[np.float32], random.integers(256, size=shape, dtype=np.uint8))
    return random.standard_normal(shape, dtype=np.float32)


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
