"""`make bench-faults`: what a device answers with after everything that can go wrong while it is shipped to.

    python -m benchmarks.faults

Every case begins with a folder in which an old version is live, breaks one thing while a new one is shipped
there, and then asks the folder with the loader of devices: it must answer as the old or the new version
should. Then the same command is given again, with nothing broken. Connections are those of a real sshd, which
is killed and started; the device's full disk is a small file system of its own.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path, PurePosixPath

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from boards import SSHD, Board, listening, sshd  # noqa: E402 - the sshd that tests use, too
from shipments import keys, run_folder, strangers  # noqa: E402

from benchmarks.page import replace_section, say, taken  # noqa: E402
from edgeprune.core.address import transport_at  # noqa: E402
from edgeprune.core.bundle_file import Verified, verify, write_bundle  # noqa: E402
from edgeprune.core.completed import Completed  # noqa: E402
from edgeprune.core.destination import Destination, parse_destination  # noqa: E402
from edgeprune.core.errors import ConnectionLost, EdgepruneError  # noqa: E402
from edgeprune.core.keys import load_private, load_trusted  # noqa: E402
from edgeprune.core.link import ShellLink  # noqa: E402
from edgeprune.core.protocols import Link, Shell, Transport  # noqa: E402
from edgeprune.core.shell_files import ShellFiles  # noqa: E402
from edgeprune.device.edgeprune_device import Model, load  # noqa: E402
from edgeprune.stages.bundle import bundle  # noqa: E402
from edgeprune.stages.ship import ship  # noqa: E402

FILLER_BYTES = 8 << 20
OLD, NEW = "model.onnx", "model.tflite"
Action = Callable[[], object]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case, and what came of it."""

    kind: str
    name: str
    said: str
    answers: str
    again: str


