"""Links that break: at every step of ship and at every tenth of the upload, over whichever cable."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

from benchmarks.faults.bench import Action, Bench, Tripwire
from benchmarks.faults.versions import FILLER_BYTES
from benchmarks.page import say


def steps(bench: Bench) -> list[int]:
    """The commands of one undisturbed ship, of those that carry the upload's pieces the first and last."""
    wire = Tripwire(-1, lambda: None)
    bench.shipped(bench.folder(), wire)
    pieces = [place for place, command in enumerate(wire.said) if command.startswith("cat >>")]
    places = [place for place in range(len(wire.said)) if place not in pieces[1:-2]]
    say(f"{len(places)} steps")
    return places


def lost_at_steps(bench: Bench, kind: str) -> None:
    """The device goes away before every command, or before it has answered, and is there at the next try."""
    for place in steps(bench):
        for after in (False, True):
            wire = Tripwire(place, bench.device.stop, after)
            name = f"{'before the answer to' if after else 'before'} command {place + 1}"
            bench.case(kind, name, lambda where, w=wire: bench.shipped(where, w))


def cut_at_steps(bench: Bench, kind: str) -> None:
    """The connection breaks before every command, and can be made anew at once."""
    for place in steps(bench):
        wire = Tripwire(place, bench.device.cut)
        bench.case(kind, f"before command {place + 1}", lambda where, w=wire: bench.shipped(where, w))


def cut_uploads(bench: Bench, kind: str) -> None:
    """The connection breaks at every tenth of the upload, and can be made anew at once."""
    _at_tenths(bench, kind, bench.device.cut)


def lost_uploads(bench: Bench, kind: str) -> None:
    """The device goes away at every tenth of the upload."""
    _at_tenths(bench, kind, bench.device.stop)


def restarts(bench: Bench, kind: str) -> None:
    """The device restarts between upload and flip: gone, and there again, with everything in memory lost."""
    for place in steps(bench)[-8:-3]:
        wire = Tripwire(place, lambda: (bench.device.stop(), bench.device.start()))
        name = f"at command {place + 1}"
        bench.case(kind, name, lambda where, w=wire: bench.shipped(where, w), healed=_other_boot)


def _other_boot(where: Path) -> None:
    lock = where / ".lock"
    if lock.is_symlink():
        parts = str(lock.readlink()).split("|")
        lock.unlink()
        lock.symlink_to("|".join(["another-desk", "1", "another-boot", *parts[3:]]))


def _at_tenths(bench: Bench, kind: str, action: Action) -> None:
    for tenth in range(10):
        bench.case(kind, f"at {10 * tenth} %", partial(_while_uploading, bench, tenth / 10, action))


def _while_uploading(bench: Bench, share: float, action: Action, where: Path) -> None:
    done = threading.Event()

    def watch() -> None:
        while not done.is_set():
            for part in (where / "incoming").glob(".*.part"):
                with suppress(OSError):
                    if part.stat().st_size >= share * FILLER_BYTES:
                        action()
                        return
            time.sleep(0.002)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        bench.shipped(where, Tripwire(-1, lambda: None))
    finally:
        done.set()
        watcher.join()
