"""Ship to a fleet: canaries first, then group by group, some at a time, stopping when it goes wrong."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from edgeprune.core.bundle_file import Verified
from edgeprune.core.destination import parse_destination
from edgeprune.core.errors import EdgepruneError
from edgeprune.core.fleet import Fleet, Group, Rollout, Visit
from edgeprune.stages.ship import ship


def ship_fleet(
    verified: Verified,
    fleet: Fleet,
    *,
    keep: int = 3,
    python: str = "",
    told: Callable[[Visit], None] = lambda _: None,
) -> Rollout:
    """Every device's outcome, in the fleet's order; a device that fails hurts no other.

    A device that has the version already is only tested, so the same command again goes on where it stopped.
    After Ctrl-C the devices that were begun are finished, and no other is begun.
    """
    started = time.monotonic()
    visits: dict[str, Visit] = {}
    stopped = threading.Event()

    def visit(one: tuple[Group, str]) -> None:
        if stopped.is_set():
            return
        found = _visit(verified, *one, keep=keep, python=python)
        visits[one[1]] = found
        told(found)
        if sum(one.outcome == "failed" for one in list(visits.values())) > fleet.failures:
            stopped.set()

    for wave in fleet.waves():
        _all(visit, wave, fleet.parallel, stopped)
    everyone = [(group, text) for group in fleet.groups for text in group.to]
    return Rollout(
        version=verified.bundle.id,
        visits=tuple(visits.get(text) or _not_begun(group, text) for group, text in everyone),
        seconds=round(time.monotonic() - started, 3),
    )


def _all(
    visit: Callable[[tuple[Group, str]], None],
    wave: Sequence[tuple[Group, str]],
    parallel: int,
    stopped: threading.Event,
) -> None:
    with ThreadPoolExecutor(parallel) as pool:
        try:
            for done in [pool.submit(visit, one) for one in wave]:
                done.result()
        except BaseException:
            stopped.set()
            raise


def _visit(verified: Verified, group: Group, text: str, *, keep: int, python: str) -> Visit:
    to = parse_destination(text)
    try:
        done = ship(verified, to, python=group.python or python, keep=keep)
    except EdgepruneError as error:
        return Visit(to=to.shown, group=group.name, outcome="failed", why=error.message, hint=error.hint)
    assert done is not None, "a fleet is never rehearsed"
    outcome = "had it" if done.before == done.version else "shipped"
    return Visit(to=to.shown, group=group.name, outcome=outcome, shipment=done)


def _not_begun(group: Group, text: str) -> Visit:
    return Visit(
        to=parse_destination(text).shown,
        group=group.name,
        outcome="not begun",
        why="stopped before, as another device failed",
    )
