"""What is typed behind --to: a device, a folder, and options that are told to nobody."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from edgeprune.core.destination import Destination, parse_destination
from edgeprune.core.errors import RequestError


@pytest.mark.parametrize(
    ("text", "address", "folder"),
    [
        ("pi@host:/opt/models/vision", "pi@host", "/opt/models/vision"),
        ("pi@host:2222:/opt/it's a b", "pi@host:2222", "/opt/it's a b"),
        ("ssh:board:/opt/m?config=c", "ssh:board?config=c", "/opt/m"),
        ("adb:127.0.0.1:5555:/data/local/tmp/m", "adb:127.0.0.1:5555", "/data/local/tmp/m"),
        ("local:/tmp/a:/b", "local", "/tmp/a:/b"),
    ],
)
def test_a_destination_is_a_device_and_a_folder(text: str, address: str, folder: str) -> None:
    assert parse_destination(text) == Destination(address, PurePosixPath(folder))


def test_options_are_told_to_nobody() -> None:
    assert parse_destination("pi@host:/opt/m?key=/home/me/id").shown == "pi@host:/opt/m"


@pytest.mark.parametrize(
    "text", ["pi@host", "pi@host:models", "/opt/m", "local:/", "local:/a/../..", "board:/x"]
)
def test_what_is_none_is_refused(text: str) -> None:
    with pytest.raises(RequestError):
        parse_destination(text)
