"""Measure files on the machine this runs on: one job in, one JSON out (`python3 runner.py job.json`).

It is copied to boards and phones as it is, so it imports the standard library, numpy and the runtime found,
nothing of edgeprune, and keeps to Python 3.9. What is printed by others goes to standard error; the result
is all that standard output carries. Statistics are left to the host: samples are told as they were taken.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np

_CPUS = Path("/sys/devices/system/cpu")
_RUNTIMES = {"onnx": ("onnxruntime",), "tflite": ("ai_edge_litert", "tflite_runtime")}
_STEADY = 0.02
"""Two blocks of warm-up whose medians differ by less than this share are alike."""
_LONGEST_WARMUP = 10
"""Blocks, after which a machine that never gets steady is measured all the same."""


def main() -> None:
    """Do the job whose file is named on the command line."""
    result_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # runtimes print to descriptor 1 from C++
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)  # so that the governor is put back
    path = Path(sys.argv[1])
    job = json.loads(path.read_text())
    os.chdir(path.parent)
    json.dump(run(job), result_to)
    result_to.write("\n")
    result_to.flush()


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Everything the job asks for, with the machine's state before and after."""
    files = [_memory(one) if job["memory"] else {} for one in job["files"]]
    with _governed(job["governor"]) as governor:
        cores = _pinned() if job["pin"] else []
        waited = _cool(job["cool_to_c"], job["cool_s"])
        before = state(cores)
        for place, threads in enumerate(job["threads"]):
            _measure(job, files, threads, first=place == 0)
        after = state(cores)
    return {
        "kind": "device-run/1",
        "python": sys.version.split()[0],
        "governor": governor,
        "pinned_cores": cores,
        "waited_s": waited,
        "before": before,
        "after": after,
        "files": files,
    }


def _leave(number: int, _: object) -> None:
    raise SystemExit(128 + number)


# Measuring


class _Session(Protocol):
    """A loaded file."""

    def infer(self) -> np.ndarray[Any, Any]:
        """One inference of the input it was given."""


def _measure(job: dict[str, Any], files: list[dict[str, Any]], threads: int, *, first: bool) -> None:
    """Time all files with one number of threads, taking turns, and write what is found into `files`.

    Files take turns in short rounds, so that a slow moment of the machine hits all of them alike.
    """
    turns = []
    for asked, found in zip(job["files"], files):  # noqa: B905 - Python 3.9 has no strict
        found.setdefault("path", asked["path"])
        found.setdefault("timings", [])
        try:
            session = _opened(asked, found, threads, first=first)
        except Exception as error:  # runtimes' errors share no base; the host says it with the file's name
            found["error"] = _first_line(error)
            continue
        if first and job["operators"]:
            found["operators"] = _operators(asked, threads)
        turns.append(_Turn(session, job, found, threads))
    for _ in range(job["rounds"]):
        for turn in turns:
            turn.round()


def _opened(asked: dict[str, Any], found: dict[str, Any], threads: int, *, first: bool) -> _Session:
    """Load a file, ask it once, and compare its answer with the golden one."""
    inputs = np.load(asked["inputs"], allow_pickle=False)
    started = time.perf_counter_ns()
    session, runtime, version = _load(asked, inputs, threads)
    loaded = time.perf_counter_ns()
    answer = session.infer()
    if first:
        found["load_ms"] = (loaded - started) / 1e6
        found["first_ms"] = (time.perf_counter_ns() - loaded) / 1e6
        found["runtime"], found["runtime_version"] = runtime, version
        golden = np.load(asked["outputs"], allow_pickle=False)
        scale = float(np.abs(golden).max()) or 1.0
        alike = golden.shape == answer.shape
        found["deviation"] = float(np.abs(answer - golden).max()) / scale if alike else None
    return session


class _Turn:
    """One file's session, and how often it is run in a round."""

    def __init__(self, session: _Session, job: dict[str, Any], found: dict[str, Any], threads: int) -> None:
        self._session = session
        single = min(_times(session, 2)) / 1e9
        affordable = int(job["seconds_per_file"] / job["rounds"] / max(single, 1e-9))
        self._runs = max(1, min(job["runs"], affordable))
        block = min(job["warmup"], self._runs)
        warmup = _warm_up(session, block, job["seconds_per_file"] / 5)
        self._between = min(2, block)
        self._samples: list[int] = []
        found["timings"].append({"samples_ns": self._samples, "warmup": warmup, "threads": threads})

    def round(self) -> None:
        if self._samples:  # other files ran since: untimed runs bring the caches back
            _times(self._session, self._between)
        self._samples += _times(self._session, self._runs)


def _warm_up(session: _Session, block: int, seconds: float) -> int:
    """Run until two blocks take alike long; how many inferences that took."""
    until = time.monotonic() + seconds
    before: float | None = None
    blocks = 0
    while blocks < _LONGEST_WARMUP and time.monotonic() < until:
        median = float(np.median(_times(session, block)))
        blocks += 1
        if before is not None and abs(median - before) <= _STEADY * before:
            break
        before = median
    return blocks * block


