"""The tree in the docstring is the tree, with the exit codes it shows."""

from __future__ import annotations

import re
from collections.abc import Iterator

from edgeprune.core import errors
from edgeprune.core.errors import EdgepruneError, did_you_mean, nearest


def tree(cls: type[EdgepruneError] = EdgepruneError) -> Iterator[type[EdgepruneError]]:
    yield cls
    for child in cls.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from tree(child)


def test_the_docstring_draws_every_error() -> None:
    drawn = re.findall(r"^(?:[│ ]*[├└]── )?([A-Z]\w+)(?:\s+(\d+))?(?:\s{2,}|$)", errors.__doc__ or "", re.M)
    assert [name for name, _ in drawn] == [one.__name__ for one in tree()]


def test_exit_codes_are_those_of_the_drawing() -> None:
    codes = {one.__name__: one.exit_code for one in tree()}
    assert codes == {
        "EdgepruneError": 2,
        "RequestError": 2,
        "ModelError": 2,
        "DataError": 2,
        "DocumentError": 2,
        "PluginError": 2,
        "BudgetError": 2,
        "StorageError": 2,
        "BundleError": 2,
        "GateError": 1,
        "DeviceError": 3,
        "ConnectionLost": 3,
        "Interrupted": 130,
    }


def test_an_error_says_its_message_and_keeps_its_hint() -> None:
    error = errors.ModelError("no such file", hint="look elsewhere")
    assert str(error) == error.message == "no such file"
    assert error.hint == "look elsewhere"


def test_an_error_without_a_hint_gives_its_familys() -> None:
    assert errors.PluginError("broken").hint == "correct its options, or reinstall the package it comes from"
    assert EdgepruneError("broken").hint == "`edgeprune --help` lists commands and exit codes"
    assert all(one("broken").hint for one in tree())


def test_only_near_names_are_offered() -> None:
    assert nearest("rpi", ["rpi4", "x86-64"]) == "rpi4"
    assert nearest("zebra", ["rpi4", "x86-64"]) is None
    assert did_you_mean("rpi", ["x86-64", "rpi4"]) == "did you mean 'rpi4'? known: rpi4, x86-64"
    assert did_you_mean("zebra", []) == "known: (none)"
