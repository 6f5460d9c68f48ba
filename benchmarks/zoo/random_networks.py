"""Random networks: the property test of tests/graph, on more networks than a test can afford."""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch
from hypothesis import HealthCheck, given, seed, settings

from benchmarks.page import machine, versions
from benchmarks.zoo.child import Notes, crash_text
from benchmarks.zoo.jobs import ROOT

EXAMPLES, CHUNK = 10_000, 50
PACKAGES = ("torch", "hypothesis", "numpy")


def try_networks(notes: Notes, number: str, examples: str) -> None:
    """Run the test's body on `examples` networks and plans drawn with the seed `number`; count failures."""
    strategies, holds = property_under_test()
    failures: list[dict[str, str]] = []
    tried = 0

    # Failures are counted, not raised: hypothesis would stop at the first one to make it smaller.
    @seed(int(number))
    @settings(
        max_examples=int(examples),
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(**strategies)
    def once(**drawn: Any) -> None:
        nonlocal tried
        tried += 1
        try:
            holds(**drawn)
        except Exception as error:  # a failed assertion or a crash, both are failures
            frames = [one for one in traceback.extract_tb(error.__traceback__) if "test_" in one.filename]
            line = frames[-1].line if frames else ""
            failures.append({"why": crash_text(error), "line": line or "", "drawn": str(drawn)})

    notes.doing("examples", seed=int(number), machine=machine(), versions=versions(PACKAGES))
    torch.set_num_threads(1)  # networks this small only lose by more, and others run beside this one
    started = time.perf_counter()
    once()
    notes.done(examples=tried, failures=failures, seconds=time.perf_counter() - started)


def property_under_test() -> tuple[dict[str, Any], Callable[..., None]]:
    """What the property test draws, and its body: whatever is cut of whatever network, it is exact."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "graph")]
    test = importlib.import_module(
        "test_properties"
    ).test_any_cut_of_any_network_is_exact_and_costs_what_was_predicted
    return dict(test.hypothesis._given_kwargs), test.hypothesis.inner_test
