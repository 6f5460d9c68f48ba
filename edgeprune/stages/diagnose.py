"""Diagnose: look at a device, and say what stands in the way of measuring on it and what to do."""

from __future__ import annotations

import sys
from collections.abc import Iterator

from edgeprune.core.address import transport_at
from edgeprune.core.device_run import throttled_words
from edgeprune.core.diagnosis import Diagnosis, Obstacle
from edgeprune.core.interpreter import CARRIED_FORMATS, ways_out
from edgeprune.core.survey import Survey, survey
from edgeprune.core.target import Target
from edgeprune.core.units import format_bytes

_LEAST_FREE = 300 << 20
_HOT_C = 70.0


def diagnose(address: str, target: Target | None = None, *, python: str = "") -> Diagnosis:
    """Connect, ask, and judge; raises DeviceError where it cannot be reached."""
    with transport_at(address).connect() as link:
        facts = survey(
            link, address.partition("?")[0], python=python or (sys.executable if address == "local" else "")
        )
    return Diagnosis(
        survey=facts,
        target=target.name if target else None,
        fits=facts.fits(target) if target else None,
        obstacles=tuple(_obstacles(facts, target)),
    )


def _obstacles(facts: Survey, target: Target | None) -> Iterator[Obstacle]:
    """What blocks comes first, then what makes figures worse."""
    yield from _runtimes(
        facts, [one for one in target.runtimes if one in CARRIED_FORMATS] if target else list(CARRIED_FORMATS)
    )
    yield from _place(facts)
    yield from _speed(facts)
    if target is not None and not facts.fits(target):
        yield Obstacle(
            matter=f"it is not recognised as {target.name}: {facts.system} {facts.machine}, "
            f"{facts.model or 'without a model name'}",
            next_step=f"figures measured there are not the target's; `edgeprune targets show {target.name}`",
            blocks=False,
        )


def _runtimes(facts: Survey, formats: list[str]) -> Iterator[Obstacle]:
    missing = [one for one in formats if not any(python.runtime_for(one) for python in facts.pythons)]
    if missing:
        yield Obstacle(
            matter=f"no Python there runs {' and '.join(f'.{one}' for one in missing)} files",
            next_step=ways_out(facts, missing),
            blocks=len(missing) == len(formats),
        )


def _place(facts: Survey) -> Iterator[Obstacle]:
    if facts.free_bytes is not None and facts.free_bytes < _LEAST_FREE:
        yield Obstacle(
            matter=f"{format_bytes(facts.free_bytes)} are free; a capsule takes up to twice 130 MB",
            next_step="free some space there",
            blocks=False,
        )


def _speed(facts: Survey) -> Iterator[Obstacle]:
    """What slows a device down or makes it uneven."""
    words = throttled_words(facts.throttled_bits)
    if words:
        yield Obstacle(
            matter=f"it is slowed down now: {words}",
            next_step="a power supply of its maker, a heat sink or a fan; measurements are marked invalid",
            blocks=False,
        )
    if facts.temperature_c is not None and facts.temperature_c > _HOT_C:
        yield Obstacle(
            matter=f"it is {facts.temperature_c:.0f} degrees hot",
            next_step="`edgeprune profile` waits two minutes for it to cool; a heat sink or a fan is better",
            blocks=False,
        )
    if facts.governor and facts.governor != "performance" and not facts.superuser:
        yield Obstacle(
            matter=f"its clock follows the load (governor {facts.governor}) and only root may fix it",
            next_step="`echo performance | sudo tee "
            "/sys/devices/system/cpu/cpufreq/policy*/scaling_governor` there",
            blocks=False,
        )
    if facts.load_average is not None and facts.load_average > 0.5 * facts.cores:
        yield Obstacle(
            matter=f"it is busy: {facts.load_average:g} processes on {facts.cores} cores",
            next_step="stop what runs there, or measure later",
            blocks=False,
        )
