"""Kinds: all that can go wrong but broken links: bundles, devices, keys, disks, clocks, two at once."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from boards import Board
from shipments import keys, strangers

from benchmarks.faults.bench import Bench, Tripwire
from benchmarks.faults.devices import SshDevice
from benchmarks.faults.links import steps
from benchmarks.faults.versions import bare
from benchmarks.page import say
from edgeprune.core.bundle_file import Verified, unpack, verify, write_bundle
from edgeprune.core.destination import parse_destination
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.keys import load_private, load_trusted
from edgeprune.stages.ship import ship

Broken = Callable[[Path], object]


# Bundles


def flipped_bits(bench: Bench, kind: str) -> None:
    """A bit of the bundle is another one."""
    content = bench.versions.new.path.read_bytes()
    for tenth in range(11):
        at = min(len(content) - 1, tenth * len(content) // 10)
        flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        bench.case(kind, f"at {10 * tenth} %", _opened(bench, flipped, keys()[1]), retried=False)


def cut_off(bench: Bench, kind: str) -> None:
    """The end of the bundle is missing."""
    content = bench.versions.new.path.read_bytes()
    for percent in (0, 50, 99):
        start = content[: percent * len(content) // 100]
        bench.case(kind, f"at {percent} %", _opened(bench, start, keys()[1]), retried=False)


def signed_by_another(bench: Bench, kind: str) -> None:
    """Somebody who is not trusted signed it."""
    content = bench.versions.new.path.read_bytes()
    bench.case(kind, "not trusted", _opened(bench, content, strangers()[1]), retried=False)


def _opened(bench: Bench, content: bytes, trusted: Path) -> Broken:
    def broken(where: Path) -> None:
        copy = bench.scratch / "damaged.edge"
        copy.write_bytes(content)
        _sent(bench, verify(copy, load_trusted([trusted])), where)

    return broken


def _sent(bench: Bench, verified: Verified, where: Path) -> None:
    ship(verified, bench.to(where), python=bench.device.python)


# Devices


def other_machines(bench: Bench, kind: str) -> None:
    """The bundle is for another processor."""
    requires = bench.versions.new.bundle.requires
    for machine in ("aarch64", "armv7l", "riscv64"):
        changed = requires.model_copy(update={"machine": machine})
        bench.case(kind, machine, _altered(bench, requires=changed), retried=False)


def too_slow(bench: Bench, kind: str) -> None:
    """It does not keep its budget."""
    bench.case(kind, "a budget of 1 ns", _altered(bench, latency_budget_ms=1e-6))


def other_answers(bench: Bench, kind: str) -> None:
    """It answers otherwise than where it was made."""
    golden = bench.versions.new.bundle.golden
    swapped = golden.model_copy(update={"outputs": golden.inputs})
    bench.case(kind, "another golden answer", _altered(bench, golden=swapped))


def _altered(bench: Bench, **changes: object) -> Broken:
    made = bench.versions.new

    def broken(where: Path) -> None:
        path = bench.scratch / "altered.edge"
        with tempfile.TemporaryDirectory() as folder:
            unpack(made, Path(folder))
            files = {entry.path: Path(folder, entry.path) for entry in made.bundle.entries}
            write_bundle(path, made.bundle.model_copy(update=changes), files, load_private(keys()[0]))
        _sent(bench, verify(path, load_trusted([keys()[1]])), where)

    return broken


def old_glibc(bench: Bench, kind: str) -> None:
    """The bundle brings no Python, and no wheel of its runtime loads on the device's C library."""
    bench.case(kind, "no capsule; again with one", partial(_sent, bench, bare("rpi4")))


# Keys


