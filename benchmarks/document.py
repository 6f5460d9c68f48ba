"""docs/benchmarks.md: what several scripts measure, section by section, on one page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_ORDER = """training-free-resnet56 training-free-resnet20 recovery
criteria-resnet56 criteria-resnet20 criteria-fashion criteria-draws
ablation-resnet56 ablation-resnet20 screening-cost
mnist-connections mnist-structured
resnet20 resnet56 int8-resnet20 int8-resnet56 int8-fashion int8-speed precisions rounding evened
whole-resnet50 files
untrained readers separable emulation memory start-up""".split()


def header() -> str:
    """What holds for all sections."""
    return """# Benchmarks

Written by `make bench`, which measures the sections below one after the other (`make bench-main` files and
latencies, `make bench-accuracy` accuracies); each says when and on what, and holds for the code of its day.
"""


def order(own: Iterable[str]) -> list[str]:
    """The sections of the page in their order, those of a script that the page does not know at its end."""
    return [*dict.fromkeys([*_ORDER, *own])]
