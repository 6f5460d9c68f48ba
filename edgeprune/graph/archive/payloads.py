"""The tables of weights and constants: each entry names a file of raw numbers, and asks for no pickle."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final

from edgeprune.graph.archive.names import is_dotted
from edgeprune.graph.archive.program import check_fields
from edgeprune.graph.archive.zipped import CONSTANTS, WEIGHTS

TABLES: Final = {WEIGHTS: "data/weights/", CONSTANTS: "data/constants/"}
# custom_obj_N and opaque_obj_N are unpickled whatever the entry says (_package.py:972, 978).
_FILE: Final = re.compile(r"(?:weight|tensor)_\d+\Z", re.ASCII)


def check_table(table: object, folder: str, sizes: Mapping[str, int]) -> Iterator[str]:
    """Check one table: `use_pickle` would unpickle the entry's file without limits."""
    entries = table.get("config") if isinstance(table, dict) else None
    if not isinstance(entries, dict):
        yield f"the table of {folder} has no entries"
        return
    for name, entry in entries.items():
        if not is_dotted(name):
            yield f"the tensor name '{name[:60]}' in {folder}"
        if isinstance(entry, dict) and isinstance(entry.get("tensor_meta"), dict):
            yield from _check_entry(name, entry, folder, sizes)
        else:
            yield f"'{name[:60]}' in {folder} is not a tensor"


def _check_entry(
    name: str, entry: Mapping[str, object], folder: str, sizes: Mapping[str, int]
) -> Iterator[str]:
    file, meta = entry.get("path_name"), entry["tensor_meta"]
    if entry.get("use_pickle") is not False:
        yield f"'{name[:60]}' in {folder} is pickled"
    if not isinstance(file, str) or not _FILE.match(file) or folder + file not in sizes:
        yield f"'{name[:60]}' in {folder} names the file {str(file)[:60]!r}"
    # torch makes zeros of the size the table says where the file is empty: any size, out of nothing.
    elif sizes[folder + file] == 0 and _elements(meta) != 0:
        yield f"'{name[:60]}' in {folder} has no bytes"
    yield from check_fields(meta)


def _elements(meta: object) -> int:
    sizes = meta.get("sizes") if isinstance(meta, dict) else None
    if not isinstance(sizes, list):
        return 1
    found = [size.get("as_int") if isinstance(size, dict) else None for size in sizes]
    return math.prod(size if type(size) is int else 1 for size in found)
