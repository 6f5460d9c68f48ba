"""Bench: a folder in which an old version is live, a new one that is shipped there, and who answers then."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from benchmarks.faults.devices import Device
from benchmarks.faults.versions import Versions
from benchmarks.page import say
from edgeprune.core.address import transport_at
from edgeprune.core.completed import Completed
from edgeprune.core.destination import Destination, parse_destination
from edgeprune.core.errors import ConnectionLost, EdgepruneError
from edgeprune.core.link import ShellLink
from edgeprune.core.protocols import Link, Shell, Transport
from edgeprune.core.shell_files import ShellFiles
from edgeprune.device.edgeprune_device import Model, load
from edgeprune.stages.ship import ship

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
    """A device, where its folders lie on this machine, what is shipped, and everything that was found."""

    device: Device
    scratch: Path
    versions: Versions
    outcomes: list[Outcome] = field(default_factory=list)

    def folder(self) -> Path:
        """A fresh folder in which the old version is live."""
        return self.copied_to(Path(tempfile.mkdtemp(dir=self.scratch)) / "device")

    def copied_to(self, folder: Path) -> Path:
        """The same at a place of one's own."""
        template = self.scratch / "template"
        if not template.exists():
            ship(self.versions.old, self.to(template), python=self.device.python)
        shutil.copytree(template, folder, symlinks=True)
        return folder

    def case(
        self,
        kind: str,
        name: str,
        broken: Callable[[Path], object],
        *,
        healed: Callable[[Path], object] = lambda _: None,
        folder: Path | None = None,
        local: bool = False,
        retried: bool = True,
    ) -> None:
        """Break, ask, mend, ship again; what is refused before any device is asked needs no second try."""
        where = folder or self.folder()
        said = ""
        try:
            broken(where)
        except EdgepruneError as error:
            said = f"{error.message} ({error.hint})"
        found = self.answers(where)
        self.device.start()
        healed(where)
        again = self._again(where, local=local) if retried else ""
        self.outcomes.append(Outcome(kind, name, self._plain(said, where), found, again))
        say(f"{len(self.outcomes)} {kind}, {name}: {found}; again: {again}; {said[:90]}")
        if folder is None:
            shutil.rmtree(where.parent)

    def to(self, folder: Path, *, local: bool = False) -> Destination:
        """The folder on the device, or, where it is this machine, without a cable."""
        if local:
            return parse_destination(f"local:{folder}")
        head, mark, query = self.device.address.partition("?")
        return parse_destination(f"{head}:{self.device.inside(folder)}{mark}{query}")

    def shipped(self, folder: Path, wire: Tripwire | None = None, *, local: bool = False) -> None:
        """Ship the new version there, over a wire that may break."""
        to = self.to(folder, local=local)
        transport: Transport = transport_at(to.address)
        if wire is not None:
            transport = dataclasses.replace(wire, transport=transport)
        ship(self.versions.new, to, transport=transport, python=self.device.python)

    def answers(self, folder: Path) -> str:
        """'old' or 'new', whichever the device answers as; 'neither' is what must never be."""
        try:
            model: Model = load(folder, follow=False)
            version = folder / "versions" / model.version
            inputs, outputs = (np.load(version / "golden" / f"{name}.npy") for name in ("inputs", "outputs"))
            alike = bool(np.abs(model(inputs) - outputs).max() <= 1e-4 * np.abs(outputs).max())
        except (RuntimeError, OSError, ValueError) as error:
            say(f"NEITHER: {error}")
            return "neither"
        known = {self.versions.old.bundle.id: "old", self.versions.new.bundle.id: "new"}
        return known.get(model.version[:12], "neither") if alike else "neither"

    def _again(self, where: Path, *, local: bool) -> str:
        try:
            ship(self.versions.new, self.to(where, local=local), python=self.device.python)
        except EdgepruneError as error:
            return f"no: {error.message}"
        return "yes" if self.answers(where) == "new" else "no: the new version does not answer"

    def _plain(self, said: str, where: Path) -> str:
        """Without the names of this machine's folders."""
        for folder, word in ((str(where), "DIR"), (str(self.scratch), "TMP")):
            said = said.replace(folder, word)
        return said.replace(str(self.device.inside(where)), "DIR")


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
