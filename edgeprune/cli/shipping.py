"""`edgeprune bundle`, `ship`, `rollback`, `status`, `embed`: from a run folder to a device or an app."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.progress import progress_for
from edgeprune.core.errors import RequestError

if TYPE_CHECKING:
    from edgeprune.core.bundle_file import Verified

To = Annotated[
    str,
    typer.Option(help="Device and folder: pi@host:/opt/models/vision, adb:SERIAL:/data/local/tmp/vision."),
]
Python = Annotated[str, typer.Option(help="Python on the device, e.g. edge/bin/python.")]
Trust = Annotated[
    list[Path] | None,
    typer.Option(help="Public key whose signatures count; default those in ~/.config/edgeprune/keys."),
]


def bundle(
    run: Annotated[Path, typer.Argument(help="The folder that `edgeprune compress` wrote.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The bundle to write, e.g. model.edge.")],
    key: Annotated[
        Path | None, typer.Option(help="Private key that signs; default the one of `edgeprune keys new`.")
    ] = None,
    precision: Annotated[str | None, typer.Option(help="Take a file of this precision.")] = None,
    file: Annotated[
        str | None, typer.Option(help="Take this file; default the fastest that was verified.")
    ] = None,
    latency_budget: Annotated[
        str | None, typer.Option(help="Median on the device, at most: 40ms. Slower devices refuse it.")
    ] = None,
    capsule: Annotated[
        Path | None, typer.Option(help="Folder with Python and runtime, for devices that have neither.")
    ] = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Put a run's file, its golden test, plan and report into one signed file."""
    from typing import cast

    from edgeprune.cli import render_shipping
    from edgeprune.core.artifact import Precision
    from edgeprune.core.units import parse_milliseconds
    from edgeprune.stages.bundle import bundle as make

    budget = parse_milliseconds(latency_budget, option="--latency-budget") if latency_budget else None
    made = make(
        run,
        out,
        key=key,
        precision=cast("Precision | None", precision),
        file=file,
        latency_budget_ms=budget,
        capsule=capsule,
    )
    if json:
        print(made.to_json())
    elif not quiet:
        render_shipping.bundle(made, out)


def ship(
    file: Annotated[Path, typer.Argument(help="A bundle: model.edge.")],
    to: Annotated[
        str | None,
        typer.Option(
            help="Device and folder: pi@host:/opt/models/vision, adb:SERIAL:/data/local/tmp/vision."
        ),
    ] = None,
    fleet: Annotated[
        Path | None, typer.Option(help="Many devices: a TOML file with groups of destinations.")
    ] = None,
    trust: Trust = None,
    keep: Annotated[
        int, typer.Option(min=1, help="Versions that stay on the device, the live one included.")
    ] = 3,
    python: Python = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print every command for the device and run none.")
    ] = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> int:
    """Upload a bundle, test it on the device, and make it the live version in one step."""
    from edgeprune.cli import render_shipping
    from edgeprune.core.bundle_file import verify
    from edgeprune.core.destination import parse_destination
    from edgeprune.core.keys import load_trusted
    from edgeprune.core.rehearsal import Rehearsal
    from edgeprune.stages.ship import ship as carry

    if (to is None) == (fleet is None):
        raise RequestError("give either --to or --fleet", hint="--to pi@host:/opt/models/vision")
    if fleet is not None and dry_run:
        raise RequestError("--dry-run rehearses one device", hint="give --to")
    verified = verify(file, load_trusted(trust or []))
    if fleet is not None:
        return _ship_fleet(verified, fleet, keep, python, json=json, quiet=quiet)
    destination = parse_destination(to or "")
    transport = Rehearsal(destination.address.partition("?")[0], print) if dry_run else None
    with progress_for(quiet=quiet or dry_run) as progress:
        done = carry(verified, destination, transport=transport, python=python, keep=keep, progress=progress)
    if done is not None and json:
        print(done.to_json())
    elif done is not None and not quiet:
        render_shipping.shipment(done)
    return 0


def _ship_fleet(verified: Verified, path: Path, keep: int, python: str, *, json: bool, quiet: bool) -> int:
    from edgeprune.cli import render_shipping
    from edgeprune.core.fleet import Fleet
    from edgeprune.pipeline.ship_fleet import ship_fleet

    talks = not (json or quiet)
    told = {"told": render_shipping.visit} if talks else {}
    done = ship_fleet(verified, Fleet.load(path), keep=keep, python=python, **told)
    if json:
        print(done.to_json())
    elif talks:
        render_shipping.rollout(done)
    return 3 if done.failed() else 0


def rollback(
    to: To,
    version: Annotated[
        str | None, typer.Option(help="Version to go back to; default the one that was live before.")
    ] = None,
    python: Python = "",
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Make an older version on the device the live one again, tested first."""
    from edgeprune.cli import render_shipping
    from edgeprune.core.destination import parse_destination
    from edgeprune.stages.roll_back import roll_back

    done = roll_back(parse_destination(to), version=version, python=python)
    if json:
        print(done.to_json())
    elif not quiet:
        render_shipping.shipment(done)


def status(
    to: To,
    check: Annotated[
        bool, typer.Option("--check", help="Compare the live version's hashes and do its golden test there.")
    ] = False,
    python: Python = "",
    json: options.Json = False,
) -> int:
    """Which versions a device has, which is live, and with --check whether it answers as it should."""
    from edgeprune.cli import render_shipping
    from edgeprune.core.destination import parse_destination
    from edgeprune.stages.recount import recount

    found = recount(parse_destination(to), check=check, python=python)
    if json:
        print(found.to_json())
    else:
        render_shipping.status(found)
    return 3 if found.problem else 0


def embed(
    file: Annotated[Path, typer.Argument(help="A bundle: model.edge.")],
    into: Annotated[
        Path, typer.Option(help="Folder of an app's assets for this model: app/src/main/assets/vision.")
    ],
    trust: Trust = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Put a bundle's file into an app, with its hash, labels, preprocessing and self-test as plain files."""
    from edgeprune.cli import render_shipping
    from edgeprune.core.bundle_file import verify
    from edgeprune.core.keys import load_trusted
    from edgeprune.stages.embed import embed as put

    assets = put(verify(file, load_trusted(trust or [])), into)
    if json:
        print(assets.to_json())
    elif not quiet:
        render_shipping.assets(assets, into)