def _times(session: _Session, runs: int) -> list[int]:
    samples = []
    for _ in range(runs):
        started = time.perf_counter_ns()
        session.infer()
        samples.append(time.perf_counter_ns() - started)
    return samples


# Runtimes


def _load(asked: dict[str, Any], inputs: Any, threads: int) -> tuple[_Session, str, str]:
    """A session of the first runtime that is installed, its name and version."""
    for name in _RUNTIMES[asked["format"]]:
        try:
            return _MAKERS[name](asked["path"], inputs, threads)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != name:
                raise
    raise RuntimeError(f"this Python has none of: {', '.join(_RUNTIMES[asked['format']])}")


class _Onnx:
    def __init__(self, path: str, inputs: Any, threads: int, profile: str = "") -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Waiting threads that spin would disturb whatever is measured next.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Sums of int8 products in 16 bits overflow without VNNI (docs/decisions/0046-overflow.md).
        options.add_session_config_entry("session.x64quantprecision", "1")
        if profile:
            options.enable_profiling, options.profile_file_prefix = True, profile
        providers = ["CPUExecutionProvider"]
        try:
            self.session = onnxruntime.InferenceSession(path, options, providers=providers)
        except Exception as error:  # onnxruntime's errors share no base but Exception
            raise RuntimeError(f"onnxruntime refuses it: {_first_line(error)}") from error
        self._feed = {self.session.get_inputs()[0].name: inputs}

    def infer(self) -> Any:
        return self.session.run(None, self._feed)[0]


class _Tflite:
    def __init__(self, interpreter: Any, inputs: Any) -> None:
        self._interpreter = interpreter
        interpreter.allocate_tensors()
        self._input = interpreter.get_input_details()[0]["index"]
        self._output = interpreter.get_output_details()[0]["index"]
        self._inputs = inputs

    def infer(self) -> Any:
        self._interpreter.set_tensor(self._input, self._inputs)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)


def _onnxruntime(path: str, inputs: Any, threads: int) -> tuple[_Session, str, str]:
    session = _Onnx(path, inputs, threads)
    import onnxruntime

    return session, "onnxruntime", onnxruntime.__version__


def _litert(path: str, inputs: Any, threads: int) -> tuple[_Session, str, str]:
    from ai_edge_litert.interpreter import Interpreter

    return _tflite(Interpreter, path, inputs, threads, "litert", "ai-edge-litert")


def _tflite_runtime(path: str, inputs: Any, threads: int) -> tuple[_Session, str, str]:
    from tflite_runtime.interpreter import Interpreter

    return _tflite(Interpreter, path, inputs, threads, "tflite-runtime", "tflite-runtime")


