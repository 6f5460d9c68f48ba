"""Shelves: a folder on a device that holds versions of a model, of which one link says which is live.

    versions/<id>/   versions that passed their golden test there, never changed afterwards
    current          a link to one of them; replaced in one step, so that there always is one
    history          the ids that were live, one a line: order without clocks
    incoming/        what is on its way; never live
    .lock            a link that is no path: who changes the shelf, and until when

Everything is done by small POSIX scripts, so boards and phones need no program of ours for it. Nothing goes
by a device's clock, which may be wrong: the lock counts the seconds since the device was started.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from uuid import uuid4

from edgeprune.core.completed import Completed
from edgeprune.core.errors import DeviceError
from edgeprune.core.protocols import Shell

_SECONDS = 60.0
_SUMS_S = 600.0
_LEASE_S = 600
"""How long a lock holds whose owner went away without a word, beside the time for the upload."""
_SLOWEST = 35_000  # bytes a second, as for a piece of an upload
_NAME = re.compile(r"[0-9a-f]{12}(?:-[0-9]{1,3})?")
_TAKEN, _NOT_OURS, _NO_LINK = 9, 8, 7
_LOOK = r"""
say() { printf '%s\t%s\n' "$1" "$2"; }
near=$1; while [ ! -d "$near" ] && [ "$near" != / ]; do near=${near%/*}; near=${near:-/}; done
say exists "$([ -d "$1" ] && echo yes)"
say writable "$([ -w "$near" ] && echo yes)"
df -Pk "$near" 2>/dev/null | { read -r head; read -r disk size used free on; say free_kb "$free"; }
say boot "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
say uptime "$(cut -d . -f 1 /proc/uptime 2>/dev/null)"
cd "$1" 2>/dev/null || exit 0
say lock "$(readlink .lock)"
if [ -L current ]; then say current "$(readlink current)"
elif [ -e current ]; then say obstacle "current is there and is no link"; fi
for folder in versions/*; do [ -d "$folder" ] && say version "${folder#versions/}"; done
[ -f history ] && while read -r one; do say was "$one"; done < history
exit 0
"""
_LOCK = (
    'mkdir -p -- "$1" && cd -- "$1" || exit 1; [ -z "$3" ] || [ "$(readlink .lock)" != "$3" ] || '
    "rm -f .lock; "
    'ln -s -- "$2" .lock 2>/dev/null && exit 0; [ -L .lock ] && exit 9; ln -s -- "$2" .lock'
)
_UNLOCK = 'cd -- "$1" || exit 0; [ "$(readlink .lock)" != "$2" ] || rm -f .lock'
_OURS = 'cd -- "$1" || exit 1; [ "$(readlink .lock)" = "$2" ] || exit 8; '
# What an interrupted upload of the same version left is gone on with; everything else is in the way.
_PREPARE = _OURS + (
    "mkdir -p versions incoming || exit 1; rm -rf .removing-*; for one in incoming/* incoming/.[!.]*; do "
    'case "$one" in "incoming/$3" | "incoming/.$3."*) ;; *) rm -rf -- "$one" ;; esac; done'
)
_PUBLISH = _OURS + '[ ! -e "versions/$4" ] && mv -- "incoming/$3" "versions/$4"'
# Content first, link second: after a power cut the link never leads to files that were not written.
_FLIP = _OURS + (
    'name=$3; shift 3; [ -d "versions/$name" ] || exit 1; [ -L current ] || [ ! -e current ] || exit 7; '
    '(find "versions/$name" -type f -exec sync {} + || sync) 2>/dev/null; '
    "live=$(readlink current); live=${live#versions/}; last=$(tail -n 1 history 2>/dev/null); "
    '[ -z "$live" ] || [ "$live" = "$last" ] || echo "$live" >> history; '
    'rm -f .current.new; ln -s "versions/$name" .current.new || exit 1; '
    # Where `mv` knows no -T it would move the link into the folder, so a Python there replaces it.
    "mv -T -f .current.new current || \"$@\" -c \"import os; os.replace('.current.new', 'current')\" "
    '|| exit 1; echo "$name" >> history; exit 0'
)
_REMOVE = _OURS + (
    'shift 2; live=$(readlink current); for one; do [ "versions/$one" != "$live" ] || continue; '
    'mv -- "versions/$one" ".removing-$one" && rm -rf -- ".removing-$one"; done; exit 0'
)
_SUMS = 'cd -- "$1" && sha256sum -c 2>/dev/null'
_HELD: set[str] = set()
"""Locks that this very process holds: one of its own that is not here was left behind."""


@dataclass(frozen=True, slots=True)
class Look:
    """What a shelf says of itself."""

    exists: bool
    writable: bool
    free_bytes: int | None
    boot: str
    uptime_s: int | None
    lock: str
    live: str | None
    versions: tuple[str, ...]
    history: tuple[str, ...]
    obstacle: str

    @property
    def before_live(self) -> str | None:
        """The version that was live before, and is still there."""
        return next(
            (one for one in reversed(self.history) if one != self.live and one in self.versions), None
        )

    def newest_first(self) -> list[str]:
        """Versions by when they were last live; those that never were come last."""
        order = {name: place for place, name in enumerate(self.history)}
        return sorted(self.versions, key=lambda name: (name == self.live, order.get(name, -1)), reverse=True)


@dataclass(frozen=True, slots=True)
class Shelf:
    """The versions in one folder of a device, through its shell."""

    shell: Shell
    folder: PurePosixPath
    where: str

    def look(self) -> Look:
        """Everything that is known of it, with one command; an absent folder is an empty shelf."""
        done = self._script(_LOOK).require(f"{self.where}: cannot be looked at")
        told: dict[str, list[str]] = {}
        for line in done.text().splitlines():
            key, _, value = line.partition("\t")
            told.setdefault(key, []).append(value)

        def first(key: str) -> str:
            return told.get(key, [""])[0]

        live = first("current").removeprefix("versions/")
        return Look(
            exists=first("exists") == "yes",
            writable=first("writable") == "yes",
            free_bytes=int(first("free_kb")) * 1024 if first("free_kb").isdigit() else None,
            boot=first("boot"),
            uptime_s=int(first("uptime")) if first("uptime").isdigit() else None,
            lock=first("lock"),
            live=live if _NAME.fullmatch(live) else None,
            versions=tuple(one for one in told.get("version", []) if _NAME.fullmatch(one)),
            history=tuple(one for one in told.get("was", []) if _NAME.fullmatch(one)),
            obstacle=first("obstacle"),
        )

    @contextmanager
    def locked(self, *, bytes: int = 0) -> Iterator[str]:
        """Nobody else changes the shelf meanwhile; yields the lock's token.

        Raises
        ------
        DeviceError
            Somebody does.
        """
        token = self._token(self.look(), bytes)
        _HELD.add(token)
        try:
            self._take(token)
            yield token
        finally:
            _HELD.discard(token)
            # A device that is gone keeps the lock until it has run out.
            with suppress(DeviceError):
                self._script(_UNLOCK, token)

    def prepare(self, token: str, id: str) -> None:
        """Clear away what interrupted ships left, but for the parts of this version."""
        self._changed(self._script(_PREPARE, token, id), "cannot be prepared")

    def intact(self, folder: PurePosixPath, files: Sequence[tuple[str, str]]) -> bool:
        """Whether files (path, SHA-256) lie in a folder of the device as they should."""
        listed = "".join(f"{digest}  {path}\n" for path, digest in files).encode()
        command = ["sh", "-c", _SUMS, "sh", str(folder)]
        return self.shell.run(command, timeout=_SUMS_S, stdin=listed).exit_code == 0

    def publish(self, token: str, id: str, name: str) -> None:
        """Put what has come in among the versions."""
        self._changed(self._script(_PUBLISH, token, id, name), f"version {name} cannot be put in its place")

    def flip(self, token: str, name: str, start: Sequence[str]) -> None:
        """Make a version the live one, in one step; `start` are words that start a Python there."""
        done = self._script(_FLIP, token, name, *start)
        if done.exit_code == _NO_LINK:
            raise DeviceError(
                f"{self.where}: current is there and is no link", hint="move it away on the device"
            )
        self._changed(done, f"version {name} cannot be made the live one")

    def remove(self, token: str, names: Sequence[str]) -> None:
        """Remove versions; never the live one."""
        if names:
            self._changed(self._script(_REMOVE, token, *names), "old versions stay")

    def version_folder(self, name: str) -> PurePosixPath:
        """Where a version lies."""
        return self.folder / "versions" / name

    def incoming_folder(self, id: str) -> PurePosixPath:
        """Where a version lies before it has passed."""
        return self.folder / "incoming" / id

    def _take(self, token: str) -> None:
        done = self._script(_LOCK, token, "")
        if done.exit_code == _TAKEN:
            found = self.look()
            if not _is_dead(found):
                raise DeviceError(f"{self.where}: {_holder(found)} changes it now", hint=_patience(found))
            done = self._script(_LOCK, token, found.lock)
        if done.exit_code == _TAKEN:
            raise DeviceError(
                f"{self.where}: somebody else changes it now", hint="give the same command in a minute again"
            )
        _accepted(done, f"{self.where}: cannot be changed")

    def _token(self, look: Look, size: int) -> str:
        """Who, since which start of the device, until which of its seconds."""
        owner = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{_user()}-{socket.gethostname()}")
        until = (look.uptime_s or 0) + _LEASE_S + size // _SLOWEST
        return "|".join((owner, str(os.getpid()), look.boot, str(until), uuid4().hex))

    def _script(self, script: str, *arguments: str) -> Completed:
        command = ["sh", "-c", script, "sh", str(self.folder), *arguments]
        return self.shell.run(command, timeout=_SECONDS)

    def _changed(self, done: Completed, what: str) -> None:
        if done.exit_code == _NOT_OURS:
            raise DeviceError(
                f"{self.where}: somebody else has taken the lock over", hint="give the same command again"
            )
        _accepted(done, f"{self.where}: {what}")


def _accepted(done: Completed, what: str) -> None:
    said = done.stderr.decode(errors="replace").lower()
    for sign, why, hint in (
        ("no space left", "the device is full", "free some space there"),
        ("read-only file system", "its file system is read-only", "choose another folder, or remount it"),
        ("permission denied", "this user may not write there", "choose another folder, or `chown` it there"),
        ("not a directory", "a file stands in the way of the folder", "choose another folder"),
    ):
        if done.exit_code and sign in said:
            raise DeviceError(f"{what}: {why}", hint=hint)
    done.require(what)


def _is_dead(look: Look) -> bool:
    """Whether a lock's owner can be gone for certain: the device restarted, time is up, no such process."""
    parts = look.lock.split("|")
    if len(parts) != 5:
        return not look.lock
    owner, process, boot, until, _ = parts
    if boot and look.boot and boot != look.boot:
        return True
    if look.uptime_s is not None and until.isdigit() and look.uptime_s > int(until):
        return True
    here = re.sub(r"[^A-Za-z0-9_.-]", "_", f"{_user()}-{socket.gethostname()}")
    if owner != here or not process.isdigit():
        return False
    if int(process) == os.getpid():
        return look.lock not in _HELD
    return not Path("/proc", process).exists()


def _holder(look: Look) -> str:
    owner, process, *_ = [*look.lock.split("|"), "", ""]
    return f"{owner or 'somebody'} (process {process})"


def _patience(look: Look) -> str:
    until = [*look.lock.split("|"), "", "", "", ""][3]
    left = int(until) - (look.uptime_s or 0) if until.isdigit() else 0
    return (
        "give the same command again when it is done; should it have died, its lock runs out "
        f"in {max(1, round(left / 60))} min"
    )


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a passwd entry
        return str(os.getuid())
