"""Scan a torch.export archive: every reason why loading it could run code from the file."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgeprune.graph.archive.names import printable
from edgeprune.graph.archive.payloads import TABLES, check_table
from edgeprune.graph.archive.pickles import check_saved_tensors
from edgeprune.graph.archive.program import check_program
from edgeprune.graph.archive.zipped import MODEL, SAMPLES, Members, check_directory, read_members

# More would help nobody, and a hostile file could give millions.
_MOST_REASONS: Final = 100


def scan(path: Path) -> list[str]:
    """List the reasons why this archive must not be loaded; an empty list means that none was found."""
    try:
        reasons = _first(check_directory(path)) or _first(_check_members(read_members(path)))
    except Exception as error:  # a hostile file may break any parser; what breaks one is refused
        reasons = [f"not a readable archive: {type(error).__name__}: {error}"]
    return [printable(reason) for reason in reasons]


def _first(reasons: Iterator[str]) -> list[str]:
    return [*itertools.islice(reasons, _MOST_REASONS)]


def _check_members(members: Members) -> Iterator[str]:
    yield from members.reasons
    yield from check_program(_json(members.texts[MODEL]))
    for name, folder in TABLES.items():
        yield from check_table(_json(members.texts[name]), folder, members.sizes)
    yield from check_saved_tensors(members.texts[SAMPLES])


def _json(content: bytes) -> object:
    # Decoded first, as torch does (serialize.py, _bytes_to_dataclass): json would guess UTF-16 from bytes.
    return json.loads(content.decode("utf-8"))
