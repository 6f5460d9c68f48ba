"""Bundle files: written so that equal contents are equal bytes, and hostile until they have been verified.

A bundle is a ZIP file of a single form: entries stored as they are, manifest and signature first, the others
in order, no times, no comments, nothing between them. Whatever has another form is refused, so there is only
one way to read one. Verifying reads the file and writes nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edgeprune.core.bundle import MANIFEST, SIGNATURE, Bundle, BundleEntry, Signature
from edgeprune.core.document import Document
from edgeprune.core.errors import BundleError, DocumentError, RequestError
from edgeprune.core.files import sha256, storage_errors, written_whole
from edgeprune.core.keys import fingerprint, sign, signed_by
from edgeprune.core.units import format_bytes

_MOST_ENTRIES = 20_000
_MOST_BYTES = 2 << 30
_MOST_TEXT = {MANIFEST: 16 << 20, SIGNATURE: 4 << 10}
_SEGMENT = re.compile(r"[A-Za-z0-9._+@=,~ ()-]+")
_MIDNIGHT, _MIDNIGHT_DOS = (1980, 1, 1, 0, 0, 0), 1 << 5 | 1  # the first that ZIP knows
_COPY = 1 << 20
D = TypeVar("D", bound=Document)


@dataclass(frozen=True, slots=True)
class Verified:
    """A bundle file whose every byte is what a trusted key's owner signed."""

    path: Path
    bundle: Bundle
    signer: str


def entry_of(path: Path, name: str, *, executable: bool = False) -> BundleEntry:
    """Describe a file that is to go into a bundle.

    Raises
    ------
    RequestError
        Its name cannot stand in one.
    """
    why = _bad_name(name)
    if why:
        raise RequestError(f"{path}: '{name}' {why}", hint="rename it")
    return BundleEntry(path=name, bytes=path.stat().st_size, sha256=sha256(path), executable=executable)


def write_bundle(path: Path, bundle: Bundle, files: Mapping[str, Path], key: Ed25519PrivateKey) -> None:
    """Write a signed bundle; `files` says where the entries lie. Equal arguments give equal bytes."""
    manifest = bundle.manifest()
    public, signature = sign(key, Signature.message(manifest))
    signed = Signature(public_key=public.hex(), signature=signature.hex())
    with written_whole(path) as scratch, scratch.open("wb") as out, zipfile.ZipFile(out, "w") as archive:
        archive.writestr(_header(MANIFEST), manifest)
        archive.writestr(_header(SIGNATURE), f"{signed.to_json()}\n")
        for entry in sorted(bundle.entries, key=lambda one: one.path):
            with files[entry.path].open("rb") as source:
                _store(archive, entry, source)


def verify(path: Path, trusted: Sequence[bytes]) -> Verified:
    """Read a bundle and believe nothing of it that is not signed; nothing is written.

    Raises
    ------
    RequestError
        There is no such file.
    BundleError
        It is damaged, forged or hostile; the message says which.
    """
    with _opened(path) as archive:
        infos = archive.infolist()
        _require_plain(path, infos)
        manifest, signer = _signed_manifest(path, archive, trusted)
        bundle = _parsed(Bundle, path, MANIFEST, manifest)
        _require_listed(path, bundle, infos)
        for entry in bundle.entries:
            _require_content(path, archive, entry)
        _require_form(path, archive, bundle)
    return Verified(path, bundle, fingerprint(signer))


def unpack(verified: Verified, folder: Path) -> None:
    """Write a verified bundle's files into an empty folder, each checked once more on the way."""
    with _opened(verified.path) as archive, storage_errors(folder):
        for name in (MANIFEST, SIGNATURE):
            (folder / name).write_bytes(archive.read(name))
        if (folder / MANIFEST).read_bytes() != verified.bundle.manifest():
            raise BundleError(f"{verified.path}: it changed while it was read")
        for entry in verified.bundle.entries:
            _require_content(verified.path, archive, entry)
            to = folder / entry.path
            to.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(entry.path) as source, to.open("wb") as out:
                shutil.copyfileobj(source, out, _COPY)
            if sha256(to) != entry.sha256:
                raise BundleError(f"{verified.path}: it changed while it was read")
            to.chmod(0o755 if entry.executable else 0o644)


