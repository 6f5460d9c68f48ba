"""The models of this repository load through edgeprune and answer as their cards say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgeprune.core.progress import Silent
from edgeprune.core.request import Request
from edgeprune.core.target import find_target
from edgeprune.graph.capture import Program
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple
from edgeprune.stages.ask import ask
from edgeprune.stages.draw import draw
from edgeprune.stages.load import load
from edgeprune.stages.verify import judge

ROOT = Path(__file__).parents[1]
DIGITS = ROOT / "models" / "digits" / "digits.pt"
RESNETS = ROOT / "models" / "resnet_cifar" / "model.py"
SHARED = Path(os.environ.get("EDGEPRUNE_DATA", ROOT.parent / "shared" / "data"))
WEIGHTS = SHARED / "resnet_cifar10"


def asked(model: Path, **options: str) -> tuple[Request, Program]:
    request = ask(model, find_target("x86-64"), **options)  # type: ignore[arg-type]
    program = load(model, arch=request.arch, input_size=request.input, base=Path(request.arch_base))
    return request, program


def test_the_embedded_digits_network_answers_590_of_597_unseen_images() -> None:
    request, program = asked(DIGITS)
    splits = draw(request, program)
    assert splits is not None
    quality, _ = judge(program, splits.test, Silent(), "original")
    assert quality.images == 597
    assert quality.top1 * 597 / 100 >= 590


@pytest.mark.shared
@pytest.mark.skipif(not WEIGHTS.is_dir(), reason=f"no {WEIGHTS}: set EDGEPRUNE_DATA")
@pytest.mark.parametrize(("name", "parameters"), [("resnet20", 269_722), ("resnet56", 853_018)])
def test_the_published_weights_fit_the_architecture_strictly(name: str, parameters: int) -> None:
    (weights,) = [path for path in WEIGHTS.iterdir() if path.name.startswith(f"{name}-")]
    _, program = asked(weights, arch=f"{RESNETS}:{name}")
    assert program.input_size == (3, 32, 32)
    assert sum(tensor.numel() for tensor in program.exported().parameters()) == parameters


MNIST = ROOT / "models" / "mnist"


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "mnist").is_dir(), reason=f"no {SHARED}/mnist: set EDGEPRUNE_DATA")
@pytest.mark.parametrize(
    ("name", "weights", "wrong"),
    [("lenet_300_100", 266_610, 104), ("lenet_5", 431_080, 59), ("mlp", 545_810, 107)],
)
def test_the_mnist_networks_err_as_often_as_their_card_says(
    name: str, weights: int, wrong: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEPRUNE_DATA", str(SHARED.resolve()))
    request, program = asked(MNIST / f"{name}.pt", arch=f"{MNIST}/model.py:{name}")
    assert sum(tensor.numel() for tensor in program.exported().parameters()) == weights
    splits = draw(request, program)
    assert splits is not None
    quality, _ = judge(program, splits.test, Silent(), "original")
    assert quality.images == 10_000
    assert abs(round(10_000 - quality.top1 * 100) - wrong) <= 2  # rounding differs between processors


CLOTHES = {"fashion_cnn": 9_105, "fashion_mobile": 9_311}
"""Networks for Fashion-MNIST, and how many of the 10,000 test images their cards say they answer."""


@pytest.mark.parametrize("name", CLOTHES)
def test_a_clothes_network_loads_and_is_as_large_as_its_card_says(name: str) -> None:
    folder = ROOT / "models" / name
    _, program = asked(folder / f"{name}.pt")
    parameters = sum(tensor.numel() for tensor in program.exported().parameters())
    cost = count(couple(program))
    assert program.input_size == (1, 28, 28)
    said = f"{parameters:,} parameters, {cost.macs / 1e6:.2f} M multiply-accumulates per image"
    assert f"| architecture | `model.py:{name}`: {said} |" in (folder / "card.md").read_text()


@pytest.mark.shared
@pytest.mark.skipif(
    not (SHARED / "fashion_mnist").is_dir(), reason=f"no {SHARED}/fashion_mnist: set EDGEPRUNE_DATA"
)
@pytest.mark.parametrize("name", CLOTHES)
def test_a_clothes_network_errs_as_often_as_its_card_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEPRUNE_DATA", str(SHARED.resolve()))
    request, program = asked(ROOT / "models" / name / f"{name}.pt")
    splits = draw(request, program)
    assert splits is not None
    quality, _ = judge(program, splits.test, Silent(), "original")
    right = round(quality.top1 * 100)
    assert quality.images == 10_000
    assert abs(right - CLOTHES[name]) <= 2  # rounding differs between processors


def test_every_network_has_a_card() -> None:
    folders = [path.parent for path in (ROOT / "models").glob("*/model.py")]
    assert len(folders) >= 4
    for folder in folders:
        assert (folder / "card.md").read_text().startswith(f"# {folder.name}\n"), folder
