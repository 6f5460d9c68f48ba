"""An address names a device: what comes before the colon decides the cable."""

from __future__ import annotations

import pytest

from edgeprune.core.address import Address, parse_address, transport_at
from edgeprune.core.errors import EdgepruneError, PluginError, RequestError


@pytest.mark.parametrize(
    ("text", "transport", "place", "options"),
    [
        ("local", "local", "", ()),
        ("pi@192.168.1.20", "ssh", "pi@192.168.1.20", ()),
        ("pi@board:2222", "ssh", "pi@board:2222", ()),
        ("pi@[fe80::1]:22", "ssh", "pi@[fe80::1]:22", ()),
        ("ssh:kitchen", "ssh", "kitchen", ()),
        ("adb:0123456789ABCDEF", "adb", "0123456789ABCDEF", ()),
        ("adb:192.168.1.30:5555", "adb", "192.168.1.30:5555", ()),
        ("pi@host?key=/a b/id", "ssh", "pi@host", (("key", "/a b/id"),)),
    ],
)
def test_an_address_is_taken_apart(
    text: str, transport: str, place: str, options: tuple[tuple[str, str], ...]
) -> None:
    assert parse_address(text) == Address(text, transport, place, options)


FORMS = "local, pi@host, pi@host:2222, ssh:NAME of ~/.ssh/config, adb:SERIAL"


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("board", "'board' is no address of a device", f"write {FORMS}"),
        (
            "192.168.1.20",
            "'192.168.1.20' is no address of a device",
            "say who logs in there: pi@192.168.1.20",
        ),
        ("", "'' is no address of a device", f"write {FORMS}"),
        ("local:x", "'local:x': transport 'local' takes nothing behind its colon", "write local"),
    ],
)
def test_what_is_no_address_says_how_one_is_written(text: str, message: str, hint: str) -> None:
    with pytest.raises(RequestError) as caught:
        transport_at(text)
    assert (caught.value.message, caught.value.hint) == (message, hint)


def test_a_mistyped_cable_gives_the_nearest() -> None:
    with pytest.raises(RequestError) as caught:
        parse_address("abd:0123")
    assert caught.value.hint.startswith("did you mean 'adb'? known: ")


def test_a_mistyped_option_gives_the_nearest() -> None:
    with pytest.raises(PluginError) as caught:
        transport_at("pi@host?kee=id")
    assert (caught.value.message, caught.value.hint) == (
        "transport 'ssh': unknown option 'kee'",
        "did you mean 'key'?",
    )


@pytest.mark.parametrize("text", ["ssh:-oProxyCommand=id", "ssh:a b", "ssh:pi@host:port"])
def test_a_host_that_could_be_taken_for_something_else_is_refused(text: str) -> None:
    with pytest.raises(EdgepruneError) as caught, transport_at(text).connect():
        pass
    assert caught.value.message.endswith("is no address of a host")
