"""The museum of bad models: each gives one error, one hint, exit code 2, and runs nothing from the file."""

from __future__ import annotations

import errno
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import edgeprune
from bad.conftest import nothing_was_made
from edgeprune.core.errors import ModelError, StorageError
from edgeprune.core.inputs import InputSize
from edgeprune.graph.capture import capture
from edgeprune.graph.input import Input
from edgeprune.stages.load import load

FORMS = (
    "name the architecture: --arch torchvision:resnet18?num_classes=10, --arch package.module:factory "
    "or --arch path/to/file.py:factory"
)
EXPORT = "export the PyTorch model with torch.export.save and bring that .pt2"
NETWORK = """\
import torch
from torch import nn

CLASSES = 10


def tiny_net(classes=CLASSES):
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, classes))


def broken():
    return nn.Linear(1 // 0, 1)


def not_a_network():
    return {"weights": 1}


class Branching(nn.Module):
    def forward(self, x):
        if x.sum() > 0:
            return x + 1
        return x


class TwoInputs(nn.Module):
    def forward(self, x, y):
        return x + y


class DictOutput(nn.Module):
    def forward(self, x):
        return {"channels": x.shape[1]}


class FixedBatch(nn.Module):
    def forward(self, x):
        return x.reshape(1, -1)


class Random(nn.Module):
    def forward(self, x):
        return x + torch.rand(1)
"""


class Touch:
    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a file of architectures, so that messages name short paths."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.py").write_text(NETWORK)
    return tmp_path


def refusal(
    model: str | nn.Module | None, *, arch: str | None = None, size: tuple[int, ...] | None = (3, 2, 2)
) -> tuple[str, str | None]:
    with pytest.raises(ModelError) as caught:
        load(Path(model) if isinstance(model, str) else model, arch=arch, input_size=size)
    assert caught.value.exit_code == 2
    assert "\n" not in caught.value.message
    return caught.value.message, caught.value.hint


def tiny_weights(classes: int = 10) -> dict[str, Tensor]:
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.ReLU(), nn.Linear(4, classes))
    return network.state_dict()


# Files


def test_a_missing_file(here: Path) -> None:
    assert refusal("m.pt") == ("m.pt: no such file", "check the path of the model")


def test_a_folder(here: Path) -> None:
    (here / "m.pt").mkdir()
    assert refusal("m.pt") == ("m.pt: a folder, not a model file", "name the file inside of it")


def test_an_empty_file(here: Path) -> None:
    (here / "m.pt").touch()
    assert refusal("m.pt") == ("m.pt: the file is empty", "copy it again")


@pytest.mark.parametrize("legacy", [False, True])
def test_a_truncated_file(here: Path, legacy: bool) -> None:
    torch.save(tiny_weights(), here / "m.pt", _use_new_zipfile_serialization=not legacy)
    content = (here / "m.pt").read_bytes()
    (here / "m.pt").write_bytes(content[: len(content) // 3])
    assert refusal("m.pt", arch="model.py:tiny_net") == (
        "m.pt: the file is cut off or damaged",
        "copy it again, and compare the sizes",
    )


def test_a_truncated_file_whose_pickles_are_whole(here: Path) -> None:
    torch.save(tiny_weights(), here / "m.pt", _use_new_zipfile_serialization=False)
    content = (here / "m.pt").read_bytes()
    (here / "m.pt").write_bytes(content[:-10])
    assert refusal("m.pt", arch="model.py:tiny_net") == (
        "m.pt: torch.load fails: unexpected EOF, expected 10 more bytes. The file might be corrupted.",
        "copy it again, or save it again with the torch that wrote it",
    )


def test_a_text_file(here: Path) -> None:
    (here / "m.pt").write_text("not a model\n")
    assert refusal("m.pt") == (
        "m.pt: not a model file that is known here",
        "bring a .pt2 archive, a state dict (.pt, .pth) or a safetensors file",
    )


def test_files_of_other_tools(here: Path) -> None:
    (here / "m.onnx").write_bytes(b"\x08\x0a\x12\x07pytorch")
    (here / "m.tflite").write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(20))
    assert refusal("m.onnx") == (
        "m.onnx: an ONNX file; edgeprune writes these and starts from PyTorch",
        EXPORT,
    )
    assert refusal("m.tflite") == (
        "m.tflite: a TFLite file; edgeprune writes these and starts from PyTorch",
        EXPORT,
    )


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_torchscript_archive(here: Path) -> None:
    torch.jit.save(torch.jit.script(nn.ReLU()), here / "m.pt")
    assert refusal("m.pt") == ("m.pt: a TorchScript archive, which cannot be pruned", EXPORT)


# Code in files


def test_a_pickle_that_would_run_code(here: Path) -> None:
    torch.save({"state_dict": tiny_weights(), "x": Touch(here / "ran")}, here / "m.pt")
    assert refusal("m.pt", arch="model.py:tiny_net") == (
        "m.pt: refused: a pickle, and loading it would run posix.system",
        "save a state dict with torch.save(model.state_dict(), ...), "
        "or use --trust-pickle if you trust the file",
    )
    assert not (here / "ran").exists()


def test_a_pickled_module(here: Path) -> None:
    torch.save(nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2)), here / "m.pt")
    message, _ = refusal("m.pt")
    assert message == (
        "m.pt: refused: a pickle, and loading it would run torch.nn.modules.container.Sequential, "
        "torch.nn.modules.conv.Conv2d, torch.nn.modules.activation.ReLU (and 2 more)"
    )


