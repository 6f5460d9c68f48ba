"""Whatever form a network comes in, loading it gives a program that answers as the network does."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.export import Dim

from edgeprune.core.errors import ModelError
from edgeprune.graph.capture import Program
from edgeprune.stages.load import load

SIZE = (3, 6, 6)
MODEL = """\
from torch import nn
from blocks import block


def tiny_net(width=4, classes=5, norm="batch"):
    assert norm in ("batch", "none")
    return nn.Sequential(*block(width, norm == "batch"), nn.Flatten(), nn.Linear(width * 16, classes))
"""
BLOCKS = """\
from torch import nn


def block(width, norm):
    return [nn.Conv2d(3, width, 3), nn.BatchNorm2d(width) if norm else nn.Identity(), nn.ReLU()]
"""
FLAT = """\
from torch import nn


def tiny_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(108, 2))
"""
WRAPPED = """\
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.module = nn.Linear(6, 2)

    def forward(self, x):
        return self.module(x)
"""


def network(width: int = 4) -> nn.Module:
    """The network of model.py, with running statistics that are not the initial ones."""
    torch.manual_seed(1)
    made = nn.Sequential(
        *(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(), nn.Linear(width * 16, 5))
    )
    made(torch.randn(8, *SIZE))
    return made.eval()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "model.py").write_text(MODEL)
    (tmp_path / "blocks.py").write_text(BLOCKS)
    return tmp_path


def assert_same(program: Program, expected: nn.Module) -> None:
    inputs = program.example(3)
    with torch.no_grad():
        wanted = expected(inputs)
    assert program.input_size == SIZE
    assert torch.allclose(program.run(inputs), wanted, atol=1e-6)


def load_saved(held: object, here: Path, **options: Any) -> Program:
    torch.save(held, here / "m.pt")
    arguments = {"arch": "model.py:tiny_net", "input_size": SIZE, "base": here, **options}
    return load(here / "m.pt", **arguments)


def test_a_network_in_memory_is_captured_and_left_as_it_was() -> None:
    module = network().train()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    program = load(module, arch=None, input_size=SIZE)
    assert module.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert_same(program, module.eval())


def test_half_precision_in_memory_becomes_float32_in_a_copy() -> None:
    module = network().half()
    program = load(module, arch=None, input_size=SIZE)
    assert next(module.parameters()).dtype == torch.float16
    assert_same(program, module.float())


def test_an_archive_gives_back_what_was_saved(here: Path) -> None:
    module = network()
    load(module, arch=None, input_size=SIZE).save(here / "m.pt2")
    assert_same(load(here / "m.pt2", arch=None, input_size=None), module)
    assert_same(load(here / "m.pt2", arch=None, input_size=SIZE), module)


def test_an_archive_is_recognised_under_any_name(here: Path) -> None:
    load(network(), arch=None, input_size=SIZE).save(here / "m.pt2")
    (here / "m.pt2").rename(here / "model.bin")
    assert_same(load(here / "model.bin", arch=None, input_size=None), network())


def test_a_half_precision_archive_with_a_fixed_batch_becomes_float32(here: Path) -> None:
    module = network().half()
    torch.export.save(torch.export.export(module, (torch.randn(2, *SIZE).half(),)), here / "fixed.pt2")
    free = torch.export.export(module, (torch.randn(2, *SIZE).half(),), dynamic_shapes=({0: Dim("n")},))
    torch.export.save(free, here / "free.pt2")
    assert_same(load(here / "free.pt2", arch=None, input_size=None), network().half().float())
    assert_same(load(here / "fixed.pt2", arch=None, input_size=None), network().half().float())


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"epoch": 3, "state_dict": weights, "best": 0.9},
        lambda weights: {"model": weights, "optimizer": {"lr": 0.1}},
        lambda weights: {"model_state_dict": weights},
        lambda weights: {"net": weights, "acc": 91.0},
        lambda weights: {f"module.{name}": tensor for name, tensor in weights.items()},
        lambda weights: {"state_dict": {f"_orig_mod.module.{k}": v for k, v in weights.items()}},
        lambda weights: {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")},
    ],
)
def test_weights_are_found_in_every_usual_place(wrap: Callable[[Any], Any], here: Path) -> None:
    assert_same(load_saved(wrap(network().state_dict()), here), network())


def test_files_of_before_torch_1_6_are_read(here: Path) -> None:
    torch.save(network().state_dict(), here / "m.th", _use_new_zipfile_serialization=False)
    assert_same(load(here / "m.th", arch="model.py:tiny_net", input_size=SIZE, base=here), network())


def test_half_precision_weights_are_read_as_float32(here: Path) -> None:
    program = load_saved(network().half().state_dict(), here)
    assert program.tensors()["0.weight"].dtype == torch.float32
    assert_same(program, network().half().float())


def test_safetensors_are_read(here: Path) -> None:
    safetensors = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    safetensors.save_file(network().state_dict(), here / "m.st")
    assert_same(load(here / "m.st", arch="model.py:tiny_net", input_size=SIZE, base=here), network())


def test_a_trusted_pickle_may_hold_the_network(here: Path) -> None:
    assert_same(load_saved(network(), here, arch=None, trust_pickle=True), network())


def test_a_trusted_pickle_may_hold_weights_beside_other_objects(here: Path) -> None:
    held = {"state_dict": network().state_dict(), "args": Namespace(lr=0.1), "top1": np.float64(0.9)}
    assert_same(load_saved(held, here, trust_pickle=True), network())


def test_options_of_the_architecture_are_literals_or_text(here: Path) -> None:
    arch = "model.py:tiny_net?width=6&norm=none"
    program = load(None, arch=arch, input_size=SIZE, base=here)
    assert program.tensors()["0.weight"].shape == (6, 3, 3, 3)
    assert "1.weight" not in program.tensors()


def test_without_weights_an_architecture_gets_those_of_seed_0(here: Path) -> None:
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, second = (load(None, arch="model.py:tiny_net", input_size=SIZE, base=here) for _ in range(2))
    assert torch.equal(first.tensors()["0.weight"], second.tensors()["0.weight"])
    assert torch.equal(torch.random.get_rng_state(), before)


def test_an_architecture_may_be_in_a_module_beside_the_recipe(here: Path) -> None:
    (here / "my_networks_for_test_load.py").write_text(MODEL)
    program = load(None, arch="my_networks_for_test_load:tiny_net", input_size=SIZE, base=here)
    assert program.input_size == SIZE


def test_two_architecture_files_of_one_name_are_two(here: Path) -> None:
    (here / "other").mkdir()
    (here / "other" / "model.py").write_text(FLAT)
    first = load(None, arch="model.py:tiny_net", input_size=SIZE, base=here)
    second = load(None, arch="model.py:tiny_net", input_size=SIZE, base=here / "other")
    assert first.fingerprint() != second.fingerprint()


def test_torchvision_networks_are_named_with_their_options(here: Path) -> None:
    import_size = (3, 32, 32)
    program = load(None, arch="torchvision:SqueezeNet1_1?num_classes=7", input_size=import_size)
    assert program.run(program.example(2)).shape == (2, 7)


def test_a_prefix_that_the_architecture_has_too_is_kept(here: Path) -> None:
    (here / "wrapped.py").write_text(WRAPPED)
    weights: dict[str, Tensor] = {"module.weight": torch.ones(2, 6), "module.bias": torch.ones(2)}
    program = load_saved(weights, here, arch="wrapped.py:Net", input_size=(6,))
    assert torch.equal(program.tensors()["module.weight"], torch.ones(2, 6))


def test_a_pickled_module_is_not_loaded_untrusted(here: Path) -> None:
    with pytest.raises(ModelError, match="refused: a pickle"):
        load_saved(network(), here)
