"""Recognise a model file by its content; nothing in it is executed and its name plays no part."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final, Literal

from edgeprune.graph.archive.names import printable
from edgeprune.graph.archive.pickles import unsafe_globals

Kind = Literal[
    "exported",
    "exported-old",
    "torchscript",
    "tensors",
    "pickled-object",
    "safetensors",
    "onnx",
    "tflite",
    "empty",
    "truncated",
    "unknown",
]

_ZIP: Final = b"PK\x03\x04"
_PICKLE: Final = b"\x80"
# torch.save before 1.6: the pickles of a magic number, a version, facts of the machine, then the object.
_LEGACY: Final = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e"
_LEGACY_PICKLES: Final = 4
# ModelProto opens with ir_version (field 1) and goes on with one of its fields 2 to 8.
_ONNX_FIRST: Final = b"\x08"
_ONNX_NEXT: Final = {0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42}


def recognise(path: Path) -> Kind:
    """What kind of model file this is."""
    with path.open("rb") as stream:
        head = stream.read(64)
    if not head:
        return "empty"
    if _is_safetensors(head, path.stat().st_size):  # before pickles: its length may start with their byte
        return "safetensors"
    if head.startswith(_ZIP):
        return _recognise_zip(path)
    if head.startswith(_PICKLE):
        return _recognise_pickles(path)
    if head[4:8] == b"TFL3":
        return "tflite"
    if head.startswith(_ONNX_FIRST) and len(head) > 2 and 0 < head[1] < 32 and head[2] in _ONNX_NEXT:
        return "onnx"
    return "unknown"


def named_globals(path: Path) -> list[str]:
    """What unpickling a 'pickled-object' would look up and call, beyond rebuilding tensors."""
    found = dict.fromkeys(name for stream in _pickles(path) for name in unsafe_globals(stream))
    return [printable(name) for name in found]


def _recognise_zip(path: Path) -> Kind:
    if not zipfile.is_zipfile(path):
        return "truncated"  # the directory is a zip's last part
    with zipfile.ZipFile(path) as archive:
        full = archive.namelist()
    names = {name.partition("/")[2] for name in full}
    if "archive_format" in names and "models/model.json" in names:
        return "exported"
    if "serialized_exported_program.json" in full:
        return "exported-old"
    if "constants.pkl" in names:
        return "torchscript"
    return _tensors_or_object(path) if "data.pkl" in names else "unknown"


def _recognise_pickles(path: Path) -> Kind:
    with path.open("rb") as stream:
        is_legacy = stream.read(len(_LEGACY)) == _LEGACY
    kind = _tensors_or_object(path)
    # A bare pickle, such as joblib's, is not what the safe unpickler reads, whatever it names.
    return kind if is_legacy or kind == "truncated" else "pickled-object"


def _tensors_or_object(path: Path) -> Kind:
    try:
        return "pickled-object" if named_globals(path) else "tensors"
    except (ValueError, EOFError, zipfile.BadZipFile):
        return "truncated"


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    """The pickle streams of a file, one after the other."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.partition("/")[2] == "data.pkl":
                    yield io.BytesIO(archive.read(name))
        return
    with path.open("rb") as stream:
        count = _LEGACY_PICKLES if stream.read(len(_LEGACY)) == _LEGACY else 1
        stream.seek(0)
        for _ in range(count):
            yield stream


def _is_safetensors(head: bytes, size: int) -> bool:
    if len(head) < 9 or head[8:9] != b"{":
        return False
    header_bytes = int.from_bytes(head[:8], "little")
    return 0 < header_bytes <= size - 8