# Writing


def _header(name: str, *, executable: bool = False) -> zipfile.ZipInfo:
    header = zipfile.ZipInfo(name, _MIDNIGHT)
    header.create_system = 3  # Unix, wherever it is made
    header.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
    return header


def _store(archive: zipfile.ZipFile, entry: BundleEntry, source: IO[bytes]) -> None:
    header = _header(entry.path, executable=entry.executable)
    header.file_size = entry.bytes
    with archive.open(header, "w") as out:
        shutil.copyfileobj(source, out, _COPY)


# Reading


def _opened(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise RequestError(f"{path}: no such file", hint="`edgeprune bundle RUN -o model.edge` makes one")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OverflowError) as error:
        raise BundleError(
            f"{path}: no bundle, or a damaged one ({error})",
            hint=f"{BundleError.next_step}; of a run, `edgeprune bundle RUN -o model.edge` makes one",
        ) from error


def _require_plain(path: Path, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Names that stay inside, ordinary files, sizes that the file really has; nothing is read yet."""
    if len(infos) > _MOST_ENTRIES:
        raise BundleError(f"{path}: {len(infos)} entries, more than the {_MOST_ENTRIES} that are opened")
    seen: set[str] = set()
    for info in infos:
        where = f"{path}: entry {info.orig_filename!r}"
        why = _bad_name(info.orig_filename) or _bad_kind(info)
        if why:
            raise BundleError(f"{where} {why}")
        # Folders of some devices do not tell A from a.
        if info.filename.lower() in seen:
            raise BundleError(f"{where} is there twice")
        seen.add(info.filename.lower())
    declared = sum(info.file_size for info in infos)
    if declared > _MOST_BYTES:
        raise BundleError(f"{path}: declares {format_bytes(declared)}, more than is opened (2.1 GB)")
    if declared > path.stat().st_size:
        raise BundleError(
            f"{path}: declares {format_bytes(declared)} in a file of {format_bytes(path.stat().st_size)}"
        )


def _bad_name(name: str) -> str:
    """Why an entry may not be called so; '' where it may."""
    if name.startswith("/") or re.match(r"[A-Za-z]:", name):
        return "has an absolute name"
    segments = name.split("/")
    if ".." in segments or "\\" in name:
        return "leads out of its folder"
    if name.endswith("/"):
        return "is a folder"
    if len(name) > 400 or any(one in {"", "."} or not _SEGMENT.fullmatch(one) for one in segments):
        return "has a name that not every device can have"
    return ""


def _bad_kind(info: zipfile.ZipInfo) -> str:
    """Why an entry is no ordinary stored file; '' where it is."""
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        return "is a link"
    if kind not in {0, stat.S_IFREG}:
        return "is a device or another special file"
    if info.flag_bits & 1:
        return "is encrypted"
    if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size:
        return (
            f"is compressed ({format_bytes(info.compress_size)} that declare to be "
            f"{format_bytes(info.file_size)}), which bundles never are"
        )
    if info.file_size > _MOST_TEXT.get(info.filename, _MOST_BYTES):
        return f"is too large ({format_bytes(info.file_size)})"
    return ""


def _signed_manifest(path: Path, archive: zipfile.ZipFile, trusted: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The manifest's bytes, which a trusted key signed, and that key."""
    names = archive.namelist()
    if MANIFEST not in names:
        raise BundleError(f"{path}: no bundle: it has no {MANIFEST}")
    if SIGNATURE not in names:
        raise BundleError(
            f"{path}: it is not signed", hint="`edgeprune bundle` signs; nothing unsigned is opened"
        )
    manifest = _read(path, archive, MANIFEST)
    signature = _parsed(Signature, path, SIGNATURE, _read(path, archive, SIGNATURE))
    public = bytes.fromhex(signature.public_key)
    if public not in trusted:
        raise BundleError(
            f"{path}: signed by {fingerprint(public)}, whom you do not trust",
            hint=f"trusted: {', '.join(map(fingerprint, trusted))}; if the signer is right, give "
            "--trust with its .pub file",
        )
    if not signed_by(public, bytes.fromhex(signature.signature), Signature.message(manifest)):
        raise BundleError(f"{path}: the signature is not that of its manifest: it was altered or damaged")
    return manifest, public


def _parsed(kind: type[D], path: Path, name: str, text: bytes) -> D:
    try:
        return kind.parse(json.loads(text), source=f"{path}: {name}")
    except (ValueError, RecursionError, TypeError) as error:
        raise BundleError(f"{path}: {name} is no JSON") from error
    except DocumentError as error:
        raise BundleError(error.message, hint="it is of another version of edgeprune, or damaged") from error


def _require_listed(path: Path, bundle: Bundle, infos: Sequence[zipfile.ZipInfo]) -> None:
    """Exactly the entries of the manifest, with their sizes."""
    found = {info.filename: info.file_size for info in infos if info.filename not in _MOST_TEXT}
    listed = {entry.path: entry.bytes for entry in bundle.entries}
    for name in found.keys() - listed.keys():
        raise BundleError(f"{path}: entry '{name}' is not in the manifest")
    for name in listed.keys() - found.keys():
        raise BundleError(f"{path}: entry '{name}' of the manifest is missing")
    for name, size in listed.items():
        if found[name] != size:
            raise BundleError(f"{path}: entry '{name}' has {found[name]} bytes, the manifest says {size}")
    for name in (bundle.artifact.path, bundle.golden.inputs, bundle.golden.outputs):
        if name not in listed:
            raise BundleError(f"{path}: the manifest names '{name}', which it does not list")


def _require_content(path: Path, archive: zipfile.ZipFile, entry: BundleEntry) -> None:
    digest = hashlib.sha256()
    try:
        with archive.open(entry.path) as source:
            for piece in iter(lambda: source.read(_COPY), b""):
                digest.update(piece)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
        raise BundleError(f"{path}: entry '{entry.path}' is damaged ({error})") from error
    if digest.hexdigest() != entry.sha256:
        raise BundleError(f"{path}: entry '{entry.path}' is not what was signed (its SHA-256 differs)")


def _require_form(path: Path, archive: zipfile.ZipFile, bundle: Bundle) -> None:
    """Nothing is in the file but what was checked: it has every byte that `write_bundle` would give it."""
    executable = {entry.path: entry.executable for entry in bundle.entries}
    order = [MANIFEST, SIGNATURE, *sorted(executable)]
    offset, directory = 0, b""
    with path.open("rb") as file:
        for name in order:
            found, expected = archive.getinfo(name), _header(name, executable=executable.get(name, False))
            expected.header_offset, expected.CRC = offset, found.CRC
            expected.file_size = expected.compress_size = found.file_size
            local = expected.FileHeader()
            file.seek(offset)
            if file.read(len(local)) != local:
                raise BundleError(f"{path}: entry '{name}' was written by another tool, or altered")
            directory += _directory_record(expected)
            offset += len(local) + expected.file_size
        file.seek(offset)
        count, size = len(order), len(directory)
        end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, count, count, size, offset, 0)
        if file.read(size + len(end) + 1) != directory + end:
            raise BundleError(f"{path}: it holds more than its entries, or was written by another tool")


def _directory_record(info: zipfile.ZipInfo) -> bytes:
    """What the ZIP format says of an entry in the directory at its end."""
    name = info.filename.encode()
    fields = (
        *(info.create_version, info.create_system, info.extract_version, 0),
        *(0, zipfile.ZIP_STORED, 0, _MIDNIGHT_DOS),
        *(info.CRC, info.compress_size, info.file_size),
        *(len(name), 0, 0, 0, 0),
        *(info.external_attr, info.header_offset),
    )
    return struct.pack("<4s4B4H3L5H2L", b"PK\1\2", *fields) + name


def _read(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        return archive.read(name)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, OSError) as error:
        raise BundleError(f"{path}: entry '{name}' is damaged ({error})") from error
