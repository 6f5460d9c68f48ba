"""Screening's cost: its statistics per class against a plain pass over the same images, taking turns."""

from __future__ import annotations

import time
from dataclasses import dataclass
from statistics import median

import torch

from benchmarks.accuracy.scale import Scale
from benchmarks.accuracy.subjects import subject_of
from edgeprune.graph.couple import couple
from edgeprune.graph.evidence import GroupEvidence

_BATCH = 100
_ROUNDS = 7


@dataclass(frozen=True, slots=True)
class ScreeningCost:
    """Seconds per pass over the images, median of all rounds, and what is kept of them."""

    network: str
    images: int
    plain_s: float
    screening_s: float
    ratio: float
    """Median of the rounds' ratios."""
    channels: int
    """Of all values in which groups are read; a channel that is read twice counts twice."""
    classes: int
    kept_bytes: int


def screening_cost(network: str, scale: Scale) -> ScreeningCost:
    """Time both on every batch in turn; the first round warms up and does not count."""
    subject = subject_of(network)
    splits, coupling = scale.splits(subject), couple(subject.program())
    program, groups = coupling.program, coupling.free("channels")
    batches = [(torch.from_numpy(inputs), labels) for inputs, labels in splits.calibration.batches(_BATCH)]
    rounds = []
    for _ in range(_ROUNDS + 1):
        evidence = GroupEvidence(coupling, groups, splits.classes, 0, frozenset({"moments"}))
        plain = screening = 0.0
        for inputs, labels in batches:
            started = time.perf_counter()
            program.run(inputs)
            between = time.perf_counter()
            evidence.add(inputs, labels)
            plain += between - started
            screening += time.perf_counter() - between
        rounds.append((plain, screening))
    held = [moments for group in groups for moments in evidence.moments(group)]
    return ScreeningCost(
        network=network,
        images=len(splits.calibration),
        plain_s=median(plain for plain, _ in rounds[1:]),
        screening_s=median(screening for _, screening in rounds[1:]),
        ratio=median(screening / plain for plain, screening in rounds[1:]),
        channels=sum(one.mean.shape[1] for one in held),
        classes=splits.classes,
        kept_bytes=sum(one.count.nbytes + one.mean.nbytes + one.m2.nbytes for one in held),
    )
