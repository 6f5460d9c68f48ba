"""Part of `make bench-faults`: one bundle to twenty devices, of which one cannot be written to.

    python -m benchmarks.fleet

The devices are folders behind one real sshd on loopback, each reached by a connection of its own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from boards import Board, sshd  # noqa: E402 - the sshd that tests use, too
from shipments import edge, keys  # noqa: E402

from benchmarks.page import replace_section, taken  # noqa: E402
from edgeprune.core.fleet import Rollout  # noqa: E402

DEVICES, PARALLEL = 20, 4
_ASIDE = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, used = os.wait4(process.pid, 0)
print(used.ru_maxrss, file=sys.stderr)
"""
"""Starts the tool from a small process: what a program is charged with begins with what started it."""


def main() -> None:
    scratch = Path(tempfile.mkdtemp(prefix="edgeprune-fleet-"))
    (scratch / "sshd").mkdir()
    try:
        with sshd(scratch / "sshd") as board:
            rows = [_shipped(board, scratch, parallel) for parallel in (1, PARALLEL)]
    finally:
        shutil.rmtree(scratch)
    replace_section(ROOT / "docs" / "benchmarks.md", "fleet", [*_head(), *rows])


def _head() -> list[str]:
    size = edge().stat().st_size
    return [
        f"## A fleet of {DEVICES}",
        "",
        taken(),
        f"One bundle of {size / 1000:.1f} kB to {DEVICES} folders behind one sshd on this machine, a "
        "connection each, golden test and latency included; in one of the folders a file stands in the way. "
        "All devices share this machine's cores with the tool.",
        "",
        "| at a time | shipped | failed | wall time, s | peak memory of the tool, MB |",
        "|---|---|---|---|---|",
    ]


def _shipped(board: Board, scratch: Path, parallel: int) -> str:
    folder = scratch / f"by{parallel}"
    folder.mkdir()
    (folder / "device7").touch()
    to = [f"{board.host}:{folder}/device{n}/vision?{board.address.partition('?')[2]}" for n in range(DEVICES)]
    listed = ", ".join(f'"{one}"' for one in to)
    path = folder / "devices.toml"
    path.write_text(
        f'kind = "fleet/1"\nparallel = {parallel}\nfailures = 1\n\n'
        f'[[groups]]\nname = "all"\nto = [{listed}]\n'
    )
    command = [sys.executable, "-m", "edgeprune", "ship", str(edge()), "--fleet", str(path), "--json"]
    command += ["--trust", str(keys()[1]), "--python", sys.executable]
    started = time.monotonic()
    with (folder / "rollout.json").open("wb") as out:
        started_by = [sys.executable, "-c", _ASIDE, *command]
        done = subprocess.run(started_by, stdout=out, stderr=subprocess.PIPE, check=True)
    seconds = time.monotonic() - started
    outcomes = [one.outcome for one in Rollout.load(folder / "rollout.json").visits]
    counts = f"{outcomes.count('shipped')} | {outcomes.count('failed')}"
    return f"| {parallel} | {counts} | {seconds:.1f} | {int(done.stderr.split()[-1]) / 1000:.0f} |"


if __name__ == "__main__":
    main()
