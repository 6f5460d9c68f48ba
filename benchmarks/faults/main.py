"""`make bench-faults`: what a device answers with after everything that can go wrong while it is shipped to.

    python -m benchmarks.faults.main [PART...]

Every case begins with a folder in which an old version is live, breaks one thing while a new one is shipped
there, and then asks the folder with the loader of devices: it must answer as the old or the new version
should. Then the same command is given again, with nothing broken. Parts that are named are measured again;
without names, those of which nothing is kept that these sources measured.
"""

from __future__ import annotations

import dataclasses
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from boards import certified, sshd
from device.emulated_phone import emulated_phone
from packages import capsule

from benchmarks.faults import kinds, links
from benchmarks.faults.bench import Bench, Outcome
from benchmarks.faults.devices import OldBoard, PhoneDevice, SshDevice
from benchmarks.faults.versions import FILLER_BYTES, carried, for_this_machine
from benchmarks.kept import ROOT, Result, digest, keep, read, to_measure
from benchmarks.page import machine, replace_section

NAME = "faults"
SOURCES = (
    "edgeprune/core",
    "edgeprune/device",
    "edgeprune/plugins/transports",
    "edgeprune/stages/bundle.py",
    "edgeprune/stages/ship.py",
    "benchmarks/faults",
)


@contextmanager
def ssh_bench(scratch: Path) -> Iterator[Bench]:
    """A device that is this machine, behind an sshd with a host certificate that has expired."""
    (scratch / "sshd").mkdir()
    # Without the start-up file of this user's login shell, which takes longer than the commands.
    more = f"SetEnv HOME={scratch}\n{certified(scratch / 'sshd', '-2d:-1d')}"
    with sshd(scratch / "sshd", more) as board:
        device = SshDevice(board)
        try:
            yield Bench(device, scratch, for_this_machine())
        finally:
            device.stop()


@contextmanager
def adb_bench(scratch: Path) -> Iterator[Bench]:
    """The emulated phone behind an aarch64 adbd, with a Python that was brought there before."""
    with emulated_phone(scratch) as phone:
        device = PhoneDevice(phone)
        folder = device.root / "data/local/tmp"
        shutil.copytree(capsule("tflite-runtime", "aarch64"), folder / "python")
        yield Bench(device, folder, carried("android-arm64", "/data/local/tmp/python/py"))


@contextmanager
def old_bench(scratch: Path) -> Iterator[Bench]:
    """An emulated Raspberry Pi with the C library and Python of Debian 11."""
    device = OldBoard.made_in(scratch / "disk")
    shutil.copytree(capsule("tflite-runtime", "aarch64"), device.root / "opt/python")
    folder = device.root / "opt/models"
    folder.mkdir()
    yield Bench(device, folder, carried("rpi4", "/opt/python/py"))


@dataclass(frozen=True, slots=True)
class Part:
    """A row of the table."""

    kind: str
    bench: Callable[[Path], AbstractContextManager[Bench]]
    measure: Callable[[Bench, str], None]


PARTS = {
    "bits": Part("a bit of the bundle is flipped", ssh_bench, kinds.flipped_bits),
    "cut-off": Part("the bundle was cut off", ssh_bench, kinds.cut_off),
    "signer": Part("another key signed it", ssh_bench, kinds.signed_by_another),
    "machine": Part("the device is another machine", ssh_bench, kinds.other_machines),
    "glibc": Part("the device's glibc is too old for the runtime", old_bench, kinds.old_glibc),
    "slow": Part("it is too slow", ssh_bench, kinds.too_slow),
    "answers": Part("it answers otherwise", ssh_bench, kinds.other_answers),
    "hosts": Part("the device is not let in or does not let in", ssh_bench, kinds.distrusted_hosts),
    "disk": Part("the disk is full", ssh_bench, kinds.full_disks),
    "two": Part("two ships at once", ssh_bench, kinds.two_at_once),
    "clock": Part("the clock is wrong", ssh_bench, kinds.wrong_clocks),
    "restart": Part("the board restarts before the flip", ssh_bench, links.restarts),
    "cut-upload": Part("the connection breaks in the upload", ssh_bench, links.cut_uploads),
    "lost-upload": Part("the board goes away in the upload", ssh_bench, links.lost_uploads),
    "lost-steps": Part("the board goes away at a step", ssh_bench, links.lost_at_steps),
    "cut-steps": Part("the connection breaks at a step", ssh_bench, links.cut_at_steps),
    "killed-steps": Part("edgeprune is killed at a step", ssh_bench, kinds.killed_at_steps),
    "adb-upload": Part("adbd is killed in the upload", adb_bench, links.cut_uploads),
    "adb-steps": Part("adbd is killed at a step", adb_bench, links.cut_at_steps),
}


