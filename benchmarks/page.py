"""Pages of measurements: sections between markers, each replaced when it is measured again."""

from __future__ import annotations

import re
import sys
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from edgeprune.stages.profile import describe_device


def put_section(page: Path, header: str, order: Collection[str], name: str, lines: Sequence[str]) -> None:
    """Replace one section of a page; the others stay as they were measured, those in `order` first."""
    text = page.read_text(encoding="utf-8") if page.exists() else ""
    old = dict(re.findall(r"<!-- begin (\S+) -->\n(.*?)\n<!-- end -->", text, re.DOTALL))
    sections = {**old, name: "\n".join(lines)}
    parts = [header]
    for one in [*order, *(other for other in sections if other not in order)]:
        if one in sections:
            parts.append(f"<!-- begin {one} -->\n{sections[one]}\n<!-- end -->\n")
    page.write_text("\n".join(parts), encoding="utf-8")


def replace_section(page: Path, name: str, lines: Sequence[str]) -> None:
    """Replace one section and leave everything else as it stands; a new one goes to the end."""
    text = page.read_text(encoding="utf-8")
    section = "\n".join([f"<!-- begin {name} -->", *lines, "<!-- end -->"])
    old = re.compile(rf"<!-- begin {re.escape(name)} -->\n.*?\n<!-- end -->", re.DOTALL)
    text = old.sub(lambda _: section, text) if old.search(text) else f"{text.rstrip()}\n\n{section}\n"
    page.write_text(text, encoding="utf-8")


def taken() -> str:
    """The sentence that says when and on what a section was measured."""
    return f"Taken {datetime.now(UTC):%Y-%m-%d %H:%M} UTC on {machine()}."


def machine() -> str:
    """The processor here, and how many cores it has."""
    found = describe_device()
    return f"{found.cpu}, {found.cores} cores"


def versions(packages: Iterable[str]) -> str:
    """`name version` of those packages that are installed, in one line."""
    return ", ".join(f"{name} {found}" for name in packages if (found := _version(name)))


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def say(text: str) -> None:
    """Progress on the error stream, with the time."""
    print(f"[{datetime.now(UTC):%H:%M:%S}] {text}", file=sys.stderr, flush=True)
