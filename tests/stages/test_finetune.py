"""Training brings the narrow network closer to labels and original, the same way for the same seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tiny import a_split, tiny

from edgeprune.core.errors import GateError
from edgeprune.core.registry import build
from edgeprune.core.request import Budget
from edgeprune.core.samples import Split
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import couple
from edgeprune.stages.finetune import finetune
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink


def narrowed() -> tuple[Program, Program]:
    """The original, and a network with a part of its channels."""
    coupling = couple(tiny())
    with torch.no_grad():
        # Without training, a network gives one answer whatever it sees: make it decide.
        tensors = coupling.program.tensors()
        tensors["head.weight"].mul_(30)
        images = torch.from_numpy(next(a_split(200, seed=2).batches(200))[0])
        tensors["head.bias"].sub_(coupling.program.run(images).mean(0))
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    program, _, _ = shrink(coupling, plan(coupling, ranks, Budget(speedup=6), multiple=1))
    return coupling.program, program


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
    trained = finetune(original, program, answered(a_split(512), original), epochs=4)
    after = losses(original, trained, test)
    assert after[0] < before[0]
    assert after[1] < before[1]


def test_every_parameter_and_statistic_moves_and_the_original_does_not() -> None:
    original, program = narrowed()
    old, fixed = weights(program), weights(original)
    trained = weights(finetune(original, program, a_split(256), epochs=1))
    assert [name for name, value in old.items() if np.array_equal(value, trained[name])] == []
    assert {"stem.1.running_mean", "stem.1.running_var"} <= old.keys()
    assert all(np.array_equal(value, fixed[name]) for name, value in weights(original).items())


def test_afterwards_the_network_is_in_evaluation_mode() -> None:
    original, program = narrowed()
    trained = finetune(original, program, a_split(130), epochs=1)
    before = weights(trained)
    inputs = trained.example(4)
    one, many = trained.run(inputs[:1]), trained.run(inputs)
    assert torch.allclose(one, many[:1], atol=1e-5)
    assert all(np.array_equal(value, before[name]) for name, value in weights(trained).items())


def test_the_seed_decides_the_order_of_the_images() -> None:
    runs = [weights(finetune(*narrowed(), a_split(256), epochs=1, seed=seed)) for seed in (3, 3, 4)]
    assert all(np.array_equal(value, runs[1][name]) for name, value in runs[0].items())
    assert not np.array_equal(runs[0]["head.weight"], runs[2]["head.weight"])


def test_a_last_batch_of_one_image_is_left_out() -> None:
    original, program = narrowed()
    finetune(original, program, a_split(129), epochs=1)
    assert np.isfinite(weights(program)["stem.1.running_var"]).all()


def test_training_that_diverges_is_an_error_with_a_way_out() -> None:
    original, program = narrowed()
    with torch.no_grad():
        program.tensors()["head.weight"].fill_(1e38)
    with pytest.raises(GateError) as caught:
        finetune(original, program, a_split(64), epochs=1)
    assert caught.value.message == "fine-tuning diverged: the loss is not finite"
    assert caught.value.hint == "leave --epochs out; the refitted network needs no training"
    assert caught.value.exit_code == 1
