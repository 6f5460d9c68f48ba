"""A training command of one's own gets the network, and what it writes is looked at before it goes on."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from tiny import tiny

from edgeprune.core.errors import EdgepruneError, ModelError, RequestError
from edgeprune.graph.capture import Program
from edgeprune.stages.load import read_weights
from edgeprune.stages.retrain import retrain

HEAD = """\
import sys
import torch

given, out = sys.argv[1:]
"""
STATE = HEAD + "state = torch.load(given, weights_only=True)\n"
SCRIPTS = {
    "state.py": STATE + "state['head.bias'] += 1\ntorch.save({'model': state}, out)\n",
    "archive.py": HEAD
    + """\
program = torch.export.load(given)
program.state_dict['head.bias'].data += 1
torch.export.save(program, out)
""",
    "nothing.py": "",
    "fails.py": "import sys\nprint('one\\ntwo\\nthree\\nfour\\nfive\\nsix')\nsys.exit(3)\n",
    "silent.py": "import sys\nsys.exit(4)\n",
    "narrow.py": STATE + "state['stem.1.bias'] = state['stem.1.bias'][1:]\ntorch.save(state, out)\n",
    "nan.py": STATE + "state['head.bias'][0] = torch.nan\ntorch.save(state, out)\n",
    "pickled.py": HEAD + "torch.save(torch.nn.Linear(2, 2), out)\n",
    "text.py": HEAD + "open(out, 'w').write('done')\n",
}


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with the user's scripts, and a space in its name."""
    folder = tmp_path / "my desk"
    folder.mkdir()
    for name, text in SCRIPTS.items():
        (folder / name).write_text(text)
    return folder


def trained(desk: Path, script: str, place: str = "{state}") -> Program:
    command = f"'{sys.executable}' '{desk / script}' {place} {{out}}"
    return retrain(tiny(), command, desk / "run", read_weights)


@pytest.mark.parametrize(("script", "place"), [("state.py", "{state}"), ("archive.py", "{model}")])
def test_what_the_command_wrote_goes_on(desk: Path, script: str, place: str) -> None:
    before, after = tiny().tensors(), trained(desk, script, place).tensors()
    assert torch.equal(after.pop("head.bias"), before.pop("head.bias") + 1)
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


def test_what_an_earlier_command_wrote_is_not_taken_for_this_ones(desk: Path) -> None:
    trained(desk, "state.py")
    with pytest.raises(RequestError):
        trained(desk, "nothing.py")


REFUSED = {
    "nothing.py": ("--train-command wrote no {run}/trained.pt2", "it must write the network to {{out}}"),
    "fails.py": (
        "--train-command failed with exit code 3; its last lines:\ntwo\nthree\nfour\nfive\nsix",
        "everything it printed is in {run}/output.txt; the same command line goes on from here",
    ),
    "silent.py": (
        "--train-command failed with exit code 4, and printed nothing",
        "everything it printed is in {run}/output.txt; the same command line goes on from here",
    ),
    "narrow.py": (
        "{run}/trained.pt2 does not fit the shrunk network: 1 of another shape "
        "(stem.1.bias: 15 in the file, 16 in the architecture)",
        "write what it reads: the same names and shapes, as a state dict or with torch.export.save",
    ),
    "nan.py": (
        "{run}/trained.pt2: 'head.bias' has numbers that are not finite",
        "training diverged: lower its rate",
    ),
    "pickled.py": (
        "{run}/trained.pt2: refused: a pickle, and loading it would run torch.nn.modules.linear.Linear",
        "save a state dict with torch.save(model.state_dict(), ...), "
        "or use --trust-pickle if you trust the file",
    ),
    "text.py": (
        "{run}/trained.pt2: not a model file that is known here",
        "bring a .pt2 archive, a state dict (.pt, .pth) or a safetensors file",
    ),
}


@pytest.mark.parametrize("script", REFUSED)
def test_a_command_that_went_wrong_is_named_with_its_reason(desk: Path, script: str) -> None:
    with pytest.raises(EdgepruneError) as caught:
        trained(desk, script)
    found = caught.value.message, caught.value.hint
    assert found == tuple(text.format(run=desk / "run") for text in REFUSED[script])
    assert caught.value.exit_code == 2


def test_a_program_that_does_not_exist_is_named(desk: Path) -> None:
    with pytest.raises(RequestError) as caught:
        retrain(tiny(), "no-such-program {model} {out}", desk / "run", read_weights)
    assert caught.value.message == (
        "--train-command: no-such-program cannot be started: no such file or directory"
    )


def test_weights_of_another_network_are_refused_before_any_is_taken(desk: Path) -> None:
    other = desk / "other.pt"
    torch.save({"somewhere.weight": torch.ones(2)}, other)
    (desk / "copy.py").write_text(f"import shutil, sys\nshutil.copy({str(other)!r}, sys.argv[2])\n")
    with pytest.raises(ModelError, match=r"1 unexpected \(somewhere.weight"):
        trained(desk, "copy.py")