def test_an_exported_archive_that_would_run_code(here: Path) -> None:
    capture(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), (3, 2, 2)).save(here / "honest.pt2")
    with zipfile.ZipFile(here / "honest.pt2") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(here / "m.pt2", "w") as archive:
        for name, content in members.items():
            archive.writestr(name, with_guard(content, here) if name.endswith("model.json") else content)
    assert refusal("m.pt2") == (
        "m.pt2: refused: guards_code is no plain list of comparisons: [\"open('ran','w').close()\"]",
        "loading it would run code from the file; ask for a state dict, "
        "or export it again with torch.export.save",
    )
    assert not (here / "ran").exists()


def test_no_room_for_the_private_copy_of_an_archive(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    capture(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), (3, 2, 2)).save(here / "m.pt2")
    monkeypatch.setattr("shutil.copyfile", full)
    with pytest.raises(StorageError) as caught:
        load(Path("m.pt2"), arch=None, input_size=None)
    assert caught.value.message.startswith("m.pt2: cannot be copied to ")
    assert caught.value.message.endswith(": No space left on device")
    assert caught.value.hint == "make room there, or point TMPDIR at a folder with room"


def with_guard(content: bytes, here: Path) -> bytes:
    program: dict[str, Any] = json.loads(content)
    return json.dumps({**program, "guards_code": ["open('ran','w').close()"]}).encode()


def test_an_archive_of_an_older_torch(here: Path) -> None:
    with zipfile.ZipFile(here / "m.pt2", "w") as archive:
        archive.writestr("version", "8.20")
        archive.writestr("serialized_exported_program.json", "{}")
    assert refusal("m.pt2") == (
        "m.pt2: refused: the archive layout of torch 2.7 and older holds pickles, which run code when loaded",
        "load it with the torch that wrote it, and save it with torch.export.save of torch 2.8 or newer",
    )


# Weights


def test_weights_without_an_architecture(here: Path) -> None:
    torch.save(tiny_weights(), here / "m.pt")
    assert refusal("m.pt") == ("m.pt holds weights only, not the network they belong to", FORMS)


def test_no_model_and_no_architecture(here: Path) -> None:
    assert refusal(None) == ("no model file is given", FORMS)


def test_a_checkpoint_without_a_state_dict(here: Path) -> None:
    torch.save({"epoch": 3, "loss": 0.5}, here / "m.pt")
    assert refusal("m.pt", arch="model.py:tiny_net") == (
        "m.pt: holds no state dict but a dict with the keys epoch, loss",
        "save one with torch.save(model.state_dict(), ...); "
        "it may lie under state_dict, model, model_state_dict",
    )


def test_weights_of_another_architecture(here: Path) -> None:
    weights = tiny_weights()
    weights["3.weights"] = weights.pop("3.weight")
    weights["1.weight"] = torch.ones(4, 7)
    del weights["1.bias"]
    torch.save(weights, here / "m.pt")
    assert refusal("m.pt", arch="model.py:tiny_net") == (
        "m.pt does not fit model.py:tiny_net: 2 missing (1.bias, 3.weight); "
        "1 unexpected (3.weights: nearest 3.weight); "
        "1 of another shape (1.weight: 4x7 in the file, 4x12 in the architecture)",
        "name the architecture these weights were trained with, with its ?option=value",
    )


def test_weights_with_many_faults_are_counted(here: Path) -> None:
    torch.save({f"w{index}": torch.ones(1) for index in range(9)}, here / "m.pt")
    message, _ = refusal("m.pt", arch="model.py:tiny_net")
    assert message == (
        "m.pt does not fit model.py:tiny_net: 4 missing (1.weight, 1.bias, 3.weight, 3.bias); "
        "9 unexpected (w0, w1, w2, w3, w4, and 4 more)"
    )