def main() -> None:
    """Measure parts one after the other; the section shows what is kept."""
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what it says of sockets that are gone
    sources = digest(SOURCES)
    for name in to_measure(NAME, tuple(PARTS), sys.argv[1:], sources):
        keep(NAME, name, measure(PARTS[name]), sources)
        replace_section(ROOT / "docs" / "benchmarks.md", NAME, section())
    failed = [one for _, found in kept() for one in found["failures"]]
    print("\n".join(failed))
    sys.exit(1 if failed else 0)


def measure(part: Part) -> Result:
    """One row, what was said first, and what must not have happened."""
    scratch = Path(tempfile.mkdtemp(prefix="edgeprune-faults-"))
    try:
        with part.bench(scratch) as bench:
            part.measure(bench, part.kind)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    found = bench.outcomes
    tried = [one for one in found if one.again]
    return {
        "machine": machine(),
        "cases": len(found),
        "answers": {name: _count(found, name) for name in ("old", "new", "neither")},
        "tried_again": len(tried),
        "succeeded_again": sum(one.again == "yes" for one in tried),
        "said": next((one.said for one in found if one.said), ""),
        "failures": [
            f"{one.kind}, {one.name}: {one.answers}; again: {one.again}"
            for one in found
            if one.answers == "neither" or one.again not in {"", "yes"}
        ],
        "outcomes": [dataclasses.asdict(one) for one in found],
    }


def _count(outcomes: Sequence[Outcome], name: str) -> int:
    return sum(one.answers == name for one in outcomes)


def kept() -> list[tuple[Part, Result]]:
    """Rows that were measured, by whatever sources, in the order of the table."""
    return [(part, found) for name, part in PARTS.items() if (found := read(NAME, name))]


def section() -> list[str]:
    """The page's section."""
    rows = kept()
    cases = sum(found["cases"] for _, found in rows)
    neither = sum(found["answers"]["neither"] for _, found in rows)
    return [
        "## Faults while shipping",
        "",
        f"{cases} cases: an old version is live, one thing is broken while a new one "
        f"({(FILLER_BYTES >> 20)} MiB) is shipped, then the device's own loader is asked. It answered as "
        f"neither version in {neither} cases. The last column but one counts cases in which the same "
        "command, given again with nothing broken, made the new version live. sshd is a real one on "
        "loopback; a restart is the sshd killed and started, and a lock of another boot. adbd is the aarch64 "
        "one of the emulated phone, which starts it again whenever it is killed. The old glibc is that of an "
        "emulated Raspberry Pi with Debian 11; given again is a bundle with a capsule, as the hint says.",
        "",
        "| what is broken | cases | old answers | new answers | neither | again succeeds | taken (UTC) |",
        "|---|---|---|---|---|---|---|",
        *(_row(part, found) for part, found in rows),
        "",
        f"Taken on {', '.join(dict.fromkeys(found['machine'] for _, found in rows))}.",
        "",
        "What was said, once for each:",
        "",
        *(f"- {part.kind}: {' '.join(found['said'].split())[:400]}" for part, found in rows if found["said"]),
    ]


def _row(part: Part, found: Result) -> str:
    counts = " | ".join(str(found["answers"][name]) for name in ("old", "new", "neither"))
    tried = found["tried_again"]
    again = f"{found['succeeded_again']} of {tried}" if tried else "(not asked)"
    return f"| {part.kind} | {found['cases']} | {counts} | {again} | {found['taken']} |"


if __name__ == "__main__":
    main()
