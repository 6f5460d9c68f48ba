"""A plain checkout on the path has no entry points: here its plug-ins are found as if it were installed."""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
import tomllib
from pathlib import Path

from edgeprune.core.registry import names

ROOT = Path(__file__).parents[2]


def as_installed() -> None:
    """Offer the plug-ins that pyproject.toml names, where no installed package does."""
    if names("criteria"):
        return
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lines = []
    for group, points in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]
    folder = Path(tempfile.mkdtemp(prefix="edgeprune-entry-points-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    facts = folder / "edgeprune-0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: edgeprune\nVersion: 0\n", encoding="utf-8")
    (facts / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.path.append(str(folder))
