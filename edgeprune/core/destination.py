"""Destinations: a device and the folder of it that a bundle is shipped to, as typed behind `--to`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from edgeprune.core.address import parse_address
from edgeprune.core.errors import RequestError

_FORM = "write pi@host:/opt/models/vision, ssh:NAME:/FOLDER, adb:SERIAL:/data/local/tmp/vision, local:/FOLDER"


@dataclass(frozen=True, slots=True)
class Destination:
    """`pi@host:/opt/models/vision?key=FILE` taken apart; `address` keeps the options."""

    address: str
    folder: PurePosixPath

    @property
    def shown(self) -> str:
        """As it is told to people: without options."""
        return f"{self.address.partition('?')[0]}:{self.folder}"


def parse_destination(text: str) -> Destination:
    """Take a destination apart.

    Raises
    ------
    RequestError
        It names no folder, or one that nothing should be shipped to; the hint has the form.
    """
    head, mark, query = text.partition("?")
    place, colon, rest = head.partition(":/")
    if not colon or not place:
        raise RequestError(f"'{text}' names no folder of a device", hint=_FORM)
    folder = PurePosixPath(f"/{rest}")
    if ".." in folder.parts or len(folder.parts) < 2 or "\0" in rest:
        raise RequestError(f"'{text}': nothing is shipped to {folder}", hint=_FORM)
    address = f"{place}{mark}{query}"
    parse_address(address)
    return Destination(address, folder)
