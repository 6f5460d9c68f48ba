"""Recount: say which versions a device's folder holds, which is live, and whether that one is well."""

from __future__ import annotations

import sys

from edgeprune.core.address import transport_at
from edgeprune.core.destination import Destination
from edgeprune.core.device_run import FileRun
from edgeprune.core.errors import DeviceError
from edgeprune.core.golden import golden_test, starter
from edgeprune.core.protocols import Link, Transport
from edgeprune.core.shelf import Look, Shelf
from edgeprune.core.shelved import require_intact, shelved_bundle
from edgeprune.core.shipment import ShelfStatus, ShelfVersion
from edgeprune.core.survey import survey


def recount(
    to: Destination, *, check: bool = False, transport: Transport | None = None, python: str = ""
) -> ShelfStatus:
    """Look at a shelf; with `check` compare the live version's hashes and do its golden test.

    Raises
    ------
    DeviceError
        The device cannot be reached. What is wrong with a version is an answer: `problem`.
    """
    with (transport or transport_at(to.address)).connect() as link:
        shelf = Shelf(link.shell, to.folder, to.shown)
        look = shelf.look()
        versions = tuple(_version(shelf, name, look) for name in look.newest_first())
        checked, problem = None, look.obstacle or _missing(look)
        if check and not problem:
            try:
                checked = _checked(link, shelf, to, look.live or "", python)
            except DeviceError as error:
                problem = error.message
    owner = look.lock.split("|")[0]
    return ShelfStatus(
        at=to.shown, live=look.live, versions=versions, changing=owner, checked=checked, problem=problem
    )


def _version(shelf: Shelf, name: str, look: Look) -> ShelfVersion:
    try:
        bundle = shelved_bundle(shelf, name)
    except DeviceError:
        return ShelfVersion(name=name, live=name == look.live)
    return ShelfVersion(
        name=name,
        live=name == look.live,
        model=bundle.name,
        file=bundle.artifact.path,
        precision=bundle.artifact.precision,
        bytes=bundle.bytes,
        target=bundle.target,
    )


def _missing(look: Look) -> str:
    if look.live is None:
        return "no version is live"
    return "" if look.live in look.versions else f"the live version {look.live} is gone"


def _checked(link: Link, shelf: Shelf, to: Destination, name: str, python: str) -> FileRun | None:
    bundle = shelved_bundle(shelf, name)
    require_intact(shelf, name, bundle)
    own = sys.executable if to.address == "local" else ""
    facts = survey(link, to.address.partition("?")[0], python=python or own)
    folder = shelf.version_folder(name)
    start = starter(bundle, folder, facts, python)
    return golden_test(link, bundle, folder, start, cores=facts.cores)