@dataclass
class Bench:
    """The sshd, the folder with the old version live, and everything that was found."""

    board: Board
    scratch: Path
    outcomes: list[Outcome] = field(default_factory=list)

    def stop(self) -> None:
        """The board goes away: its sshd and every session."""
        sessions = self.board.cut_connections()
        self.board.process.kill()
        self.board.process.wait()
        assert sessions >= 0

    def start(self) -> None:
        """The board is there again."""
        if self.board.process.poll() is None:
            return
        command = [str(SSHD), "-D", "-e", "-f", str(self.board.folder / "sshd.conf")]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        self.board = dataclasses.replace(self.board, process=process)
        listening(self.board.port, process)

    def folder(self) -> Path:
        """A fresh folder in which the old version is live."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch)) / "device"
        shutil.copytree(self.scratch / "template", folder, symlinks=True)
        return folder

    def case(
        self,
        kind: str,
        name: str,
        broken: Callable[[Path], object],
        *,
        healed: Callable[[Path], object] = lambda _: None,
        folder: Path | None = None,
        over_ssh: bool = True,
        retried: bool = True,
    ) -> None:
        """Break, ask, mend, ship again; what is refused before any device is asked needs no second try."""
        where = folder or self.folder()
        said = ""
        try:
            broken(where)
        except EdgepruneError as error:
            said = f"{error.message} ({error.hint})"
        found = answers(where)
        self.start()
        healed(where)
        again = self._again(where, over_ssh=over_ssh) if retried else ""
        said = said.replace(str(where), "DIR").replace(str(self.scratch), "TMP")
        said = said.replace(self.board.host, "pi@board").replace(f":{self.board.port}", ":22")
        self.outcomes.append(Outcome(kind, name, said, found, again))
        say(f"{len(self.outcomes)} {kind}, {name}: {found}; again: {again}; {said[:90]}")
        if folder is None:
            shutil.rmtree(where.parent)

    def _again(self, where: Path, *, over_ssh: bool) -> str:
        try:
            ship(new(), self.to(where, over_ssh=over_ssh), python=sys.executable)
        except EdgepruneError as error:
            return f"no: {error.message}"
        return "yes" if answers(where) == "new" else "no: the new version does not answer"

    def to(self, folder: Path, *, over_ssh: bool = True) -> Destination:
        """The folder behind the sshd, or on this machine."""
        if not over_ssh:
            return parse_destination(f"local:{folder}")
        head, mark, query = self.board.address.partition("?")
        return parse_destination(f"{head}:{folder}{mark}{query}")

    def shipped(self, folder: Path, wire: Tripwire | None = None, *, over_ssh: bool = True) -> None:
        """Ship the new version there, over a wire that may break."""
        to = self.to(folder, over_ssh=over_ssh)
        transport: Transport = transport_at(to.address)
        if wire is not None:
            transport = dataclasses.replace(wire, transport=transport)
        ship(new(), to, transport=transport, python=sys.executable)


# Breaking


@dataclass(frozen=True)
class Tripwire:
    """A transport that does something before or after one of its commands."""

    step: int
    action: Action
    after: bool = False
    said: list[str] = field(default_factory=list)
    transport: Transport | None = None

    def connect(self) -> AbstractContextManager[Link]:
        """The real link, with the wire in it."""
        return self._connected()

    @contextmanager
    def _connected(self) -> Iterator[Link]:
        assert self.transport is not None
        with self.transport.connect() as link:
            shell = _Wired(link.shell, self)
            # One short pause in place of three long ones: a board that is gone here stays so.
            yield ShellLink(shell, ShellFiles(shell, pauses_s=(0.3,)), link.scratch)


@dataclass
class _Wired:
    shell: Shell
    wire: Tripwire

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        step = len(self.wire.said)
        self.wire.said.append(command[2] if len(command) > 2 else " ".join(command))
        if step == self.wire.step and not self.wire.after:
            self.wire.action()
        done = self.shell.run(command, timeout=timeout, stdin=stdin, cwd=cwd)
        if step == self.wire.step and self.wire.after:
            self.wire.action()
            raise ConnectionLost("the answer was lost")
        return done


def steps(bench: Bench) -> list[int]:
    """The commands of one undisturbed ship, of those that carry the upload's pieces the first and last."""
    wire = Tripwire(-1, lambda: None)
    bench.shipped(bench.folder(), wire)
    pieces = [place for place, command in enumerate(wire.said) if command.startswith("cat >>")]
    return [place for place in range(len(wire.said)) if place not in pieces[1:-2]]


def lost_steps(bench: Bench, places: Sequence[int]) -> None:
    """The board goes away before every command, or before it has answered, and is there at the next try."""
    for place in places:
        for after in (False, True):
            wire = Tripwire(place, bench.stop, after)
            name = f"{'before the answer to' if after else 'before'} command {place + 1}"
            bench.case("the board goes away at a step", name, lambda where, w=wire: bench.shipped(where, w))


def cut_steps(bench: Bench, places: Sequence[int]) -> None:
    """The connection breaks before every command, and can be made anew at once."""
    for place in places:
        wire = Tripwire(place, lambda: bench.board.cut_connections())
        name = f"before command {place + 1}"
        bench.case("the connection breaks at a step", name, lambda where, w=wire: bench.shipped(where, w))


def killed_steps(bench: Bench, places: Sequence[int]) -> None:
    """The tool itself is killed before every command: its lock stays, and a later ship takes it over."""

    def killed(where: Path, place: int) -> None:
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                bench.shipped(
                    where, Tripwire(place, lambda: os.kill(os.getpid(), signal.SIGKILL)), over_ssh=False
                )
            os._exit(0)
        os.waitpid(child, 0)

    for place in places:
        bench.case(
            "edgeprune is killed at a step",
            f"before command {place + 1}",
            lambda where, p=place: killed(where, p),
            over_ssh=False,
        )


