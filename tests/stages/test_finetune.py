"""Training brings the narrow network closer to labels and original, the same way for the same seed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import a_split, tiny
from torch import Tensor

from edgeprune.core.errors import DataError, GateError, StorageError
from edgeprune.core.progress import Silent
from edgeprune.core.recovery import Augment
from edgeprune.core.registry import build
from edgeprune.core.report import Finetuning
from edgeprune.core.request import Budget
from edgeprune.core.samples import Split
from edgeprune.graph.capture import Program
from edgeprune.graph.connections import disconnected, layers
from edgeprune.graph.couple import couple
from edgeprune.graph.held_images import HeldImages
from edgeprune.graph.processes import ALONE, Processes
from edgeprune.stages import finetune as stage
from edgeprune.stages.finetune import Course, finetune
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink


def narrowed(speedup: float = 6) -> tuple[Program, Program]:
    """The original, and a network with a part of its channels."""
    coupling = couple(tiny())
    with torch.no_grad():
        # Without training, a network gives one answer whatever it sees: make it decide.
        tensors = coupling.program.tensors()
        tensors["head.weight"].mul_(30)
        images = torch.from_numpy(next(a_split(200, seed=2).batches(200))[0])
        tensors["head.bias"].sub_(coupling.program.run(images).mean(0))
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    program, _, _ = shrink(coupling, plan(coupling, ranks, Budget(speedup=speedup), multiple=1))
    return coupling.program, program


def trained(split: Split, *, epochs: int = 1, **options: object) -> tuple[Program, Finetuning]:
    """A narrow network after some epochs, judged by images of its own."""
    given = {name: options.pop(name) for name in ("checkpoint", "progress") if name in options}
    course = Course(epochs, **options)  # type: ignore[arg-type]
    return finetune(*narrowed(), split, a_split(100, seed=5), course, **given)  # type: ignore[arg-type]


def without_labels(split: Split) -> Split:
    return dataclasses.replace(split, samples=dataclasses.replace(split.samples, labels=None))


def same(one: Program, other: Program) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(np.array_equal(first[name], second[name]) for name in first)


class Stopped(Silent):
    """Ctrl-C after so many steps."""

    def __init__(self, steps: int) -> None:
        self.left = steps

    def advance(self, steps: int = 1) -> None:
        self.left -= steps
        if self.left < 0:
            raise KeyboardInterrupt


def losses(original: Program, program: Program, split: Split) -> tuple[float, float]:
    """Cross-entropy, and the divergence from the original's answers."""
    inputs, labels = next(split.batches(len(split)))
    answers, wanted = program.run(torch.from_numpy(inputs)), original.run(torch.from_numpy(inputs))
    assert labels is not None
    divergence = F.kl_div(
        answers.log_softmax(1), wanted.log_softmax(1), log_target=True, reduction="batchmean"
    )
    return float(F.cross_entropy(answers, torch.from_numpy(labels))), float(divergence)


def weights(program: Program) -> dict[str, np.ndarray]:
    """Parameters and running statistics; the count of batches is no part of an exported program."""
    tensors = {name: one for name, one in program.tensors().items() if one.is_floating_point()}
    return {name: tensor.detach().numpy().copy() for name, tensor in tensors.items()}


def answered(split: Split, original: Program) -> Split:
    """The same images, labelled as the original sees them."""
    answers = original.run(torch.from_numpy(next(split.batches(len(split)))[0]))
    samples = dataclasses.replace(split.samples, labels=answers.argmax(1).numpy())
    return dataclasses.replace(split, samples=samples)


def test_both_losses_fall_on_images_that_were_not_trained_on() -> None:
    original, program = narrowed()
    test = answered(a_split(200, seed=1), original)
    before = losses(original, program, test)
    done, _ = finetune(
        original,
        program,
        answered(a_split(512), original),
        answered(a_split(100, seed=5), original),
        Course(4),
    )
    after = losses(original, done, test)
    assert after[0] < before[0]
    assert after[1] < before[1]


