"""Images that wait on a device come in the same batches, bit for bit, as images that are read."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from tiny import a_split
from zoo import IMAGE

from edgeprune.core.epochs import Epochs
from edgeprune.core.recovery import Augment
from edgeprune.graph.held_images import HeldImages, ReadImages, batches

CPU = torch.device("cpu")


def epochs(augment: Augment, images: int = 50, **changed: int) -> Epochs:
    return dataclasses.replace(Epochs(a_split(images, size=IMAGE), 16, IMAGE, augment, 3), **changed)


@pytest.mark.parametrize("augment", ["none", "shift", "flip"])
@pytest.mark.parametrize("parts", [1, 3])
def test_held_batches_are_the_read_ones(augment: Augment, parts: int) -> None:
    one = epochs(augment, parts=parts, part=parts - 1)
    held, read = [*HeldImages(one, CPU).epoch(2)], [*ReadImages(one, CPU).epoch(2)]
    assert len(held) == len(read) == one.steps
    for (inputs, labels, share), (expected, classes, part) in zip(held, read, strict=True):
        assert torch.equal(inputs, expected)
        assert labels is not None
        assert classes is not None
        assert torch.equal(labels, classes)
        assert share == part


def test_without_labels_there_are_none() -> None:
    one = epochs("flip")
    bare = dataclasses.replace(one.split, samples=dataclasses.replace(one.split.samples, labels=None))
    held = HeldImages(dataclasses.replace(one, split=bare), CPU)
    assert all(labels is None for _, labels, _ in held.epoch(0))


def test_inputs_that_are_no_images_are_held_too() -> None:
    one = Epochs(a_split(20, size=(6,)), 8, (6,), "flip", 0)
    (held, *_), (read, *_) = HeldImages(one, CPU).epoch(0), ReadImages(one, CPU).epoch(0)
    assert torch.equal(held[0], read[0])


def test_on_a_processor_images_are_read() -> None:
    assert isinstance(batches(epochs("none"), CPU), ReadImages)


@pytest.mark.parametrize(("free", "kind"), [(10**9, HeldImages), (10**4, ReadImages)])
def test_a_device_holds_what_a_quarter_of_its_free_memory_takes(
    free: int, kind: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10**10))
    monkeypatch.setattr(HeldImages, "__init__", lambda *given: None)
    assert isinstance(batches(epochs("none"), torch.device("cuda", 0)), kind)
