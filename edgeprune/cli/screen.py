"""`edgeprune screen`: what the images say about the channels, and which classes these serve."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, median
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.cli.progress import progress_for
from edgeprune.core.errors import RequestError, StorageError
from edgeprune.core.inputs import parse_input
from edgeprune.core.sample_size import POWER
from edgeprune.core.screening import Agreement, Screening, ServedClasses
from edgeprune.core.units import format_count

_SERVANTS = 3
"""Units that are named for each class."""


def screen(
    model: options.AnyModel = None,
    arch: options.Arch = None,
    input: options.Inputs = None,
    data: options.Data = None,
    images: Annotated[
        int | None, typer.Option(min=1, help="Images to look at; default 2000, or 60 % of the data.")
    ] = None,
    criterion: Annotated[
        str | None, typer.Option(help="How units are ranked; default screening, without labels refit.")
    ] = None,
    by_class: Annotated[
        bool, typer.Option("--by-class", help="Which units serve each class, and which class loses most.")
    ] = False,
    power: Annotated[
        float | None,
        typer.Option(help="Of the sample sizes (column images), between 0 and 1; default 0.8."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the document to this file, too.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    allow_inexact: options.AllowInexact = None,
    trust_pickle: options.TrustPickle = False,
    json: options.Json = False,
    quiet: options.Quiet = False,
) -> None:
    """Screen the channels: which ones tell the classes apart, how surely, and for which classes."""
    inputs = tuple(parse_input(one) for one in input or [])
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise StorageError(f"{out} cannot be written", hint="name a file in a folder that exists")

    from edgeprune.graph.processes import rank_here
    from edgeprune.pipeline.screen import screen as run

    with progress_for(quiet=quiet or json or rank_here() > 0) as progress:
        found = run(
            model,
            data=data,
            arch=arch,
            input=inputs,
            images=images,
            criterion=criterion,
            power=POWER if power is None else power,
            seed=seed,
            trust_pickle=trust_pickle,
            allow_inexact=allow_inexact or (),
            progress=progress,
        )
    if rank_here() > 0:
        return  # the first process says what there is to say
    for option, given in (("--by-class", by_class), ("--power", power is not None)):
        if given and not found.classes:
            raise RequestError(f"{option} needs labelled images", hint="give --data with labels")
        if given and found.incomparable is not None:
            raise RequestError(
                f"{option} compares classes, but {found.incomparable}", hint="give more with --images"
            )
    if out is not None:
        found.save(out)
    if json:
        print(found.to_json())
    elif not quiet:
        _print(found, by_class=by_class)


def _print(document: Screening, *, by_class: bool) -> None:
    from rich.table import Table

    from edgeprune.cli import render

    out = render.console()

    def print_table(rows: Iterator[tuple[str, ...]]) -> None:
        table = Table(*next(rows), box=None)
        for row in rows:
            table.add_row(*row)
        out.print(table)

    print_table(_labelled(document) if document.classes else _unlabelled(document))
    for line in _notes(document):
        out.print(line, markup=False)
    if by_class:
        print_table(_classes(document))
        out.print(_worst(document), markup=False)


def _labelled(document: Screening) -> Iterator[tuple[str, ...]]:
    yield "group", "units", "differ", "median F", "explained", "images", "stable", "over classes"
    for name, one in document.groups.items():
        if one.f_statistic is None or one.omega_squared is None:
            yield name, str(len(one.scores)), *["-"] * 6
            continue
        yield (
            name,
            str(len(one.scores)),
            str(one.significant),
            f"{median(one.f_statistic):.4g}",
            f"{100 * median(one.omega_squared):.1f} %",
            "-" if one.required_images is None else format_count(one.required_images),
            _agreement(one.stability.images if one.stability else None),
            _agreement(one.stability.classes if one.stability else None),
        )


def _agreement(found: Agreement | None) -> str:
    if found is None:
        return "-"
    return f"{found.mean:.2f} [{found.interval[0]:.2f}, {found.interval[1]:.2f}]"


def _unlabelled(document: Screening) -> Iterator[tuple[str, ...]]:
    yield "group", "units", "harm of a quarter", "of half", "of three quarters"
    for name, one in document.groups.items():
        units = len(one.scores)
        yield name, str(units), *(f"{100 * one.harm[units * quarter // 4]:.2f} %" for quarter in (1, 2, 3))


def _notes(document: Screening) -> Iterator[str]:
    if document.incomparable is not None:
        yield f"{document.images} images of {document.classes} classes, ranked by {document.criterion}"
        yield f"no class statistics, and no F: {document.incomparable}; give more with --images"
    elif document.classes:
        yield (
            f"{document.images} images of {document.classes} classes, ranked by {document.criterion}; "
            "differ: units whose class means differ (F-test, false discovery rate 5 %)"
        )
        yield (
            "explained: share of a median unit's variance that the classes explain (omega squared); "
            f"images: how many find that with a power of {100 * document.power:g} %"
        )
        yield (
            "stable: mean rank correlation of F with that of redrawn images, or redrawn classes "
            "[95 % of them]"
        )
        if bare := [name for name, one in document.groups.items() if one.f_statistic is None]:
            yield f"no class statistics for {', '.join(bare)}: no layer reads these units one by one"
    elif document.images:
        yield f"{document.images} images without labels, ranked by {document.criterion}: no class statistics"
        yield "harm: share of the variance of the network's answers that is lost when the lowest units go"
    else:
        yield f"no images: ranked by {document.criterion}, by weights alone"
        yield "harm: share of the squared score that the lowest units hold"


def _classes(document: Screening) -> Iterator[tuple[str, ...]]:
    """Classes by what they lose, the first one most."""
    yield "class", "units", "lost with the lower half", "best served by"
    units = Counter(label for _, one in _served(document) for label in one.serves)
    lost = _lost(document)
    for label in sorted(lost, key=lambda label: -lost[label]):
        yield (
            document.name_of(label),
            str(units[label]),
            f"{100 * lost[label]:.1f} %",
            ", ".join(_servants(document, label)),
        )


def _served(document: Screening) -> list[tuple[str, ServedClasses]]:
    return [(name, one.classes) for name, one in document.groups.items() if one.classes is not None]


def _servants(document: Screening, label: int) -> list[str]:
    """The units with the largest contrast for a class."""
    found = [
        (contrast, f"unit {unit} of {name} (d = {contrast:.2g})")
        for name, one in _served(document)
        for unit, (serves, contrast) in enumerate(zip(one.serves, one.contrast, strict=True))
        if serves == label
    ]
    return [words for _, words in sorted(found, reverse=True)[:_SERVANTS]]


def _lost(document: Screening) -> dict[int, float]:
    """Per class the share of its squared contrasts in the lower half, mean over the groups."""
    shares = [one.lost for _, one in _served(document)]
    return {label: fmean(each) for label, each in enumerate(zip(*shares, strict=True))}


def _worst(document: Screening) -> str:
    lost = _lost(document)
    if not lost:
        return "no group tells the classes apart"
    worst = max(lost, key=lambda label: lost[label])
    mean = 100 * fmean(lost.values())
    return (
        f"with the lower half of every group, {document.name_of(worst)} would lose most: "
        f"{100 * lost[worst]:.1f} % of what tells it apart; mean of all classes {mean:.1f} %"
    )
