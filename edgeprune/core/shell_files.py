"""Files through a shell alone: whole or not at all, checked by SHA-256, going on after a broken connection.

A device needs no file server for it, only `cat`, `head`, `tail`, `wc`, `mv`, `tar` and `sha256sum`, which
coreutils, busybox and Android's toybox have.
"""

from __future__ import annotations

import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgeprune.core.completed import Completed
from edgeprune.core.errors import ConnectionLost, DeviceError
from edgeprune.core.files import sha256, storage_errors
from edgeprune.core.protocols import Shell

_PIECE = 4 << 20
_SECONDS = 120.0  # for one piece, which allows 35 kB a second
_PAUSES_S = (0.5, 2.0, 5.0)
# What is there of a file so far. A rehearsed command says nothing: then nothing is there.
_BEGIN = 'mkdir -p -- "$2" || exit 1; if [ -f "$1" ]; then wc -c < "$1"; else echo 0; fi'
_APPEND = 'cat >> "$1"'
_NO_SHA256SUM, _DAMAGED = 3, 4
_FINISH = (
    'sum=$(sha256sum < "$1") || exit 3; [ "${sum%% *}" = "$3" ] || exit 4; '
    'if [ -d "$2" ]; then echo "it is a folder" >&2; exit 1; fi; mv -f -- "$1" "$2"'
)
_UNPACK = (
    'rm -rf -- "$2.new" && mkdir -p -- "$2.new" && tar -xf "$1" -C "$2.new" && rm -rf -- "$2" '
    '&& mv -f -- "$2.new" "$2"; code=$?; rm -f -- "$1"; [ $code = 0 ] || rm -rf -- "$2.new"; exit $code'
)
_DESCRIBE = 'wc -c < "$1" && sha256sum < "$1"'
_READ = 'tail -c "+$2" < "$1" | head -c "$3"'


@dataclass(frozen=True, slots=True)
class ShellFiles:
    """Moves files by commands of one shell."""

    shell: Shell
    pauses_s: tuple[float, ...] = _PAUSES_S

    def push(self, source: Path, to: PurePosixPath) -> None:
        """Copy a file or a folder; the same push goes on where an interrupted one stopped."""
        if source.is_dir():
            self._push_folder(source, to)
        else:
            self._persist(lambda: self._push_file(source, to))

    def pull(self, source: PurePosixPath, to: Path) -> None:
        """Copy one file from the device."""
        self._persist(lambda: self._pull_file(source, to))

    def _persist(self, move: Callable[[], None]) -> None:
        """Try again after each pause while the connection breaks."""
        for pause in self.pauses_s:
            try:
                return move()
            except ConnectionLost:
                time.sleep(pause)
        return move()

    def _push_folder(self, source: Path, to: PurePosixPath) -> None:
        with tempfile.TemporaryDirectory() as scratch:
            packed = Path(scratch) / "folder.tar"
            _pack(source, packed)
            archive = to.with_name(f".{to.name}.{sha256(packed)[:16]}.tar")
            self._persist(lambda: self._push_file(packed, archive))
        _accepted(self._script(_UNPACK, archive, to), to)

    def _push_file(self, source: Path, to: PurePosixPath) -> None:
        digest = sha256(source)
        part = to.with_name(f".{to.name}.{digest[:16]}.part")
        for _ in range(2):
            self._append(source, part, to)
            done = self._script(_FINISH, part, to, digest)
            if done.exit_code == 0:
                return
            self._run("rm", "-f", "--", part)
            if done.exit_code == _NO_SHA256SUM:
                done.require(f"{to}: cannot be checked", hint="the device needs the program sha256sum")
            if done.exit_code != _DAMAGED:
                _accepted(done, to)
        raise DeviceError(
            f"{to}: arrived damaged twice (its SHA-256 is not that of {source})",
            hint="check the cable and the device's disk",
        )

    def _append(self, source: Path, part: PurePosixPath, to: PurePosixPath) -> None:
        """Send what the device has not got yet."""
        begun = self._script(_BEGIN, part, to.parent)
        _accepted(begun, to)
        there, size = int(begun.text().strip() or 0), source.stat().st_size
        if there > size:
            self._run("rm", "-f", "--", part)
            there = 0
        with source.open("rb") as file:
            file.seek(there)
            for piece in iter(lambda: file.read(_PIECE), b"") if size else (b"",):
                written = self._script(_APPEND, part, stdin=piece)
                if written.exit_code:
                    self._run("rm", "-f", "--", part)
                _accepted(written, to)

    def _pull_file(self, source: PurePosixPath, to: Path) -> None:
        told = self._script(_DESCRIBE, source).require(f"{source}: cannot be read").text().split()
        if len(told) < 2:
            return  # rehearsed
        size, digest = int(told[0]), told[1]
        part = to.with_name(f".{to.name}.{digest[:16]}.part")
        with storage_errors(to):
            to.parent.mkdir(parents=True, exist_ok=True)
            with part.open("ab") as file:
                while file.tell() < size:
                    piece = self._script(_READ, source, file.tell() + 1, min(_PIECE, size - file.tell()))
                    if not piece.require(f"{source}: cannot be read").stdout:
                        break
                    file.write(piece.stdout)
            if sha256(part) != digest:
                part.unlink()
                raise DeviceError(
                    f"{source}: arrived damaged (its SHA-256 is not the device's)",
                    hint="it may have been written meanwhile; give the same command again",
                )
            part.replace(to)

    def _script(self, script: str, *arguments: object, stdin: bytes = b"") -> Completed:
        return self._run("sh", "-c", script, "sh", *arguments, stdin=stdin)

    def _run(self, *command: object, stdin: bytes = b"") -> Completed:
        return self.shell.run([str(part) for part in command], timeout=_SECONDS, stdin=stdin)


def _accepted(done: Completed, to: PurePosixPath) -> None:
    """Say why a device took no file, in words of the cause."""
    said = done.stderr.decode(errors="replace").lower()
    for sign, why, hint in (
        ("no space left", "the device is full", "free some space there"),
        ("read-only file system", "its file system is read-only", "choose another folder, or remount it"),
        ("permission denied", "writing is not permitted there", "choose a folder that this user may write"),
    ):
        if done.exit_code and sign in said:
            raise DeviceError(f"{to}: {why}", hint=hint)
    done.require(f"{to}: cannot be written")


def _pack(source: Path, archive: Path) -> None:
    """A tar file of a folder, sorted and without times and owners, so that equal folders pack alike."""

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.mtime = entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with tarfile.open(archive, "w") as tar:
        for path in sorted(source.rglob("*")):
            tar.add(path, str(path.relative_to(source)), recursive=False, filter=plain)
