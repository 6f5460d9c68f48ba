"""Roll back: make a version that a device still has the live one again, tested first."""

from __future__ import annotations

import sys
import time

from edgeprune.core.address import transport_at
from edgeprune.core.destination import Destination
from edgeprune.core.errors import RequestError, did_you_mean
from edgeprune.core.golden import golden_test, starter
from edgeprune.core.protocols import Transport
from edgeprune.core.shelf import Look, Shelf
from edgeprune.core.shelved import require_intact, shelved_bundle
from edgeprune.core.shipment import Shipment
from edgeprune.core.survey import survey


def roll_back(
    to: Destination, *, version: str | None = None, transport: Transport | None = None, python: str = ""
) -> Shipment:
    """Go back to the version that was live before, or to one that is named.

    Raises
    ------
    RequestError
        There is no such version.
    DeviceError
        The device cannot be reached, or the version is damaged or fails its golden test: nothing changes.
    """
    started = time.monotonic()
    with (transport or transport_at(to.address)).connect() as link:
        shelf = Shelf(link.shell, to.folder, to.shown)
        own = sys.executable if to.address == "local" else ""
        facts = survey(link, to.address.partition("?")[0], python=python or own)
        _chosen(to, shelf.look(), version)
        with shelf.locked() as token:
            look = shelf.look()
            name = _chosen(to, look, version)
            bundle = shelved_bundle(shelf, name)
            require_intact(shelf, name, bundle)
            folder = shelf.version_folder(name)
            start = starter(bundle, folder, facts, python)
            checked = golden_test(link, bundle, folder, start, cores=facts.cores)
            if look.live != name:
                shelf.flip(token, name, start)
    return Shipment(
        to=to.shown,
        version=name,
        before=look.live,
        uploaded_bytes=0,
        checked=checked,
        seconds=round(time.monotonic() - started, 3),
    )


def _chosen(to: Destination, look: Look, version: str | None) -> str:
    if not look.versions:
        raise RequestError(
            f"{to.shown}: there is no version", hint="`edgeprune ship model.edge --to ...` brings one"
        )
    if version is None:
        if look.before_live is None:
            raise RequestError(
                f"{to.shown}: no version was live before {look.live or 'this'}",
                hint=f"it has: {', '.join(look.newest_first())}; name one with --version",
            )
        return look.before_live
    fitting = [one for one in look.versions if one.startswith(version)]
    if len(fitting) != 1:
        raise RequestError(
            f"{to.shown}: {'several versions begin' if fitting else 'no version begins'} with '{version}'",
            hint=did_you_mean(version, look.versions),
        )
    return fitting[0]