def cut_uploads(bench: Bench) -> None:
    """At every tenth of the upload: the connection breaks, or the board goes away."""
    for action, kind in (
        (lambda: bench.board.cut_connections(), "the connection breaks in the upload"),
        (bench.stop, "the board goes away in the upload"),
    ):
        for tenth in range(10):
            bench.case(
                kind,
                f"at {10 * tenth} %",
                lambda where, t=tenth, a=action: _while_uploading(bench, where, t / 10, a),
            )


def _while_uploading(bench: Bench, where: Path, share: float, action: Action) -> None:
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


def reboots(bench: Bench, places: Sequence[int]) -> None:
    """The board restarts between upload and flip: gone, and there again, with everything in memory lost."""
    for place in places[-8:-3]:
        wire = Tripwire(place, lambda: (bench.stop(), bench.start()))

        def rebooted(where: Path, wire: Tripwire = wire) -> None:
            bench.shipped(where, wire)

        def other_boot(where: Path) -> None:
            lock = where / ".lock"
            if lock.is_symlink():
                parts = str(lock.readlink()).split("|")
                lock.unlink()
                lock.symlink_to("|".join(["another-desk", "1", "another-boot", *parts[3:]]))

        bench.case(
            "the board restarts before the flip", f"at command {place + 1}", rebooted, healed=other_boot
        )