def test_without_labels_it_learns_from_the_originals_answers() -> None:
    original, program = narrowed()
    test = answered(a_split(200, seed=1), original)
    before = losses(original, program, test)
    bare, chosen_by = without_labels(a_split(512)), without_labels(a_split(100, seed=5))
    done, document = finetune(original, program, bare, chosen_by, Course(4))
    assert losses(original, done, test)[1] < before[1]
    assert not document.labelled


@pytest.mark.parametrize(("augment", "asked"), [("flip", 2), ("shift", 1)])
def test_the_original_is_asked_about_both_sides_of_what_is_mirrored(
    augment: Augment, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, program = narrowed()
    seen: list[Tensor] = []
    run = Program.run

    def noted(self: Program, inputs: Tensor) -> Tensor:
        if self is original:
            seen.append(inputs.clone())
        return run(self, inputs)

    monkeypatch.setattr(Program, "run", noted)
    finetune(original, program, a_split(60), a_split(40, seed=5), Course(1, augment=augment))
    (training,) = (one for one in seen if len(one) == 60 * asked)
    if asked == 2:
        first, second = training.chunk(2)
        assert torch.equal(second, first.flip(-1))


def test_every_parameter_and_statistic_moves_and_the_original_does_not() -> None:
    original, program = narrowed()
    old, fixed = weights(program), weights(original)
    course = Course(2, learning_rate=0.03, augment="flip")
    done = weights(finetune(original, program, a_split(256), a_split(100, seed=5), course)[0])
    assert [name for name, value in old.items() if np.array_equal(value, done[name])] == []
    assert {"stem.1.running_mean", "stem.1.running_var"} <= old.keys()
    assert all(np.array_equal(value, fixed[name]) for name, value in weights(original).items())


def test_afterwards_the_network_is_in_evaluation_mode() -> None:
    done, _ = trained(a_split(130))
    before = weights(done)
    inputs = done.example(4)
    one, many = done.run(inputs[:1]), done.run(inputs)
    assert torch.allclose(one, many[:1], atol=1e-5)
    assert all(np.array_equal(value, before[name]) for name, value in weights(done).items())


def test_the_seed_decides_order_and_augmentation() -> None:
    images, course = a_split(256), {"epochs": 2, "learning_rate": 0.03}
    first, again, other = (trained(images, seed=seed, augment="flip", **course)[0] for seed in (3, 3, 4))
    assert same(first, again)
    assert not same(first, other)
    assert not same(first, trained(images, seed=3, **course)[0])


def test_the_document_says_what_was_done_and_which_weights_were_kept() -> None:
    _, document = trained(a_split(129), epochs=2, learning_rate=0.02, augment="shift")
    assert document.model_dump(exclude={"losses", "kept", "precision", "lost", "gained", "known"}) == {
        "epochs": 2,
        "images": 129,
        "labelled": True,
        "batch": 128,
        "learning_rate": 0.02,
        "augment": "shift",
        "processes": 1,
    }
    found = {name: loss for name, loss in document.losses.items() if loss is not None}
    assert [*found] == ["start", "last", "averaged"]
    assert document.kept in ("last", "averaged")
    assert found[document.kept] == min(found["last"], found["averaged"])


def test_training_that_does_not_help_is_not_kept() -> None:
    original, program = narrowed()
    before = weights(program)
    wrong = answered(a_split(256), original)
    turned = dataclasses.replace(wrong.samples, labels=(wrong.samples.labels + 1) % 4)  # type: ignore[operator]
    right = answered(a_split(100, seed=5), original)
    course = Course(4, learning_rate=1.0)
    train = dataclasses.replace(wrong, samples=turned)
    done, document = finetune(original, program, train, right, course)
    assert document.kept == "start"
    assert all(np.array_equal(value, before[name]) for name, value in weights(done).items())
    assert document.lost > document.gained
    assert document.known == 0
    # Not even the original answers new images right: what was lost says nothing.
    _, document = finetune(original, done, train, right, course, fresh=train.take(100))
    assert document.known == 100
    assert document.kept != "start"


@pytest.mark.parametrize("stop", [3, 5, 7])
def test_interrupted_training_goes_on_to_the_same_bits(tmp_path: Path, stop: int) -> None:
    whole, _ = trained(a_split(256), epochs=4, learning_rate=0.03, augment="flip")
    checkpoint = tmp_path / "checkpoint.pt"
    with pytest.raises(KeyboardInterrupt):
        trained(
            a_split(256),
            epochs=4,
            learning_rate=0.03,
            augment="flip",
            checkpoint=checkpoint,
            progress=Stopped(stop),
        )
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    done, document = trained(
        a_split(256), epochs=4, learning_rate=0.03, augment="flip", checkpoint=checkpoint
    )
    assert document.kept != "start"
    assert same(done, whole)


def test_another_course_starts_again(tmp_path: Path) -> None:
    checkpoint = tmp_path / "checkpoint.pt"
    course = {"epochs": 2, "learning_rate": 0.03, "augment": "flip"}
    trained(a_split(256), checkpoint=checkpoint, **course)
    done, document = trained(a_split(256), seed=7, checkpoint=checkpoint, **course)
    assert document.kept != "start"
    assert same(done, trained(a_split(256), seed=7, **course)[0])


def test_a_damaged_checkpoint_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"half of")
    with pytest.raises(StorageError):
        trained(a_split(64), checkpoint=tmp_path / "checkpoint.pt")


