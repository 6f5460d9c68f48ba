"""After training the better weights stay; what only the original knew is not held against them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from tiny import a_split, tiny

from edgeprune.core.dataset import array_samples
from edgeprune.core.recipe import Preprocess
from edgeprune.core.samples import Pools, Split, draw_splits
from edgeprune.graph import settle
from edgeprune.graph.capture import Program
from edgeprune.graph.objective import Objective
from edgeprune.graph.settle import _Standing, settled
from edgeprune.graph.weights import copied

RIGHT = np.arange(100) < 90


def chosen(last: _Standing, known: float = 0.0) -> settle.Settled:
    found = {"start": _Standing(0.1, RIGHT), "last": last, "averaged": _Standing(0.5, RIGHT)}
    return settle._chosen(found, lambda: known)  # type: ignore[arg-type]


def lost(images: int) -> _Standing:
    return _Standing(0.4, RIGHT & (np.arange(100) >= images))


def test_a_start_that_is_closer_to_the_original_is_no_reason_against_training() -> None:
    assert chosen(lost(0)).kept == "last"
    assert chosen(lost(2)).kept == "last"
    assert chosen(lost(10)).kept == "start"
    few = chosen(lost(5))
    assert (few.kept, few.known) == ("last", None), "the exact test has nothing against five images"


def test_answers_that_are_not_finite_never_stay() -> None:
    broken = _Standing(float("inf"), RIGHT)
    found = {"start": _Standing(0.1, RIGHT), "last": broken, "averaged": broken}
    choice = settle._chosen(found, lambda: 50.0)  # type: ignore[arg-type]
    assert choice.kept == "start"
    assert choice.losses == {"start": 0.1, "last": None, "averaged": None}


def test_what_the_original_would_lose_on_new_images_is_no_harm() -> None:
    assert chosen(lost(10), known=6.0) == settle.Settled(
        "last", {"start": 0.1, "last": 0.4, "averaged": 0.5}, lost=10, gained=0, known=6.0
    )
    assert chosen(lost(30), known=6.0).kept == "start"


def answered(split: Split, program: Program, wrong: int = 0) -> Split:
    """Labelled as the network answers, but for the first images."""
    found = program.run(torch.from_numpy(next(split.inputs(len(split))))).argmax(1).numpy()
    labels = np.where(np.arange(len(split)) < wrong, (found + 1) % 4, found)
    return dataclasses.replace(split, samples=dataclasses.replace(split.samples, labels=labels))


def bare(split: Split) -> Split:
    return dataclasses.replace(split, samples=dataclasses.replace(split.samples, labels=None))


def test_the_original_says_how_much_better_it_knows_the_selection_images() -> None:
    original = tiny()
    old, new = answered(a_split(80), original), answered(a_split(50, seed=3), original, wrong=20)

    def known(selection: Split, fresh: Split | None) -> float:
        return settle._known(original, settle._answers(original, selection), selection, fresh)

    assert known(old, new) == pytest.approx(40)
    assert known(new, old) == 0, "selection images that are harder are no excuse"
    assert known(old, None) == known(bare(old), new) == known(old, bare(new)) == 0
    same = dataclasses.replace(old, indices=old.indices[:5])
    assert known(old, same) == 0, "both were drawn from one set: none are new"


def test_a_part_of_the_new_images_has_every_class(monkeypatch: pytest.MonkeyPatch) -> None:
    original = tiny()
    random = np.random.default_rng(0)
    images, labels = random.random((900, 3, 16, 16)).astype(np.float32), np.arange(900) % 10
    pools = Pools(
        array_samples(images[:400], labels[:400], name="train"),
        array_samples(images[400:], labels[400:], name="test"),
    )
    splits = draw_splits(pools, Preprocess(), calibration=20, selection=20, test=None, classes=None, seed=0)
    monkeypatch.setattr(settle, "_FRESH", 100)
    seen: list[Split] = []
    whole = Split.take

    def take(split: Split, count: int) -> Split:
        seen.append(whole(split, count))
        return seen[-1]

    monkeypatch.setattr(Split, "take", take)
    wanted = torch.zeros(len(splits.selection), 10)
    settle._known(original, wanted, splits.selection, splits.test)
    (part,) = seen
    assert part.labels is not None
    assert np.bincount(part.labels).tolist() == [10] * 10


def test_the_weights_that_stay_are_in_the_network() -> None:
    original, program = tiny(), tiny()
    start = copied(program)
    worse = {name: one + 1 for name, one in start.items() if one.is_floating_point()}
    with torch.no_grad():
        program.tensors()["head.weight"].mul_(-1)
    choice = settled(original, program, answered(a_split(100), original), start, worse, Objective())
    assert choice.kept == "start"
    assert choice.lost > choice.gained
    assert all(torch.equal(one, start[name]) for name, one in program.tensors().items())