def damaged_bundles(bench: Bench) -> None:
    """A bit of the bundle is another one, it was cut off, signed by somebody else, or by nobody."""
    content = new().path.read_bytes()
    copy = bench.scratch / "damaged.edge"

    def opened(change: bytes, trusted: Path) -> Callable[[Path], object]:
        def broken(where: Path) -> None:
            copy.write_bytes(change)
            ship(verify(copy, load_trusted([trusted])), bench.to(where), python=sys.executable)

        return broken

    for tenth in range(11):
        at = min(len(content) - 1, tenth * len(content) // 10)
        flipped = content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]
        bench.case(
            "a bit of the bundle is flipped", f"at {10 * tenth} %", opened(flipped, keys()[1]), retried=False
        )
    for percent in (0, 50, 99):
        cut = content[: percent * len(content) // 100]
        bench.case("the bundle was cut off", f"at {percent} %", opened(cut, keys()[1]), retried=False)
    bench.case("another key signed it", "not trusted", opened(content, strangers()[1]), retried=False)


def unfit_devices(bench: Bench) -> None:
    """Another machine, a budget that it does not keep, another answer, no runtime."""
    bundle = new().bundle

    def sent(**changes: object) -> Callable[[Path], object]:
        altered = bundle.model_copy(update=changes)
        path = bench.scratch / "altered.edge"

        def broken(where: Path) -> None:
            write_bundle(path, altered, contents(), load_private(keys()[0]))
            ship(verify(path, load_trusted([keys()[1]])), bench.to(where), python=sys.executable)

        return broken

    def fits(**changes: object) -> dict[str, object]:
        return {"requires": bundle.requires.model_copy(update=changes)}

    for machine in ("aarch64", "armv7l", "riscv64"):
        bench.case("the device is another machine", machine, sent(**fits(machine=machine)), retried=False)
    bench.case("it is too slow", "a budget of 1 ns", sent(latency_budget_ms=1e-6))
    swapped = bundle.golden.model_copy(update={"outputs": bundle.golden.inputs})
    bench.case("it answers otherwise", "another golden answer", sent(golden=swapped))


def distrusted_hosts(bench: Bench) -> None:
    """A host key that is not known, or another one, a key that does not open, nobody there."""
    folder, host = bench.board.folder, bench.board.host
    kind, key = (folder / "id.pub").read_text().split()[:2]
    (bench.scratch / "unknown").write_text("")
    (bench.scratch / "changed").write_text(f"[127.0.0.1]:{bench.board.port} {kind} {key}\n")
    for name, options in (
        ("its host key is not known", f"key={folder}/id&known_hosts={bench.scratch}/unknown"),
        ("its host key is another one", f"key={folder}/id&known_hosts={bench.scratch}/changed"),
        ("this user's key does not open", f"key={folder}/hostkey&known_hosts={folder}/known_hosts"),
    ):

        def broken(where: Path, options: str = options) -> None:
            ship(new(), parse_destination(f"{host}:{where}?{options}"), python=sys.executable)

        bench.case("the device is not let in or does not let in", name, broken, retried=False)

    def gone(where: Path) -> None:
        bench.stop()
        bench.shipped(where)

    bench.case("the device is not let in or does not let in", "nobody is there", gone)


def full_disks(bench: Bench) -> None:
    """The device's disk fills up before or while it is shipped to."""
    for megabytes, name in ((4, "before"), (40, "while packed"), (52, "while it is unpacked")):
        mounted = bench.scratch / f"disk{megabytes}"
        mounted.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(mounted)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            say("no small file system may be mounted here: the cases of a full disk are left out")
            return
        shutil.copytree(bench.scratch / "template", mounted / "device", symlinks=True)

        def roomy(_: Path, mounted: Path = mounted) -> None:
            subprocess.run(["mount", "-o", "remount,size=200m", str(mounted)], check=True)

        def filled(where: Path, mounted: Path = mounted, whole: bool = megabytes == 4) -> None:
            if whole:
                bench.shipped(where)
                return
            subprocess.run(["mount", "-o", "remount,size=200m", str(mounted)], check=True)
            size = f"remount,size={13 if mounted.name == 'disk52' else 6}m"
            place = 6  # after the preflight, which sees that it does not fit
            wire = Tripwire(place, lambda: subprocess.run(["mount", "-o", size, str(mounted)], check=True))
            bench.shipped(where, wire)

        bench.case("the disk is full", name, filled, healed=roomy, folder=mounted / "device")
        subprocess.run(["umount", "-l", str(mounted)], check=False)


def two_at_once(bench: Bench) -> None:
    """Two ships of the same or of different versions; one may be refused, none may be mixed."""
    for number in range(4):

        def both(where: Path, number: int = number) -> None:
            refused: list[EdgepruneError] = []

            def one(verified: Verified, pause: float) -> None:
                time.sleep(pause)
                try:
                    ship(verified, bench.to(where), python=sys.executable)
                except EdgepruneError as error:
                    refused.append(error)

            first = threading.Thread(target=one, args=(new(), 0.0))
            second = threading.Thread(target=one, args=(old() if number % 2 else new(), 0.2 * number))
            for thread in (first, second):
                thread.start()
            for thread in (first, second):
                thread.join()
            if refused:
                raise refused[0]

        bench.case("two ships at once", f"{0.2 * number:.1f} s apart", both)


def wrong_clocks(bench: Bench) -> None:
    """Every file of the device is of 1970 or of 2099."""
    for name, seconds in (("1970", 1.0), ("2099", 4.1e9)):

        def touched(where: Path, seconds: float = seconds) -> None:
            for path in where.rglob("*"):
                os.utime(path, (seconds, seconds), follow_symlinks=False)
            bench.shipped(where)

        bench.case("the clock is wrong", name, touched)


# Asking


def answers(folder: Path) -> str:
    """'old' or 'new', whichever the device answers as; 'neither' is what must never be."""
    try:
        model: Model = load(folder, follow=False)
        version = folder / "versions" / model.version
        inputs, outputs = (np.load(version / "golden" / f"{name}.npy") for name in ("inputs", "outputs"))
        alike = bool(np.abs(model(inputs) - outputs).max() <= 1e-4 * np.abs(outputs).max())
    except (RuntimeError, OSError, ValueError) as error:
        say(f"NEITHER: {error}")
        return "neither"
    known = {old().bundle.id: "old", new().bundle.id: "new"}
    return known.get(model.version[:12], "neither") if alike else "neither"


# The versions


@cache
def old() -> Verified:
    """A small bundle, which every case begins with."""
    return _made(OLD, None)


@cache
def new() -> Verified:
    """A large bundle with a Python of its own, so that its upload can be cut in pieces."""
    capsule = Path(tempfile.mkdtemp(prefix="edgeprune-faults-"))
    (capsule / "py").write_text(f'exec {sys.executable} "$@"\n')
    (capsule / "filler").write_bytes(np.random.default_rng(0).bytes(FILLER_BYTES))
    made = _made(NEW, capsule)
    shutil.rmtree(capsule)
    return made


@cache
def contents() -> dict[str, Path]:
    """The entries of the new bundle as files."""
    from edgeprune.core.bundle_file import unpack

    folder = Path(tempfile.mkdtemp(dir=new().path.parent))
    unpack(new(), folder)
    return {entry.path: folder / entry.path for entry in new().bundle.entries}


def _made(file: str, capsule: Path | None) -> Verified:
    path = run_folder() / f"{file}.edge"
    bundle(run_folder(), path, key=keys()[0], file=file, capsule=capsule)
    return verify(path, load_trusted([keys()[1]]))


# The table


def section(outcomes: Sequence[Outcome]) -> list[str]:
    """The page's section."""
    bad = [one for one in outcomes if one.answers == "neither"]
    lines = [
        "## Faults while shipping",
        "",
        taken(),
        f"{len(outcomes)} cases: an old version is live, one thing is broken while a new one "
        f"({(FILLER_BYTES >> 20)} MiB) is shipped, then the device's own loader is asked. It answered as "
        f"neither version in {len(bad)} cases. The last column counts cases in which the same command, given "
        "again with nothing broken, made the new version live. sshd is a real one on loopback; a restart is "
        "the sshd killed and started, and a lock of another boot.",
        "",
        "| what is broken | cases | old answers | new answers | neither | again succeeds |",
        "|---|---|---|---|---|---|",
    ]
    for kind in dict.fromkeys(one.kind for one in outcomes):
        rows = [one for one in outcomes if one.kind == kind]
        counts = [sum(one.answers == name for one in rows) for name in ("old", "new", "neither")]
        tried = [one for one in rows if one.again]
        again = f"{sum(one.again == 'yes' for one in tried)} of {len(tried)}" if tried else "(not asked)"
        lines.append(f"| {kind} | {len(rows)} | {' | '.join(map(str, counts))} | {again} |")
    lines += ["", "What was said, once for each:", ""]
    for kind in dict.fromkeys(one.kind for one in outcomes):
        said = next((one.said for one in outcomes if one.kind == kind and one.said), "")
        if said:
            lines.append(f"- {kind}: {' '.join(said.split())[:330]}")
    return lines


def main() -> None:
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # what it says of sockets that are gone
    scratch = Path(tempfile.mkdtemp(prefix="edgeprune-faults-"))
    (scratch / "sshd").mkdir()
    try:
        with sshd(scratch / "sshd") as board, ExitStack() as stack:
            bench = Bench(board, scratch)
            stack.callback(bench.stop)
            # Without the start-up file of this user's login shell, which takes longer than the commands.
            with (board.folder / "sshd.conf").open("a") as settings:
                settings.write(f"SetEnv HOME={scratch}\n")
            bench.stop()
            bench.start()
            ship(old(), bench.to(scratch / "template", over_ssh=False))
            places = steps(bench)
            say(f"{len(places)} steps")
            for group in (
                lambda: damaged_bundles(bench),
                lambda: unfit_devices(bench),
                lambda: distrusted_hosts(bench),
                lambda: full_disks(bench),
                lambda: two_at_once(bench),
                lambda: wrong_clocks(bench),
                lambda: reboots(bench, places),
                lambda: cut_uploads(bench),
                lambda: lost_steps(bench, places),
                lambda: cut_steps(bench, places),
                lambda: killed_steps(bench, places),
            ):
                group()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    replace_section(ROOT / "docs" / "benchmarks.md", "faults", section(bench.outcomes))
    failed = [one for one in bench.outcomes if one.answers == "neither" or one.again not in {"", "yes"}]
    for one in failed:
        print(f"{one.kind}, {one.name}: {one.answers}; again: {one.again}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
