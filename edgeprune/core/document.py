"""Documents: frozen, versioned pydantic models that cross a file boundary as TOML or JSON."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from edgeprune.core.errors import DocumentError, nearest
from edgeprune.core.files import write_text

# Written over several lines: a text that looks like a list holds no line break, and stays as it is.
_NUMBER_LIST = re.compile(r"\[\n\s+(-?[\d.e+-]+(?:,\n\s+-?[\d.e+-]+)*)\n\s+\]")


class Document(BaseModel):
    """Base of everything that crosses a file boundary: immutable, and strict about its keys.

    What people and other programs get as a file of its own has a `kind`, with its version. Parts of such
    files have none, nor have the results that only a resumed run reads: its journal says the version for all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, source: str) -> Self:
        """Validate foreign data, reporting every fault at once with its key path.

        Raises
        ------
        DocumentError
            The data has faults; `source` (a file name, as a rule) opens the message.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise DocumentError(_faults(cls, error, source)) from error

    @classmethod
    def load(cls, path: Path | str) -> Self:
        """Read a document from a `.toml` or `.json` file."""
        return cls.parse(read_mapping(Path(path)), source=str(path))

    def to_json(self) -> str:
        """The document as indented JSON, lists of numbers on one line each."""
        text = json.dumps(self.model_dump(mode="json", by_alias=True), indent=2)
        return _NUMBER_LIST.sub(lambda match: f"[{' '.join(match[1].split())}]", text)

    def save(self, path: Path) -> None:
        """Write the document as JSON, whole or not at all."""
        write_text(path, self.to_json() + "\n")


def read_mapping(path: Path) -> dict[str, Any]:
    """The top-level table of a TOML or JSON file.

    Raises
    ------
    DocumentError
        The file is absent, unreadable, or not valid TOML or JSON.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise DocumentError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(f"{path}: cannot be read ({error})") from error
    try:
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (json.JSONDecodeError, tomllib.TOMLDecodeError) as error:
        language = "JSON" if path.suffix == ".json" else "TOML"
        raise DocumentError(f"{path}: not valid {language}: {error}") from error
    if not isinstance(data, dict):
        raise DocumentError(f"{path}: expected a table of keys at the top level")
    return data


def _faults(cls: type[BaseModel], error: ValidationError, source: str) -> str:
    lines = [_fault(cls, dict(fault)) for fault in error.errors(include_url=False)]
    if len(lines) == 1:
        return f"{source}: {lines[0]}"
    return f"{source}: {len(lines)} faults\n" + "\n".join(f"  {line}" for line in lines)


def _fault(cls: type[BaseModel], fault: dict[str, Any]) -> str:
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        close = nearest(str(fault["loc"][-1]), _keys_at(cls, fault["loc"][:-1]))
        return f"{path}: unknown key" + (f" (did you mean '{close}'?)" if close else "")
    if fault["type"] == "missing":
        return f"{path}: missing"
    message = fault["msg"].removeprefix("Value error, ")
    return (f"{path}: " if path else "") + f"{message[:1].lower()}{message[1:]}"


def _keys_at(cls: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys a (nested) document accepts, for the nearest-name suggestion."""
    for part in location:
        field = cls.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        cls = annotation
    return list(cls.model_fields)
