"""Ship: bring a verified bundle to a device, test it there, and make it the live version in one step."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.address import transport_at
from edgeprune.core.bundle_file import Verified, unpack
from edgeprune.core.destination import Destination
from edgeprune.core.device_run import FileRun
from edgeprune.core.errors import DeviceError, EdgepruneError
from edgeprune.core.golden import golden_test, starter
from edgeprune.core.preflight import notes_on, preflight, require_clear
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.protocols import Link, Transport
from edgeprune.core.shelf import Look, Shelf
from edgeprune.core.shelved import listed_files
from edgeprune.core.shipment import Shipment
from edgeprune.core.survey import Survey, survey

_STEPS = 5


def ship(
    verified: Verified,
    to: Destination,
    *,
    transport: Transport | None = None,
    python: str = "",
    keep: int = 3,
    progress: Progress | None = None,
) -> Shipment | None:
    """Make a bundle the live version of a device's folder; None where the transport only rehearses.

    On any failure the device goes on with the version it had; the message says so.

    Raises
    ------
    DeviceError
        It cannot be reached, does not fit, is full, answers otherwise, is too slow, or is being changed.
    """
    started = time.monotonic()
    progress = progress or Silent()
    progress.start("ship", _STEPS)
    with (transport or transport_at(to.address)).connect() as link:
        shelf = Shelf(link.shell, to.folder, to.shown)
        own = sys.executable if to.address == "local" else ""
        facts = survey(link, to.address.partition("?")[0], python=python or own)
        look = shelf.look()
        rehearsed = not facts.machine
        if not rehearsed:
            keeps = any(one.startswith(verified.bundle.id) for one in look.versions)
            require_clear(to.shown, preflight(verified.bundle, facts, look, keeps=keeps))
        starter(verified.bundle, shelf.incoming_folder(verified.bundle.id), facts, python)
        progress.advance()
        with shelf.locked(bytes=verified.bundle.bytes) as token:
            work = _Work(link, shelf, facts, verified, token, python, progress)
            done = work.carry_out(keep)
    progress.finish()
    if rehearsed:
        return None
    return Shipment(
        to=to.shown,
        version=done.name,
        before=done.before,
        uploaded_bytes=done.uploaded,
        checked=done.checked,
        removed=done.removed,
        notes=tuple(notes_on(verified.bundle, facts, done.checked)),
        seconds=round(time.monotonic() - started, 3),
    )


@dataclass(frozen=True, slots=True)
class _Done:
    name: str
    before: str | None
    uploaded: int
    checked: FileRun | None
    removed: tuple[str, ...]


@dataclass(slots=True)
class _Work:
    """The steps on a locked shelf, in their order."""

    link: Link
    shelf: Shelf
    facts: Survey
    verified: Verified
    token: str
    python: str
    progress: Progress
    flipping: bool = False

    def carry_out(self, keep: int) -> _Done:
        look = self.shelf.look()
        with self._told(look):
            there = self._intact_version(look)
            uploaded = 0 if there else self._upload()
            self.progress.advance()
            folder = (
                self.shelf.version_folder(there)
                if there
                else self.shelf.incoming_folder(self.verified.bundle.id)
            )
            start = starter(self.verified.bundle, folder, self.facts, self.python)
            checked = golden_test(self.link, self.verified.bundle, folder, start, cores=self.facts.cores)
            self.progress.advance()
            name = there or self._publish(look)
            start = starter(self.verified.bundle, self.shelf.version_folder(name), self.facts, self.python)
            if look.live != name:
                self.flipping = True
                self.shelf.flip(self.token, name, start)
        self.progress.advance()
        removed = self.shelf.look().newest_first()[keep:]
        self.shelf.remove(self.token, removed)
        self.progress.advance()
        return _Done(name, look.live, uploaded, checked, tuple(removed))

    def _intact_version(self, look: Look) -> str | None:
        """The version's name where it is on the device already and undamaged."""
        files = listed_files(self.verified.bundle)
        for name in look.versions:
            if name.startswith(self.verified.bundle.id) and self.shelf.intact(
                self.shelf.version_folder(name), files
            ):
                return name
        return None

    def _upload(self) -> int:
        """Bring the files to where nothing is live, and compare them there with their hashes."""
        id, bundle = self.verified.bundle.id, self.verified.bundle
        self.shelf.prepare(self.token, id)
        incoming = self.shelf.incoming_folder(id)
        if self.facts.machine and self.shelf.intact(incoming, listed_files(bundle)):
            return 0  # an interrupted ship had come that far
        with tempfile.TemporaryDirectory() as scratch:
            unpack(self.verified, Path(scratch))
            self.link.files.push(Path(scratch), incoming)
        if not self.shelf.intact(incoming, listed_files(bundle)):
            raise DeviceError(
                f"{self.shelf.where}: a file arrived damaged (its SHA-256 differs)",
                hint="check the device's disk, then give the same command again",
            )
        return bundle.bytes

    def _publish(self, look: Look) -> str:
        """A damaged version of the same content keeps its place, as it may be live: this goes beside it."""
        id = self.verified.bundle.id
        name = next(one for one in (id, *(f"{id}-{n}" for n in range(2, 1000))) if one not in look.versions)
        self.shelf.publish(self.token, id, name)
        return name

    @contextmanager
    def _told(self, look: Look) -> Iterator[None]:
        """A failure says with what the device goes on."""
        try:
            yield
        except EdgepruneError as error:
            raise type(error)(f"{error.message}; {self._afterwards(look)}", hint=error.hint) from error

    def _afterwards(self, look: Look) -> str:
        kept = (
            f"the device keeps version {look.live}" if look.live else "no version was live there, nor is one"
        )
        if not self.flipping:
            return kept
        try:
            live = self.shelf.look().live
        except DeviceError:
            return f"the old version is live or the new one: `edgeprune status --to {self.shelf.where}`"
        return kept if live == look.live else f"the device has changed to version {live} all the same"
