"""Writes sections of docs/benchmarks.md: integer files beside those of stock tools, and whole zoos as files.

`make bench-export`. Needs ../shared/data (or $EDGEPRUNE_DATA); the zoo takes hours and goes on where it was
stopped (`--kept` writes what is there). Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.document import PAGE, header, order
from benchmarks.export.beside_stock import cut_section, speed_section, uncut_section
from benchmarks.export.evened import evened_section
from benchmarks.export.precisions import precisions_section, rounding_section
from benchmarks.export.trained import DATA
from benchmarks.export.whole import whole_section
from benchmarks.export.zoos import files_section
from benchmarks.page import put_section, say, taken, versions

PACKAGES = "torch onnx onnxruntime litert-torch ai-edge-quantizer ai-edge-litert".split()


def main() -> None:
    """Measure the sections named on the command line (all without) and put them into the page."""
    parser = argparse.ArgumentParser(description="measure exported files and write docs/benchmarks.md")
    parser.add_argument("--kept", action="store_true", help="write `files` from what is kept in build/zoo")
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    options = parser.parse_args()
    if not DATA.is_dir():
        sys.exit(f"error: {DATA} is absent\nhint: set EDGEPRUNE_DATA to the folder with cifar10.npz")
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"no section {', '.join(sorted(unknown))}; there are {', '.join(SECTIONS)}")
    for name in options.sections or SECTIONS:
        with tempfile.TemporaryDirectory() as folder:
            kept = {"kept": options.kept} if name == "files" else {}
            lines = SECTIONS[name](Path(folder), **kept)
        put_section(
            PAGE, header(), order(SECTIONS), name, [*lines, "", f"{versions(PACKAGES)}.", "", taken()]
        )
        say(f"{name}: done")


SECTIONS: dict[str, Callable[..., list[str]]] = {
    "int8-resnet20": partial(cut_section, "resnet20"),
    "int8-resnet56": partial(cut_section, "resnet56"),
    "int8-fashion": uncut_section,
    "int8-speed": speed_section,
    "precisions": precisions_section,
    "rounding": rounding_section,
    "evened": evened_section,
    "whole-resnet50": whole_section,
    "files": files_section,
}


if __name__ == "__main__":
    main()
