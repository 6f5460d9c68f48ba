"""Jobs: one process per measurement, each with a time limit, its result kept as a file.

A crash or an exhausted memory costs one row, memory can be measured, and an interrupted run goes on
where it stopped. A result is only reused by the sources it was measured with.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

from benchmarks.kept import digest
from benchmarks.page import say

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "zoo"
_PACKAGE = ("edgeprune/core", "edgeprune/graph")
_SOURCES = {
    "network": ("benchmarks/zoo/cutting.py", "benchmarks/zoo/networks.py"),
    "reduction": (
        "benchmarks/zoo/reductions.py",
        "benchmarks/zoo/cutting.py",
        "benchmarks/zoo/networks.py",
        "benchmarks/zoo/peer.py",
    ),
    "scale": (
        "edgeprune/stages/plan.py",
        "edgeprune/stages/screen.py",
        "benchmarks/zoo/scales.py",
        "benchmarks/zoo/networks.py",
        "benchmarks/zoo/peer.py",
    ),
    "pattern": ("tests/zoo.py", "benchmarks/zoo/patterns.py", "benchmarks/zoo/peer.py"),
    "files": (
        "edgeprune/plugins/exporters",
        "edgeprune/plugins/quantizers",
        "edgeprune/stages/export.py",
        "benchmarks/zoo/files.py",
        "benchmarks/zoo/networks.py",
    ),
    "random": ("tests/zoo.py", "tests/graph/test_properties.py", "benchmarks/zoo/random_networks.py"),
}
"""What decides a result of each kind, beside the package: its networks and the code that measures."""

NOT_MEASURED = "not measured"
"""Stands in for a result that an interrupted run did not come to."""

Result = dict[str, Any]
"""What a child wrote, with `crash` (why there is no more of it), `taken` and `sources`."""


@dataclass(frozen=True, slots=True)
class Job:
    """One call of a function of `child.KINDS` in a process of its own."""

    kind: str
    arguments: tuple[str, ...]
    timeout_s: float = 1200

    @property
    def name(self) -> str:
        """The arguments in one word."""
        return "-".join(filter(None, self.arguments))

    @property
    def file(self) -> Path:
        """Where the result is kept."""
        return RESULTS / self.kind / f"{self.name}.json"


def kept_results(jobs: Sequence[Job]) -> list[Result]:
    """The results that are kept, in the order of the jobs."""
    found = []
    for job in jobs:
        kept = _read(job.file)
        whole = kept if kept and "doing" not in kept else None
        found.append(whole or {"refused": NOT_MEASURED})
    return found


class Lines:
    """Results of one kind as JSON lines, each added as soon as it is known.

    Files of several machines are put together with `cat`; the later line of a job stands.
    """

    def __init__(self, file: Path, kind: str) -> None:
        self._file, self._kind = file, kind
        self._lock = Lock()

    def read(self, *, current: bool = False) -> dict[str, Result]:
        """The results by the names of their jobs; `current`: only those of the present sources."""
        text = self._file.read_text(encoding="utf-8") if self._file.exists() else ""
        found = [dict(json.loads(line)) for line in text.splitlines() if line.endswith("}")]
        return {one["job"]: one for one in found if not current or one.get("sources") == sources(self._kind)}

    def add(self, job: Job, result: Result) -> None:
        """Append one result."""
        with self._lock:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps({"job": job.name, **result}) + "\n")


def run_jobs(
    jobs: Sequence[Job],
    *,
    fresh: bool = False,
    at_once: int = 1,
    note: Callable[[Job, Result], None] | None = None,
) -> list[Result]:
    """The results of all jobs, in their order; what is kept is not measured again unless `fresh`.

    `note` is told each result as soon as it is there.
    """
    if fresh:
        for job in jobs:
            job.file.unlink(missing_ok=True)

    def one(job: Job, place: str) -> Result:
        found = _result(job, place)
        if note is not None:
            note(job, found)
        return found

    with ThreadPoolExecutor(at_once) as pool:
        waiting = [pool.submit(one, job, f"{n}/{len(jobs)}") for n, job in enumerate(jobs, 1)]
        try:
            return [one.result() for one in waiting]
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
            raise


def _result(job: Job, place: str) -> Result:
    kept = _read(job.file)
    # A file that says where its process was is one whose process never came back.
    if kept and kept.get("sources") == sources(job.kind) and "doing" not in kept:
        return kept
    started = time.perf_counter()
    found = _measured(job)
    outcome = found.get("crash") or found.get("refused") or ""
    say(f"{place} {job.kind} {job.name}: {time.perf_counter() - started:.0f} s {outcome}")
    return found


def _measured(job: Job) -> Result:
    job.file.parent.mkdir(parents=True, exist_ok=True)
    job.file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "benchmarks.zoo.child", job.kind, str(job.file), *job.arguments]
    crash = None
    try:
        done = subprocess.run(
            command,
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            timeout=job.timeout_s,
            check=False,
            env=os.environ | {"PYTHONWARNINGS": "ignore"},
        )
        if done.returncode == -signal.SIGINT:
            raise KeyboardInterrupt  # the user's Ctrl-C reached the child too: no result of the network
        if done.returncode < 0:
            crash = f"killed by signal {-done.returncode}"
        elif done.returncode:
            crash = (done.stderr.strip().splitlines() or ["no message"])[-1]
    except subprocess.TimeoutExpired:
        crash = f"not done after {job.timeout_s:g} s"
    found = _read(job.file) or {}
    if crash:
        place = f" (during: {found['doing']})" if found.get("doing") else ""
        found |= {"crash": crash + place}
    found.pop("doing", None)
    found["sources"] = sources(job.kind)
    job.file.write_text(json.dumps(found, indent=1), encoding="utf-8")
    return found


def _read(file: Path) -> Result | None:
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return None


@cache
def sources(kind: str) -> str:
    """A hash of everything that decides results of one kind."""
    return digest((*_PACKAGE, *_SOURCES[kind]))