def distrusted_hosts(bench: Bench, kind: str) -> None:
    """A host key that is not known, another one, a certificate that has expired, a key that does not open."""
    board = _board(bench)
    algorithm, key = (board.folder / "id.pub").read_text().split()[:2]
    (bench.scratch / "unknown").write_text("")
    (bench.scratch / "changed").write_text(f"[127.0.0.1]:{board.port} {algorithm} {key}\n")
    for name, own, known in (
        ("its host key is not known", "id", bench.scratch / "unknown"),
        ("its host key is another one", "id", bench.scratch / "changed"),
        ("its host certificate has expired", "id", board.folder / "authority"),
        ("this user's key does not open", "hostkey", board.folder / "known_hosts"),
    ):
        options = f"key={board.folder / own}&known_hosts={known}"

        def broken(where: Path, options: str = options) -> None:
            to = parse_destination(f"{board.host}:{where}?{options}")
            ship(bench.versions.new, to, python=bench.device.python)

        bench.case(kind, name, broken, retried=False)

    def gone(where: Path) -> None:
        bench.device.stop()
        bench.shipped(where)

    bench.case(kind, "nobody is there", gone)


def _board(bench: Bench) -> Board:
    assert isinstance(bench.device, SshDevice)
    return bench.device.board


# Disks, clocks, two at once


def full_disks(bench: Bench, kind: str) -> None:
    """The device's disk fills up before or while it is shipped to."""
    for megabytes, name in ((4, "before"), (40, "while packed"), (52, "while it is unpacked")):
        mounted = bench.scratch / f"disk{megabytes}"
        mounted.mkdir()
        if subprocess.run(_mounting(f"size={megabytes}m", mounted), capture_output=True).returncode:
            say("no small file system may be mounted here: the cases of a full disk are left out")
            return

        def roomy(_: Path, mounted: Path = mounted) -> None:
            subprocess.run(_mounting("remount,size=200m", mounted), check=True)

        def filled(where: Path, mounted: Path = mounted, whole: bool = megabytes == 4) -> None:
            if whole:
                bench.shipped(where)
                return
            subprocess.run(_mounting("remount,size=200m", mounted), check=True)
            size = f"remount,size={13 if mounted.name == 'disk52' else 6}m"
            place = 6  # after the preflight, which sees that it does not fit
            wire = Tripwire(place, lambda: subprocess.run(_mounting(size, mounted), check=True))
            bench.shipped(where, wire)

        bench.case(kind, name, filled, healed=roomy, folder=bench.copied_to(mounted / "device"))
        subprocess.run(["umount", "-l", str(mounted)], check=False)


def _mounting(options: str, place: Path) -> list[str]:
    return ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]


def two_at_once(bench: Bench, kind: str) -> None:
    """Two ships of the same or of different versions; one may be refused, none may be mixed."""
    old, new = bench.versions.old, bench.versions.new
    for number in range(4):

        def both(where: Path, number: int = number) -> None:
            refused: list[EdgepruneError] = []

            def one(verified: Verified, pause: float) -> None:
                time.sleep(pause)
                try:
                    _sent(bench, verified, where)
                except EdgepruneError as error:
                    refused.append(error)

            first = threading.Thread(target=one, args=(new, 0.0))
            second = threading.Thread(target=one, args=(old if number % 2 else new, 0.2 * number))
            for thread in (first, second):
                thread.start()
            for thread in (first, second):
                thread.join()
            if refused:
                raise refused[0]

        bench.case(kind, f"{0.2 * number:.1f} s apart", both)


def wrong_clocks(bench: Bench, kind: str) -> None:
    """Every file of the device is of 1970 or of 2099."""
    for name, seconds in (("1970", 1.0), ("2099", 4.1e9)):

        def touched(where: Path, seconds: float = seconds) -> None:
            for path in where.rglob("*"):
                os.utime(path, (seconds, seconds), follow_symlinks=False)
            bench.shipped(where)

        bench.case(kind, name, touched)


def killed_at_steps(bench: Bench, kind: str) -> None:
    """The tool itself is killed before every command: its lock stays, and a later ship takes it over."""

    def killed(place: int, where: Path) -> None:
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                wire = Tripwire(place, lambda: os.kill(os.getpid(), signal.SIGKILL))
                bench.shipped(where, wire, local=True)
            os._exit(0)
        os.waitpid(child, 0)

    for place in steps(bench):
        bench.case(kind, f"before command {place + 1}", partial(killed, place), local=True)
