"""Training-free rows: edgeprune and Torch-Pruning's defaults at the same MACs, each in its own process."""

from __future__ import annotations

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from typing import ParamSpec

from benchmarks.accuracy import peer
from benchmarks.accuracy.scale import Scale
from benchmarks.accuracy.subjects import subject_of
from benchmarks.accuracy.trial import Outcome, Trial, carried_out, judged
from edgeprune.graph.capture import capture
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple

P = ParamSpec("P")

WAYS = ("group l1", "group l2", "batch-norm scale", "random")


def rows(network: str, speedup: float, scale: Scale) -> list[Outcome]:
    """The network as it is, edgeprune's, and Torch-Pruning's at edgeprune's MACs."""
    original = alone(untouched, network, scale)
    ours = alone(trained_free, network, speedup, scale)
    peers = [alone(peers_cut, network, way, ours.macs, scale) for way in WAYS]
    return [original, ours, *peers]


def alone(work: Callable[P, Outcome], *given: P.args, **named: P.kwargs) -> Outcome:
    """Do work in a fresh process, and say the most memory it held."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        outcome = pool.submit(work, *given, **named).result()
        peak = pool.submit(_peak_gb).result()
    return replace(outcome, extra={**outcome.extra, "peak_gb": peak})


def untouched(network: str, scale: Scale) -> Outcome:
    """Do nothing."""
    subject = subject_of(network)
    program = subject.program()
    cost = count(couple(program))
    quality = judged(program, scale.splits(subject))
    return Outcome("(untouched)", cost.macs, cost.parameters, None, quality, None, 0.0)


def trained_free(network: str, speedup: float, scale: Scale) -> Outcome:
    """Screen, plan, shrink and refit with the default criterion."""
    subject = subject_of(network)
    trial = Trial("edgeprune", scale.criterion)
    return carried_out(trial, subject, scale.splits(subject), speedup, scale.multiple)


def peers_cut(network: str, way: str, macs: int, scale: Scale) -> Outcome:
    """Cut by one of Torch-Pruning's importances with its default arguments: one share for every layer."""
    subject = subject_of(network)
    started = time.perf_counter()
    module = peer.pruned(subject.build, subject.size, way, macs, everywhere=False, ignored=peer.classifier)
    seconds = (time.perf_counter() - started) / peer.HALVINGS
    program = capture(module.eval(), subject.size)
    cost = count(couple(program))
    name = f"Torch-Pruning, {way}"
    quality = judged(program, scale.splits(subject))
    return Outcome(name, cost.macs, cost.parameters, None, quality, None, seconds)


def _peak_gb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