def test_one_image_cannot_be_trained_on() -> None:
    with pytest.raises(DataError) as caught:
        trained(a_split(1))
    assert caught.value.hint == "bring more data, or leave --epochs out"


def test_training_that_diverges_is_an_error_with_a_way_out() -> None:
    original, program = narrowed()
    with torch.no_grad():
        program.tensors()["head.weight"].fill_(1e38)
    with pytest.raises(GateError) as caught:
        finetune(original, program, a_split(64), a_split(20, seed=5), Course(1))
    assert caught.value.message == "fine-tuning diverged: the loss is not finite"
    assert caught.value.hint == (
        "lower --learning-rate, or leave --epochs out; the refitted network needs no training"
    )
    assert caught.value.exit_code == 1


@pytest.fixture
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "has_bfloat16", lambda device: False)


@pytest.mark.usefixtures("single_precision")
def test_in_single_precision_it_learns_too() -> None:
    _, document = trained(a_split(512), epochs=2)
    assert document.precision == "float32"
    assert document.losses["last"] < document.losses["start"]  # type: ignore[operator]


def test_zeros_that_a_mask_asks_for_are_zeros_in_every_kind_of_weights(tmp_path: Path) -> None:
    original = tiny()
    masks = {layer.weight: np.random.default_rng(0).random(layer.shape) < 0.3 for layer in layers(original)}
    program = disconnected(original, masks)
    path = tmp_path / "checkpoint.pt"
    finetune(original, program, a_split(60), a_split(40, seed=5), Course(1), masks=masks, checkpoint=path)
    held = torch.load(path, weights_only=True)
    for name, mask in masks.items():
        for tensors in (program.tensors(), held["weights"], held["averages"]):
            assert not tensors[name].detach().numpy()[~mask].any()
        assert (program.tensors()[name].detach().numpy()[mask] != 0).all()
        assert (held["weights"][name] != original.tensors()[name]).any(), "the others have moved"


class Tape:
    """Records like a CUDA graph does: nothing runs at first, and replays know the recorded inputs only."""

    def __init__(self) -> None:
        self.replayed = 0

    def __call__(self, work: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def replay() -> Tensor:
            self.replayed += 1
            return work()

        return replay


@pytest.mark.parametrize("labelled", [True, False])
def test_recorded_steps_lead_to_the_same_bits(labelled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    images = a_split(300) if labelled else without_labels(a_split(300))
    course = {"epochs": 4, "learning_rate": 0.03, "augment": "flip"}
    plain, expected = trained(images, **course)
    tape = Tape()
    monkeypatch.setattr(stage, "_recorder", lambda device, team: tape)
    monkeypatch.setattr(stage, "batches", HeldImages)
    recorded, document = trained(images, **course)
    assert tape.replayed == 4 * 3 - 3
    assert document == expected
    assert same(recorded, plain)


def test_steps_are_recorded_on_cuda_only_and_not_between_processes() -> None:
    assert stage._recorder(torch.device("cpu"), ALONE) is None
    assert stage._recorder(torch.device("cuda", 0), Processes(0, 2)) is None
