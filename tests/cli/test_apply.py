"""`edgeprune apply` and `diff`: a plan on another checkpoint, the class given back, two plans compared."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jsonschema
import pytest
import torch
from command import ROOT, Here
from tiny import halved
from torch import nn
from zoo import SITUATIONS

import edgeprune
from edgeprune.core.plan import Cut, Plan
from edgeprune.stages.load import load

ARCH = "model.py:net"
SOURCE = """\
from zoo import SITUATIONS


def net():
    return SITUATIONS["residual_add"].build()
"""


def other_weights() -> nn.Module:
    """The network, trained by somebody else."""
    module = SITUATIONS["residual_add"].build()
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for parameter in module.parameters():
            nn.init.normal_(parameter)
    return module


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with model.py, plan.json and other.pt."""
    (tmp_path / "model.py").write_text(SOURCE)
    halved()[2].save(tmp_path / "plan.json")
    torch.save(other_weights().state_dict(), tmp_path / "other.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_plan_is_carried_out_on_another_checkpoint(here: Here, desk: Path) -> None:
    answer = here("apply", "plan.json", "other.pt", "--arch", ARCH, "--state", "narrow.pt")
    assert (answer.code, answer.err) == (0, "")
    cost, proof, *files = answer.text.splitlines()
    assert re.fullmatch(r"other: \d+ k -> \d+ k MACs, [\d.]+ k -> [\d.]+ k parameters", cost)
    assert re.fullmatch(
        r"proof: equals the original with the cut channels silenced to [0-9e-]+ \(relative, float64\); "
        r"2 groups cut",
        proof,
    )
    assert files == ["other-shrunk.pt2", "narrow.pt"]
    program = load(desk / "other-shrunk.pt2", arch=None, input_size=None)
    expected = halved()[2].apply_to_state(other_weights().state_dict())
    assert all(torch.equal(tensor, expected[name]) for name, tensor in program.tensors().items())
    state = torch.load(desk / "narrow.pt", weights_only=True)
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_groups_that_keep_different_channels_are_named(here: Here, desk: Path) -> None:
    plan = halved("grouped")[2]
    lanes = ((0, 1), (2, 3), (3, 0), (1, 2))
    one = Cut(group="0.0", units=4, kept=(0, 1), lanes=lanes)
    plan.model_copy(update={"cuts": (one, Cut(group="2.0", units=8, kept=(0, 5))), "tensors": {}}).save(
        desk / "own.json"
    )
    (desk / "model.py").write_text(SOURCE.replace("residual_add", "grouped"))
    torch.save(SITUATIONS["grouped"].build().state_dict(), desk / "grouped.pt")

    answer = here("apply", "own.json", "grouped.pt", "--arch", ARCH)

    assert (answer.code, answer.err) == (0, "")
    assert answer.text.splitlines()[2:] == [
        "0.0: different channels in each of 4 groups",
        "grouped-shrunk.pt2",
    ]


def test_json_holds_the_plan_as_it_was_carried_out(here: Here, desk: Path) -> None:
    by_hand = halved()[2].model_copy(update={"tensors": {}})
    by_hand.save(desk / "plan.json")
    document = json.loads(here("apply", "plan.json", "other.pt", "--arch", ARCH, "--json").out)
    schema = json.loads(here("schema", "application").out)
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    assert (document["model"], document["files"]) == ("other", ["other-shrunk.pt2"])
    assert Plan.parse(document["plan"], source="plan").tensors == halved()[2].tensors
    assert document["proof"]["relative_error"] <= 1e-9


def test_a_run_folder_stands_for_its_plan_and_an_archive_needs_no_architecture(
    here: Here, desk: Path
) -> None:
    (desk / "run").mkdir()
    (desk / "plan.json").rename(desk / "run" / "plan.json")
    load(desk / "other.pt", arch=ARCH, input_size=(3, 16, 16)).save(desk / "whole.pt2")
    answer = here("apply", "run", "whole.pt2", "--out", "folder/small.pt2")
    assert (answer.code, answer.text.splitlines()[-1]) == (0, "folder/small.pt2")
    assert (desk / "folder" / "small.pt2").is_file()


def test_what_is_there_is_overwritten_only_when_told(here: Here, desk: Path) -> None:
    (desk / "other-shrunk.pt2").write_text("mine")
    answer = here("apply", "plan.json", "other.pt", "--arch", ARCH)
    assert (answer.code, answer.refusal) == (
        2,
        ("other-shrunk.pt2 exists", "choose another file, or overwrite it with --force"),
    )
    assert (desk / "other-shrunk.pt2").read_text() == "mine"
    assert here("apply", "plan.json", "other.pt", "--arch", ARCH, "--force").code == 0
    assert (desk / "other-shrunk.pt2").stat().st_size > 1000


DIFFERENCE = """\
 group   units  first keeps  second keeps  only first  only second
 stem.0  16     8            5             5 7 9 11    2
 body.0  12     6            12                        0 2 4 6 8 10
first: a.json (hand, half of everything): 995 k -> 277 k MACs, 4.15 k -> 1.21 k parameters
second: b.json (l2, half of everything): 995 k -> 995 k MACs, 4.15 k -> 4.15 k parameters
cut by the first only: body.0
"""


@pytest.fixture
def two(desk: Path) -> Path:
    plan = halved()[2]
    plan.save(desk / "a.json")
    fewer = (Cut(group="stem.0", units=16, kept=(1, 2, 3, 13, 15)),)
    other = {"cuts": fewer, "tensors": {}, "criterion": "l2", "after": plan.before}
    plan.model_copy(update=other).save(desk / "b.json")
    return desk


def test_two_plans_side_by_side(here: Here, two: Path) -> None:
    answer = here("diff", "a.json", "b.json")
    assert (answer.code, answer.text, answer.err) == (0, DIFFERENCE, "")


def test_a_plan_does_not_differ_from_itself(here: Here, two: Path) -> None:
    text = here("diff", "a.json", "a.json").text.splitlines()
    assert (text[0], len(text)) == ("the two plans cut alike", 3)


def test_json_prints_the_difference(here: Here, two: Path) -> None:
    document = json.loads(here("diff", "a.json", "b.json", "--json").out)
    schema = json.loads(here("schema", "plan-difference").out)
    jsonschema.validate(document, schema, cls=jsonschema.Draft202012Validator)
    assert document["only_first"] == ["body.0"]
    assert document["groups"][0] == {
        "group": "stem.0",
        "units": 16,
        "kept_first": 8,
        "kept_second": 5,
        "only_first": [5, 7, 9, 11],
        "only_second": [2],
        "lanes": 0,
    }


def test_the_class_is_given_back_through_the_package(desk: Path) -> None:
    module = other_weights()
    narrow = edgeprune.give_back(module, "plan.json")
    assert type(narrow) is type(module)
    expected = halved()[2].apply_to_state(module.state_dict())
    assert all(torch.equal(tensor, expected[name]) for name, tensor in narrow.state_dict().items())
    document = edgeprune.apply("plan.json", SITUATIONS["residual_add"].build(), out="small.pt2")
    assert document.files == ("small.pt2",)
    refitted = edgeprune.give_back(module, halved()[2], weights="small.pt2", input=(3, 16, 16))
    expected = halved()[2].apply_to_state(halved()[0].state_dict())
    assert all(torch.equal(tensor, expected[name]) for name, tensor in refitted.state_dict().items())


def test_the_readmes_example_runs(desk: Path) -> None:
    text = (ROOT / "README.md").read_text()
    (block,) = [one for one in re.findall(r"```python\n(.*?)```", text, re.S) if "give_back" in one]
    assert len([line for line in block.splitlines() if line]) == 5
    (desk / "runs" / "net-rpi4").mkdir(parents=True)
    (desk / "plan.json").rename(desk / "runs" / "net-rpi4" / "plan.json")
    net = SITUATIONS["residual_add"].build()
    edgeprune.apply("runs/net-rpi4", net, out="runs/net-rpi4/model.pt2")
    optimizer = torch.optim.AdamW(net.named_parameters(), lr=0.01)
    net(torch.randn(2, 3, 16, 16)).square().mean().backward()
    optimizer.step()
    found = {"net": net, "optimizer": optimizer, "torch": torch}
    exec(block, found)
    narrow, again = found["narrow"], found["narrow_optimizer"]
    assert isinstance(narrow, nn.Module)
    assert isinstance(again, torch.optim.AdamW)
    narrow(torch.randn(2, 3, 16, 16)).square().mean().backward()
    again.step()
    assert again.state_dict()["state"][0]["exp_avg"].shape == (8, 3, 3, 3)
