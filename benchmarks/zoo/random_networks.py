"""Random networks: the property test of tests/graph, on more networks than a test can afford."""

from __future__ import annotations

import importlib
import sys
import time
import traceback
from types import ModuleType

import torch
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.page import machine, versions
from benchmarks.zoo.child import Notes, crash_text
from benchmarks.zoo.jobs import ROOT
from edgeprune.graph.capture import capture
from edgeprune.graph.couple import couple

EXAMPLES, CHUNK = 10_000, 100
PLANS = 4
"""Plans for each network that is drawn: capturing it takes six times as long as one plan."""
PACKAGES = ("torch", "hypothesis", "numpy")


def try_networks(notes: Notes, number: str, examples: str) -> None:
    """Cut networks drawn with the seed `number` by `PLANS` plans each, `examples` in all; count failures."""
    test = property_test()
    failures: list[dict[str, str]] = []
    tried = 0

    # Failures are counted, not raised: hypothesis would stop at the first one to make it smaller.
    @seed(int(number))
    @settings(
        max_examples=int(examples) // PLANS,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(network=test.networks(), first=st.integers(0, 10_000))
    def once(network: nn.Module, first: int) -> None:
        nonlocal tried
        drawn = f"{network}, {first}"
        try:
            coupling = couple(capture(network, (3, test.SIZE, test.SIZE)))
        except Exception as error:  # whatever it is, none of the plans can be tried
            failures.append(_failure(error, drawn))
            tried += PLANS
            return
        for plan in range(first, first + PLANS):
            tried += 1
            try:
                test.require_exact_and_as_predicted(coupling, test.any_cuts(coupling, plan))
            except Exception as error:  # a failed assertion or a crash, both are failures
                failures.append(_failure(error, drawn))

    notes.doing("examples", seed=int(number), machine=machine(), versions=versions(PACKAGES))
    torch.set_num_threads(1)  # networks this small only lose by more, and others run beside this one
    started = time.perf_counter()
    once()
    notes.done(examples=tried, failures=failures, seconds=time.perf_counter() - started)


def property_test() -> ModuleType:
    """The test's networks, plans and what must hold: whatever is cut of whatever network, it is exact."""
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "graph")]
    return importlib.import_module("test_properties")


def _failure(error: Exception, drawn: str) -> dict[str, str]:
    frames = [one for one in traceback.extract_tb(error.__traceback__) if "test_" in one.filename]
    return {"why": crash_text(error), "line": (frames[-1].line or "") if frames else "", "drawn": drawn}
