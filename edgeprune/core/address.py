"""Addresses: how a device is named on the command line, and the transport that reaches it."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass

from edgeprune.core.errors import RequestError, did_you_mean
from edgeprune.core.protocols import Transport
from edgeprune.core.registry import build, find, names, parse_options

_FORMS = "local, pi@host, pi@host:2222, ssh:NAME of ~/.ssh/config, adb:SERIAL"


@dataclass(frozen=True, slots=True)
class Address:
    """`pi@host?key=FILE` taken apart: a transport's name, what fills its first field, its other options."""

    text: str
    transport: str
    place: str
    options: tuple[tuple[str, str], ...] = ()


def parse_address(text: str) -> Address:
    """Take an address apart.

    Raises
    ------
    RequestError
        It is no address; the hint lists the forms.
    """
    head, _, query = text.partition("?")
    options = tuple(parse_options(query, where=f"address '{text}'").items())
    name, _, place = head.partition(":")
    known = names("transports")
    if name in known:
        return Address(text, name, place, options)
    if re.fullmatch(r"[^@\s/:]+@\S+", head):
        return Address(text, "ssh", head, options)
    hint = f"write {_FORMS}"
    if re.fullmatch(r"[\w.-]+", head) and "." in head:
        hint = f"say who logs in there: pi@{head}"
    elif ":" in head:
        hint = did_you_mean(name, known)
    raise RequestError(f"'{text}' is no address of a device", hint=hint)


def transport_at(text: str) -> Transport:
    """The transport that reaches an address, not yet connected."""
    address = parse_address(text)
    plugin = find("transports", address.transport)
    fields = [field.name for field in dataclasses.fields(plugin) if field.init]
    options = dict(address.options)
    if address.place:
        if not fields:
            raise RequestError(
                f"'{text}': transport '{address.transport}' takes nothing behind its colon",
                hint=f"write {address.transport}",
            )
        options[fields[0]] = address.place
    transport: Transport = build("transports", address.transport, options)
    return transport
