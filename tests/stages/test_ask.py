"""Options, recipe and defaults become one request; what contradicts itself is refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from core.documents import TARGET
from torch import nn

from edgeprune.core.errors import ModelError, PluginError, RequestError
from edgeprune.core.files import sha256
from edgeprune.core.inputs import InputSize
from edgeprune.core.recipe import Preprocess
from edgeprune.core.request import Budget, Images
from edgeprune.stages.ask import ask, ask_to_look

RECIPE = """\
arch = "model.py:net"
input = "3x8x8"
data = "npz:data.npz"
labels = ["cat", "dog"]

[preprocess]
scale = 16
"""


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model file in a folder of its own; the user stands in another."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "weights" / "net.pt").write_bytes(b"weights")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path / "weights" / "net.pt"


def layer(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def test_without_recipe_and_options_the_defaults_hold(model: Path) -> None:
    asked = ask(model, TARGET)
    assert (asked.model, asked.model_sha256) == ("net", sha256(model))
    assert (asked.target, asked.formats) == ("board", ("onnx", "tflite"))
    assert asked.budget == Budget(speedup=2.0)
    assert (asked.criterion, asked.images, asked.epochs, asked.seed) == (None, Images(), 0, 0)
    assert (asked.arch, asked.input, asked.data, asked.trust_pickle) == (None, None, None, False)


def test_the_recipe_beside_the_model_says_the_rest_and_its_paths_start_there(model: Path) -> None:
    (model.parent / "edgeprune.toml").write_text(RECIPE)
    asked = ask(model, TARGET)
    assert (asked.arch, asked.arch_base) == ("model.py:net", str(model.parent))
    assert (asked.data, asked.data_base) == ("npz:data.npz", str(model.parent))
    assert (asked.input, asked.labels) == ((3, 8, 8), ("cat", "dog"))
    assert asked.preprocess == Preprocess(scale=16)


def test_options_win_over_the_recipe_and_their_paths_start_where_the_user_stands(model: Path) -> None:
    (model.parent / "edgeprune.toml").write_text(RECIPE)
    asked = ask(Path("../weights/net.pt"), TARGET, arch="mine.py:net", input=(1, 4, 4), data="folder:images")
    here = str(Path.cwd())
    assert (asked.arch, asked.arch_base) == ("mine.py:net", here)
    assert (asked.data, asked.data_base) == ("folder:images", here)
    assert asked.input == (1, 4, 4)
    assert asked.preprocess == Preprocess(scale=16)


def test_the_recipe_beside_the_architecture_applies_where_the_model_has_none(model: Path) -> None:
    code = model.parents[1] / "code"
    code.mkdir()
    (code / "recipe.toml").write_text(RECIPE)
    asked = ask(model, TARGET, arch="../code/model.py:net")
    assert (asked.arch, asked.arch_base) == ("../code/model.py:net", str(Path.cwd()))
    assert (asked.data, asked.data_base) == ("npz:data.npz", str(code))
    assert asked.input == (3, 8, 8)


def test_every_option_is_in_the_request(model: Path) -> None:
    asked = ask(
        model,
        TARGET,
        data="npz:data.npz",
        budget=Budget(parameters=10),
        criterion="random",
        images=Images(test=5),
        epochs=2,
        formats=("tflite",),
        precisions=("int8-static", "fp32"),
        quantized_drop=0.5,
        seed=9,
        trust_pickle=True,
    )
    assert asked.budget == Budget(parameters=10)
    assert (asked.criterion, asked.images, asked.epochs) == ("random", Images(test=5), 2)
    assert (asked.formats, asked.seed, asked.trust_pickle) == (("tflite",), 9, True)
    assert (asked.precisions, asked.quantized_drop) == (("int8-static", "fp32"), 0.5)


def test_an_empty_budget_is_the_default_one(model: Path) -> None:
    assert ask(model, TARGET, budget=Budget()).budget == Budget(speedup=2.0)


def test_asking_again_is_the_same_question_until_the_weights_change(model: Path) -> None:
    first = ask(model, TARGET)
    assert ask(model, TARGET).fingerprint() == first.fingerprint()
    model.write_bytes(b"other weights")
    assert ask(model, TARGET).fingerprint() != first.fingerprint()


def test_a_network_in_memory_is_known_by_its_weights() -> None:
    asked = ask(layer(), TARGET)
    assert asked.model is None
    assert asked == ask(layer(), TARGET)
    changed = layer()
    changed.get_buffer("1.running_mean")[0] = 1
    for other in (layer(seed=1), changed, layer().half(), layer().bfloat16()):
        assert ask(other, TARGET).model_sha256 != asked.model_sha256


def test_a_lost_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        ask(tmp_path / "net.pt", TARGET)
    assert caught.value.message == f"{tmp_path}/net.pt: no such file"
    assert caught.value.hint == "check the path of the model"


def test_a_format_that_the_target_does_not_run_is_refused(model: Path) -> None:
    target = TARGET.model_copy(update={"runtimes": {"tflite": "litert"}})
    with pytest.raises(RequestError) as caught:
        ask(model, target, formats=("onnx",))
    assert caught.value.message == "target 'board' runs no onnx files"
    assert caught.value.hint == "known: tflite"


def test_a_precision_that_no_format_asked_for_has_is_refused(model: Path) -> None:
    with pytest.raises(RequestError) as caught:
        ask(model, TARGET, formats=("onnx",), precisions=("fp16", "int3"))
    assert caught.value.message == "no onnx file can be made in precision 'int3'"
    assert caught.value.hint is not None
    assert "known: fp16, fp32, " in caught.value.hint


def test_a_bound_on_a_file_that_is_not_asked_for_is_refused(model: Path) -> None:
    budget = Budget(size=9000, size_of="int8-static")
    with pytest.raises(RequestError) as caught:
        ask(model, TARGET, budget=budget, precisions=("fp16",))
    assert caught.value.message == "--size bounds a int8-static file, which --precision leaves out"
    assert caught.value.hint == "known: fp16, fp32"
    assert ask(model, TARGET, budget=budget, precisions=("int8-static",)).budget == budget


def test_an_unknown_criterion_is_refused_before_any_work(model: Path) -> None:
    with pytest.raises(PluginError, match="unknown criterion 'l3'"):
        ask(model, TARGET, criterion="l3")


def test_training_needs_data(model: Path) -> None:
    with pytest.raises(RequestError) as caught:
        ask(model, TARGET, epochs=1)
    assert (caught.value.message, caught.value.hint) == ("--epochs needs images to train on", "give --data")


def test_inspecting_needs_no_target_and_no_weights(model: Path) -> None:
    (model.parent / "edgeprune.toml").write_text(RECIPE)
    asked = ask_to_look(model)
    assert (asked.model, asked.arch, asked.arch_base) == ("net", "model.py:net", str(model.parent))
    assert asked.inputs == (InputSize(size=(3, 8, 8)),)
    inputs = (InputSize(size=(16,), below=30000), InputSize(size=(3, 64, 64)))
    bare = ask_to_look(None, arch="torchvision:resnet18", inputs=inputs)
    assert (bare.model, bare.arch, bare.arch_base) == (None, "torchvision:resnet18", str(Path.cwd()))
    assert bare.inputs == inputs


def test_allowing_an_operator_is_another_question(model: Path) -> None:
    asked = ask(model, TARGET, allow_inexact=["layer_norm", "group_norm", "layer_norm"])
    assert asked.allow_inexact == ("group_norm", "layer_norm")
    assert asked.fingerprint() != ask(model, TARGET).fingerprint()
    assert ask_to_look(model, allow_inexact=["group_norm"]).allow_inexact == ("group_norm",)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("layernorm", "did you mean 'layer_norm'?"), ("softmax", "one of: layer_norm, group_norm")],
)
def test_an_operator_that_cannot_be_allowed_is_refused(model: Path, name: str, hint: str) -> None:
    for refuse in (
        lambda: ask(model, TARGET, allow_inexact=[name]),
        lambda: ask_to_look(model, allow_inexact=[name]),
    ):
        with pytest.raises(RequestError) as caught:
            refuse()
        assert caught.value.message == f"'{name}' is no inexact operator that can be allowed"
        assert caught.value.hint == hint


def test_there_must_be_something_to_inspect() -> None:
    with pytest.raises(RequestError) as caught:
        ask_to_look(None)
    assert caught.value.message == "nothing to inspect"
    assert caught.value.hint == "give a model file, or --arch and --input"
