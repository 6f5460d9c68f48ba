"""Pickles: which globals one names, and whether it can do no more than rebuild tensors."""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Iterator
from typing import IO, Final

import torch

from edgeprune.graph.archive.zipped import check_unambiguous, root_of

# What torch.save writes for tensors in tuples and dicts (protocol 2). STACK_GLOBAL, INST, OBJ, NEWOBJ and
# BUILD are absent on purpose: they reach a global, a constructor or a __setstate__ by other ways.
_OPCODES: Final = {
    *("PROTO", "STOP", "GLOBAL", "REDUCE", "MARK", "NONE", "NEWTRUE", "NEWFALSE", "BINPERSID"),
    *("EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS"),
    *("EMPTY_DICT", "SETITEM", "SETITEMS", "BININT", "BININT1", "BININT2", "BINFLOAT", "LONG1"),
    *("BINUNICODE", "SHORT_BINSTRING", "BINGET", "LONG_BINGET", "BINPUT", "LONG_BINPUT"),
}
_GLOBALS: Final = re.compile(
    r"(?:torch\._utils _rebuild_(?:tensor_v2|parameter)|collections OrderedDict|torch (?:Size|device)"
    r"|torch \w+Storage|torch\.storage (?:Untyped|Typed)Storage|torch\.serialization _get_layout"
    r"|torch (?:u?int|b?float|complex)\d\w*|torch bool|builtins complex)\Z",
    re.ASCII,
)
_MEMBER: Final = re.compile(
    r"(?:data\.pkl|byteorder|version|\.format_version|\.storage_alignment|data/\d+|\.data/\w+)\Z", re.ASCII
)
_TEXT_OPCODES: Final = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}


def check_saved_tensors(content: bytes) -> Iterator[str]:
    """Check the sample inputs: where the safe unpickler fails, torch turns to the full one.

    The opcodes are read first, so that the safe unpickler is not the only wall.
    """
    if not content:
        return
    reasons = [*_check_saved(content)]
    yield from reasons
    if reasons:
        return
    try:
        value = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # any failure at all starts the full unpickler (serialize.py:441)
        yield f"the sample inputs do not load safely: {type(error).__name__}"
        return
    if not isinstance(value, tuple | dict):
        yield f"the sample inputs are a {type(value).__name__}"


def _check_saved(content: bytes) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(content)) as inner:
        for reason in check_unambiguous(inner):
            yield f"the sample inputs: {reason}"
        root = root_of(inner.infolist())
        names = [name.removeprefix(root) for name in inner.namelist()]
        yield from (f"the sample inputs hold '{name}'" for name in names if not _MEMBER.match(name))
        if "data.pkl" not in names:
            yield "the sample inputs hold no data.pkl"
        else:
            yield from _check_pickle(inner.read(root + "data.pkl"))


def _check_pickle(content: bytes) -> Iterator[str]:
    for opcode, argument, position in pickletools.genops(content):
        if opcode.name not in _OPCODES:
            yield f"pickle opcode {opcode.name} at byte {position} of the sample inputs"
        elif opcode.name == "GLOBAL" and not _GLOBALS.match(str(argument)):
            yield f"the sample inputs would run {str(argument).replace(' ', '.')}"


def unsafe_globals(stream: IO[bytes]) -> list[str]:
    """The globals a pickle names that the safe unpickler refuses, in order of first use.

    Raises
    ------
    ValueError
        The bytes are no pickle, or end inside of one.
    """
    allowed = torch._weights_only_unpickler._get_allowed_globals()
    return [name for name in dict.fromkeys(_globals(stream)) if _present_name(name) not in allowed]


def _globals(stream: IO[bytes]) -> Iterator[str]:
    texts = ["?", "?"]
    for opcode, argument, _ in pickletools.genops(stream):
        if opcode.name in ("GLOBAL", "INST"):
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            # Its two names lie on the stack. The last two texts are a guess that serves the message only:
            # the safe unpickler refuses the opcode whatever the names are.
            yield f"{texts[-2]}.{texts[-1]}"
        elif opcode.name in _TEXT_OPCODES:
            texts.append(str(argument))


def _present_name(name: str) -> str:
    """Python 3's name of a global that protocol 2 writes by its Python 2 name."""
    module, _, attribute = name.rpartition(".")
    if (module, attribute) in torch._utils.NAME_MAPPING:
        return ".".join(torch._utils.NAME_MAPPING[module, attribute])
    return f"{torch._utils.IMPORT_MAPPING.get(module, module)}.{attribute}"