def test_weights_for_another_number_of_classes(here: Path) -> None:
    torch.save(tiny_weights(classes=7), here / "m.pt")
    assert refusal("m.pt", arch="model.py:tiny_net") == (
        "m.pt was trained for 7 classes ('3'), model.py:tiny_net has 10",
        "--arch 'model.py:tiny_net?num_classes=7', or your factory's own option",
    )


# Architectures


def test_an_unknown_torchvision_network(here: Path) -> None:
    assert refusal(None, arch="torchvision:resnet81") == (
        "torchvision has no classification network 'resnet81'",
        "did you mean 'resnet18'?",
    )


def test_an_unknown_option_of_a_torchvision_network(here: Path) -> None:
    message, hint = refusal(None, arch="torchvision:squeezenet1_1?num_clases=10")
    assert message.startswith("--arch torchvision:squeezenet1_1?num_clases=10 fails at squeezenet.py:")
    assert message.endswith("got an unexpected keyword argument 'num_clases'")
    assert hint == "the options after '?' become keyword arguments of the factory"


@pytest.mark.parametrize("arch", ["resnet18", "model.py:", "model.py:2", ""])
def test_an_architecture_that_names_nothing(here: Path, arch: str) -> None:
    assert refusal(None, arch=arch) == (
        f"--arch {arch} does not name an architecture",
        f"write {FORMS.removeprefix('name the architecture: ')}",
    )


def test_an_option_without_a_value(here: Path) -> None:
    assert refusal(None, arch="model.py:tiny_net?classes") == (
        "--arch model.py:tiny_net?classes: option 'classes' has no value",
        "write ?option=value&option=value",
    )


def test_an_architecture_file_that_is_missing(here: Path) -> None:
    message, _ = refusal(None, arch="modle.py:tiny_net")
    assert message == "modle.py: no such file"


def test_an_architecture_file_without_that_function(here: Path) -> None:
    assert refusal(None, arch="model.py:tinynet") == (
        "model.py has no function 'tinynet'",
        "did you mean 'tiny_net'? known: Branching, DictOutput, FixedBatch, Random, TwoInputs, broken, "
        "not_a_network, tiny_net",
    )


def test_an_architecture_file_with_a_syntax_error(here: Path) -> None:
    (here / "wrong.py").write_text("x = 1\ndef net(:\n")
    assert refusal(None, arch="wrong.py:net") == (
        "wrong.py: line 2: invalid syntax",
        "try it alone: python wrong.py",
    )


def test_an_architecture_file_that_fails(here: Path) -> None:
    (here / "wrong.py").write_text("import os\nimport no_such_package\n")
    assert refusal(None, arch="wrong.py:net") == (
        "wrong.py fails at wrong.py:2: No module named 'no_such_package'",
        "try it alone: python wrong.py",
    )


def test_a_module_that_is_not_there(here: Path) -> None:
    assert refusal(None, arch="no_such_package.models:net") == (
        "--arch no_such_package.models:net: module 'no_such_package.models' does not import: "
        "No module named 'no_such_package'",
        "modules are looked up beside the recipe, in the current folder and the installed packages",
    )


def test_a_factory_that_raises(here: Path) -> None:
    assert refusal(None, arch="model.py:broken") == (
        "--arch model.py:broken fails at model.py:12: integer division or modulo by zero",
        "the options after '?' become keyword arguments of the factory",
    )


def test_a_factory_that_misuses_torch_names_its_own_line(here: Path) -> None:
    (here / "wrong.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Conv2d(3, 4, 1, groups=2)\n"
    )
    message, _ = refusal(None, arch="wrong.py:net")
    assert message == "--arch wrong.py:net fails at wrong.py:5: in_channels must be divisible by groups"


def test_a_factory_that_returns_no_network(here: Path) -> None:
    assert refusal(None, arch="model.py:not_a_network") == (
        "--arch model.py:not_a_network: the factory returned a dict, not an nn.Module",
        "name a function or class that returns the network",
    )


# Capture


def test_an_unknown_input_size(here: Path) -> None:
    assert refusal(None, arch="model.py:tiny_net", size=None) == (
        "the input size is not known",
        "--input 3x224x224 or 'input' in edgeprune.toml",
    )


def test_a_wrong_input_size(here: Path) -> None:
    message, hint = refusal(None, arch="model.py:tiny_net", size=(3, 4, 4))
    assert message == (
        "the network refuses inputs of shape 3x4x4: mat1 and mat2 shapes cannot be multiplied (2x48 and 12x4)"
    )
    assert hint == "give the size it was trained with, as --input CxHxW or in edgeprune.toml"