def _tflite(
    interpreter: Any, path: str, inputs: Any, threads: int, name: str, package: str
) -> tuple[_Session, str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        session = _Tflite(interpreter(path, num_threads=threads), inputs)
    except (ValueError, RuntimeError) as error:
        raise RuntimeError(f"{name} refuses it: {_first_line(error)}") from error
    try:
        return session, name, version(package)
    except PackageNotFoundError:  # unpacked without its metadata, as a capsule may be
        return session, name, ""


_MAKERS = {"onnxruntime": _onnxruntime, "ai_edge_litert": _litert, "tflite_runtime": _tflite_runtime}


def _operators(asked: dict[str, Any], threads: int) -> list[dict[str, Any]]:
    """Milliseconds per operator of one warm inference, as onnxruntime's own profiler tells them."""
    if asked["format"] != "onnx":
        return []
    inputs = np.load(asked["inputs"], allow_pickle=False)
    with tempfile.TemporaryDirectory() as scratch:
        session = _Onnx(asked["path"], inputs, threads, str(Path(scratch) / "profile"))
        runs = 10
        for _ in range(runs):
            session.infer()
        events = json.loads(Path(session.session.end_profiling()).read_text())
    found: dict[str, list[float]] = {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            name = event["args"].get("op_name", "?")
            found.setdefault(name, []).append(event["dur"] / 1000)
    rows = [{"operator": name, "ms": sum(ms) / runs, "calls": len(ms) // runs} for name, ms in found.items()]
    return sorted(rows, key=lambda row: -float(row["ms"]))


# Memory


def _memory(asked: dict[str, Any]) -> dict[str, Any]:
    """Peak memory of loading a file and asking it once, in a process of its own; None where it fails."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        _tell_memory(asked, send)
    os.close(send)
    with os.fdopen(receive) as told:
        text = told.read()
    os.waitpid(child, 0)
    peak, runtime = (int(one) for one in text.split()) if text else (None, None)
    return {"peak_memory_bytes": peak, "runtime_memory_bytes": runtime}


def _tell_memory(asked: dict[str, Any], send: int) -> None:
    """In the child: write the peak, and what the runtime alone takes, and end without any clean-up."""
    with contextlib.suppress(BaseException):  # the parent meets the same fault, and says it
        for name in _RUNTIMES[asked["format"]]:
            with contextlib.suppress(ImportError):
                __import__(name if name == "onnxruntime" else f"{name}.interpreter")
                break
        runtime = _status("VmRSS")
        session, _, _ = _load(asked, np.load(asked["inputs"], allow_pickle=False), 1)
        session.infer()
        os.write(send, f"{_status('VmHWM')} {runtime}".encode())
    os._exit(0)


def _status(key: str) -> int:
    text = _read("/proc/self/status") or ""
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(f"{key}:"))


# The machine


def state(cores: list[int]) -> dict[str, Any]:
    """What can change while a machine is measured; None where it does not say."""
    clocks = [_number(_CPUS / f"cpu{core}/cpufreq/scaling_cur_freq") for core in cores or _all_cores()]
    known = [clock for clock in clocks if clock is not None]
    return {
        "clock_mhz": max(known) / 1000 if known else _cpuinfo_clock(),
        "temperature_c": _temperature(),
        "throttled_bits": _throttled_bits(),
        "throttle_events": _throttle_events(),
        "load_average": os.getloadavg()[0],
    }


@contextlib.contextmanager
def _governed(wanted: str | None) -> Iterator[str | None]:
    """Set the clock governor where this is permitted, and put it back; the one that held."""
    files = sorted(_CPUS.glob("cpufreq/policy*/scaling_governor"))
    before = {file: _read(file) for file in files}
    changed = []
    try:
        for file in files if wanted else []:
            with contextlib.suppress(OSError):
                file.write_text(str(wanted))
                changed.append(file)
        holding = {_read(file) for file in files}
        yield holding.pop() if len(holding) == 1 else ", ".join(sorted(map(str, holding))) or None
    finally:
        for file in changed:
            with contextlib.suppress(OSError):
                file.write_text(before[file] or "")


def _pinned() -> list[int]:
    """Stay on the fastest cores where some are faster; these, or nothing where all are alike."""
    allowed = sorted(os.sched_getaffinity(0))
    clocks = {core: _number(_CPUS / f"cpu{core}/cpufreq/cpuinfo_max_freq") or 0 for core in allowed}
    fastest = [core for core in allowed if clocks[core] == max(clocks.values())]
    if len(fastest) == len(allowed):
        return []
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, fastest)
        return fastest
    return []


def _cool(to_c: float | None, seconds: float) -> float:
    """Wait until the machine is cool enough, not longer than allowed; how long that was."""
    started = time.monotonic()
    while to_c is not None and time.monotonic() - started < seconds:
        temperature = _temperature()
        if temperature is None or temperature <= to_c:
            break
        time.sleep(1)
    return round(time.monotonic() - started, 3)


def _temperature() -> float | None:
    """Of the processor where a zone says that it is its own, else of the first zone."""
    zones = sorted(Path("/sys/class/thermal").glob("thermal_zone*"))
    own = [
        zone for zone in zones if any(word in (_read(zone / "type") or "") for word in ("cpu", "soc", "pkg"))
    ]
    read = [_number(zone / "temp") for zone in own or zones[:1]]
    known = [one for one in read if one is not None]
    return max(known) / 1000 if known else None


def _throttled_bits() -> int | None:
    """The Raspberry Pi firmware's word: what is wrong now (bits 0-3) and was since boot (16-19)."""
    text = _read("/sys/devices/platform/soc/soc:firmware/get_throttled")
    if text is None:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["vcgencmd", "get_throttled"]
            done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
            text = done.stdout.strip().partition("=")[2] or None
    with contextlib.suppress(ValueError):
        return int(text, 16) if text else None
    return None


def _throttle_events() -> int | None:
    """How often x86 cores were slowed down for heat since boot."""
    counts = [_number(file) for file in _CPUS.glob("cpu[0-9]*/thermal_throttle/core_throttle_count")]
    known = [int(count) for count in counts if count is not None]
    return sum(known) if known else None


def _cpuinfo_clock() -> float | None:
    for line in (_read("/proc/cpuinfo") or "").splitlines():
        if line.startswith("cpu MHz"):
            return float(line.partition(":")[2])
    return None


def _all_cores() -> list[int]:
    return list(range(os.cpu_count() or 1))


def _number(path: Path) -> float | None:
    text = _read(path)
    with contextlib.suppress(ValueError):
        return float(text) if text else None
    return None


def _read(path: Path | str) -> str | None:
    try:
        return Path(path).read_text(errors="replace").strip() or None
    except OSError:
        return None


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else type(error).__name__


if __name__ == "__main__":
    main()
