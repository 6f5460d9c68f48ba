"""The zip directory of an archive: the members a plain exported program has, seen alike by two readers."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

MODEL: Final = "models/model.json"
SAMPLES: Final = "data/sample_inputs/model.pt"
WEIGHTS: Final = "data/weights/model_weights_config.json"
CONSTANTS: Final = "data/constants/model_constants_config.json"

# A JSON text this long is no graph; reading it whole would only fill the memory.
_MAX_TEXT: Final = 512 * 2**20
_FIXED: Final = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little"}
_REQUIRED: Final = {MODEL, SAMPLES, WEIGHTS, CONSTANTS, "archive_format", "archive_version"}
# Raw bytes that nothing interprets: tensors, the user's own notes, the zip writer's two marks.
_RAW: Final = re.compile(
    r"(?:data/weights/weight_\d+|data/constants/tensor_\d+|extra/[\w.\- /]+"
    r"|\.data/version|\.data/serialization_id)\Z",
    re.ASCII,
)
_EXECUTABLE: Final = (b"\x7fELF", b"MZ", b"PK\x03\x04", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"#!")
_END_OF_DIRECTORY: Final = b"PK\x05\x06"
_END_OF_DIRECTORY_BYTES: Final = 22


@dataclass(frozen=True, slots=True)
class Members:
    """What an archive holds: texts that torch interprets, the size of every member, and faults found."""

    texts: Mapping[str, bytes]
    sizes: Mapping[str, int]
    reasons: tuple[str, ...]


def check_directory(path: Path) -> Iterator[str]:
    """Refuse members that make torch unpickle or link code, and zips that can be read in two ways."""
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
        yield from check_unambiguous(archive)
    if not infos:
        return
    if not _ends_with_directory(path):
        yield "bytes after the zip directory"
    root = root_of(infos)
    names = [info.filename.removeprefix(root) for info in infos]
    yield from (f"member '{name}' is missing" for name in sorted(_REQUIRED.difference(names)))
    yield from (f"member '{name}' is not part of an exported program" for name in names if not _known(name))


def check_unambiguous(archive: zipfile.ZipFile) -> Iterator[str]:
    """Refuse what zipfile and torch's reader could take for different contents."""
    infos = archive.infolist()
    if not infos:
        yield "the zip is empty"
        return
    if len({info.filename.casefold() for info in infos}) != len(infos):
        yield "two members have the same name (case ignored)"
    if min(info.header_offset for info in infos) != 0 or archive.comment:
        yield "bytes before the first member, or a zip comment"
    root = root_of(infos)
    for info in infos:
        if (
            info.compress_type != zipfile.ZIP_STORED
            or info.file_size != info.compress_size
            or info.flag_bits & 1
        ):
            yield f"member '{info.filename}' is compressed or encrypted"
        if info.orig_filename != info.filename or not info.filename.startswith(root):
            yield f"member '{info.filename}' is outside of '{root}'"


def root_of(infos: list[zipfile.ZipInfo]) -> str:
    """The folder that torch's writer puts every member in."""
    return infos[0].filename.split("/", 1)[0] + "/"


def read_members(path: Path) -> Members:
    """Read the texts of an archive whose directory passed, comparing both readers."""
    native = torch._C.PyTorchFileReader(str(path))
    with zipfile.ZipFile(path) as archive:
        root = root_of(archive.infolist())
        sizes = {info.filename.removeprefix(root): info.file_size for info in archive.infolist()}
        interpreted = [name for name in sizes if not _RAW.match(name) or name.startswith("extra/")]
        if large := [name for name in interpreted if sizes[name] > _MAX_TEXT]:
            raise ValueError(f"member '{large[0]}' has {sizes[large[0]]} bytes")
        texts = {name: archive.read(root + name) for name in interpreted}
    return Members(texts, sizes, (*_reader_faults(native, texts, sizes), *_fixed_faults(texts)))


def _reader_faults(
    native: torch._C.PyTorchFileReader, texts: Mapping[str, bytes], sizes: Mapping[str, int]
) -> Iterator[str]:
    """What torch's own reader (miniz, which ignores case) sees in another way than zipfile does."""
    if sorted(native.get_all_records()) != sorted(sizes):
        yield "two zip readers list different members"
    for name, content in texts.items():
        if bytes(native.get_record(name)) != content:
            yield f"member '{name}' differs between two zip readers"


def _fixed_faults(texts: Mapping[str, bytes]) -> Iterator[str]:
    for name, content in texts.items():
        if name in _FIXED and content != _FIXED[name]:
            yield f"member '{name}' holds {content[:20]!r}, not {_FIXED[name]!r}"
        if name.startswith("extra/") and content.startswith(_EXECUTABLE):
            yield f"member '{name}' is executable"


def _known(name: str) -> bool:
    return ".." not in name.split("/") and (name in _REQUIRED or name in _FIXED or bool(_RAW.match(name)))


def _ends_with_directory(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-_END_OF_DIRECTORY_BYTES, io.SEEK_END)
        return stream.read(4) == _END_OF_DIRECTORY