def test_another_input_size_than_the_archive_has(here: Path) -> None:
    capture(nn.Sequential(nn.Flatten(), nn.Linear(12, 4)), (3, 2, 2)).save(here / "m.pt2")
    assert refusal("m.pt2", size=(3, 4, 4)) == (
        "m.pt2: made for inputs of 3x2x2, not 3x4x4",
        "leave the input size out; a .pt2 archive knows its own",
    )


def test_control_flow_that_depends_on_values(here: Path) -> None:
    message, hint = refusal(None, arch="model.py:Branching")
    assert message.startswith("the network cannot be captured at model.py:21: ")
    assert hint == (
        "control flow on values and a fixed batch size cannot be exported; "
        "use torch.where / torch.cond, and x.shape[0] for the batch"
    )


def test_a_network_with_two_inputs(here: Path) -> None:
    message, _ = refusal(None, arch="model.py:TwoInputs")
    assert message == (
        "the network refuses inputs of shape 3x2x2: "
        "TwoInputs.forward() missing 1 required positional argument: 'y'"
    )


def test_a_network_that_returns_no_tensor(here: Path) -> None:
    assert refusal(None, arch="model.py:DictOutput") == (
        "the network returns a dict without any tensor",
        "wrap it in a module that returns the logits",
    )


def test_a_network_that_mixes_the_batch(here: Path) -> None:
    assert refusal(None, arch="model.py:FixedBatch") == (
        "the network answers a batch of 2 with shape (1, 24)",
        "the first output axis must be the batch",
    )


def test_a_network_that_draws_random_numbers(here: Path) -> None:
    torch.manual_seed(0)
    message, hint = refusal(None, arch="model.py:Random")
    assert message.startswith("the captured program differs from the network by ")
    assert hint == "does its forward depend on random numbers or hidden state?"


class Sum(nn.Module):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return x + y


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x - 1


class Named(nn.Module):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": x + 1}


REAL, WORDS = InputSize(size=(3,)), InputSize(size=(5,), below=7)
NOT_SINGLE: dict[str, tuple[nn.Module, tuple[InputSize, ...], str]] = {
    "two inputs": (Sum(), (REAL, REAL), "takes 2 inputs (3, 3)"),
    "integers": (nn.Embedding(7, 4), (WORDS,), "takes integers (5:int<7)"),
    "two outputs": (Pair(), (REAL,), "answers with 2 tensors"),
    "a dict": (Named(), (REAL,), "answers with a dict around its tensor"),
}


@pytest.mark.parametrize("case", NOT_SINGLE)
def test_compress_refuses_several_inputs_or_outputs_and_says_what_there_is(here: Path, case: str) -> None:
    network, inputs, what = NOT_SINGLE[case]
    capture(network, [Input.of(one) for one in inputs]).save(here / "m.pt2")
    with pytest.raises(ModelError) as caught:
        edgeprune.compress("m.pt2", target="x86-64")
    assert caught.value.message == (
        f"the network {what}; compress needs one input of real numbers and one output tensor"
    )
    assert caught.value.hint == (
        "wrap it in a module that fixes the other inputs and returns one tensor; "
        "`edgeprune inspect` and `explain` take it as it is"
    )
    assert nothing_was_made(here / "runs")


def test_an_archive_for_two_inputs_knows_both_sizes(here: Path) -> None:
    capture(Sum(), [Input((3,)), Input((3,))]).save(here / "m.pt2")
    with pytest.raises(ModelError) as caught:
        load(Path("m.pt2"), arch=None, input_size=[Input((3,)), Input((4,))])
    assert caught.value.message == "m.pt2: made for inputs of 3 and 3, not 3 and 4"


def test_an_archive_with_an_input_that_has_no_batch(here: Path) -> None:
    class Sum(nn.Module):
        def forward(self, x: Tensor, y: Tensor) -> Tensor:
            return x + y

    exported = torch.export.export(Sum(), (torch.ones(2, 3), torch.tensor(2.0)))
    torch.export.save(exported, here / "m.pt2")
    assert refusal("m.pt2", size=None) == (
        "the network takes 2 inputs, one of shape ()",
        "edgeprune works on networks whose inputs are tensors of fixed sizes with a batch axis",
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_network_in_half_precision(dtype: torch.dtype) -> None:
    with pytest.raises(ModelError) as caught:
        capture(nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2).to(dtype)), (3,))
    assert (caught.value.message, caught.value.hint) == (
        f"1.weight is {str(dtype).removeprefix('torch.')}",
        "give the network in float32 (model.float()); half precision is made on export",
    )


def test_a_network_without_values() -> None:
    module = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    with pytest.raises(ModelError) as caught:
        capture(module.to("meta"), (3,))
    assert (caught.value.message, caught.value.hint) == (
        "0.weight is on the meta device: it has no values",
        "load the weights first",
    )
