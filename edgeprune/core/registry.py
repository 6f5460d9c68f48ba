"""Plug-ins by name: found through entry points, listed without importing, built from options."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from pydantic import TypeAdapter, ValidationError

from edgeprune.core.errors import PluginError, did_you_mean, nearest

Family = typing.Literal[
    "criteria", "datasets", "exporters", "formats", "quantizers", "runtimes", "transports"
]


def names(family: Family) -> list[str]:
    """The names of a family's plug-ins, without importing any."""
    return sorted({point.name for point in _points(family)})


def find(family: Family, name: str) -> type[Any]:
    """The class of one plug-in.

    Raises
    ------
    PluginError
        The name is unknown (nearest name offered), claimed twice, or its module does not import.
    """
    matches = [point for point in _points(family) if point.name == name]
    if not matches:
        raise PluginError(f"unknown {_singular(family)} '{name}'", hint=did_you_mean(name, names(family)))
    if len({point.value for point in matches}) > 1:
        owners = " and ".join(sorted(_owner(point) for point in matches))
        raise PluginError(
            f"{_singular(family)} '{name}' is claimed by {owners}", hint="uninstall one of them"
        )
    try:
        loaded = matches[0].load()
    except Exception as error:  # a stranger's module may raise anything while it is imported
        raise PluginError(
            f"{_singular(family)} '{name}' does not import: {error}",
            hint=f"it comes from {_owner(matches[0])}; reinstall it or install what it needs",
        ) from error
    return typing.cast(type[Any], loaded)


def build(family: Family, name: str, options: Mapping[str, Any] | None = None) -> Any:
    """A plug-in with its options set; the options are the fields of its frozen dataclass."""
    plugin = find(family, name)
    where = f"{_singular(family)} '{name}'"
    known = [field.name for field in dataclasses.fields(plugin) if field.init]
    for option in options or {}:
        # pydantic ignores unknown keys of a standard dataclass, so they are checked here.
        if option not in known:
            close = nearest(option, known)
            raise PluginError(
                f"{where}: unknown option '{option}'",
                hint=f"did you mean '{close}'?" if close else f"options: {', '.join(known) or 'none'}",
            )
    try:
        return TypeAdapter(plugin).validate_python(dict(options or {}))
    except ValidationError as error:
        faults = "; ".join(
            f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg'].lower()}"
            for fault in error.errors(include_url=False)
        )
        raise PluginError(f"{where}: {faults}") from error


def build_from(family: Family, text: str) -> Any:
    """A plug-in from `name` or `name?option=value&option=value`."""
    name, _, query = text.partition("?")
    return build(family, name, parse_options(query, where=f"{_singular(family)} '{text}'"))


def parse_options(query: str, *, where: str) -> dict[str, str]:
    """The options behind the question mark of a text; `where` begins the error's message."""
    options = {}
    for part in query.split("&") if query else []:
        key, equals, value = part.partition("=")
        if not equals:
            raise PluginError(
                f"{where}: option '{part}' has no value", hint="write ?option=value&option=value"
            )
        options[key] = value
    return options


def _points(family: Family) -> list[EntryPoint]:
    return list(entry_points(group=f"edgeprune.{family}"))


def _owner(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else 'an unnamed package'} ({point.value})"


def _singular(family: Family) -> str:
    return {"criteria": "criterion"}.get(family, family[:-1])
