"""The museum of bad plans: each gives one error, one hint, exit code 2 (a failed proof: 1), and no file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from command import Answer, Here
from core.documents import a_report
from torch import nn

from bad.conftest import NETWORK
from edgeprune.core.errors import ModelError
from edgeprune.core.plan import Cut, Plan
from edgeprune.graph.check import Proven
from edgeprune.graph.cost import count
from edgeprune.graph.couple import Coupling, couple
from edgeprune.graph.narrowing import narrowings
from edgeprune.pipeline.carry_out import give_back
from edgeprune.stages import shrink as stage
from edgeprune.stages.load import load

Apply = Callable[..., Answer]
Edit = Callable[[dict[str, Any]], object]
FIND = "name a plan.json, or the run folder that holds one"
CORRECT = "correct the file; `edgeprune schema` prints what each kind of document may hold"
REMAKE = "the plan belongs to another network; make a new one"
AGAIN = "after editing cuts by hand delete 'tensors'; they are worked out again"


@pytest.fixture
def plan(desk: Path) -> Plan:
    """plan.json: the first convolution keeps every second of its 16 channels."""
    coupling = couple(load(desk / "m.pt", arch="model.py:net", input_size=(1, 6, 6)))
    cuts = (Cut(group="0", units=16, kept=tuple(range(0, 16, 2))),)
    made = Plan(
        graph=coupling.program.fingerprint(),
        input=(1, 6, 6),
        criterion="hand",
        budget="",
        seed=0,
        before=count(coupling),
        after=count(coupling, coupling.narrowed(cuts)),
        cuts=cuts,
        tensors=narrowings(coupling, cuts),
    )
    made.save(desk / "plan.json")
    return made


@pytest.fixture
def apply(plan: Plan, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Apply:
    """`edgeprune apply plan.json m.pt --arch model.py:net`, and what is given here."""
    command = Here(capfd, monkeypatch)

    def call(*options: str, plan: str = "plan.json", arch: str = "model.py:net") -> Answer:
        return command("apply", plan, "m.pt", "--arch", arch, *options)

    return call


def edited(edit: Edit) -> None:
    """Change plan.json as with a text editor."""
    document = json.loads(Path("plan.json").read_text())
    edit(document)
    Path("plan.json").write_text(json.dumps(document))


def nothing_new(desk: Path) -> bool:
    return not [path for path in desk.rglob("*") if path.suffix == ".pt2" or ".writing-" in path.name]


EDITED: dict[str, tuple[Edit, str, str]] = {
    "a group without units": (
        lambda plan: plan["cuts"][0].update(kept=[]),
        "plan.json: cuts.0: group '0' keeps nothing; at least one unit must stay",
        CORRECT,
    ),
    "an index out of range": (
        lambda plan: plan["cuts"][0].update(kept=[0, 16]),
        "plan.json: cuts.0: kept must lie in 0..15",
        CORRECT,
    ),
    "kept is not ascending": (
        lambda plan: plan["cuts"][0].update(kept=[4, 2]),
        "plan.json: cuts.0: kept must be ascending, each unit once",
        CORRECT,
    ),
    "a group that is cut twice": (
        lambda plan: plan["cuts"].append(plan["cuts"][0]),
        "plan.json: cuts: group '0' is cut twice",
        CORRECT,
    ),
    "lanes that the group has not": (
        lambda plan: plan["cuts"][0].update(lanes=[plan["cuts"][0]["kept"]] * 2),
        "plan: group '0' keeps channels of its own in 2 lanes, it has 1 in this network",
        "without 'lanes' the same units are kept everywhere",
    ),
    "an unknown key": (
        lambda plan: plan["cuts"][0].update(keep=[1]),
        "plan.json: cuts.0.keep: unknown key",
        CORRECT,
    ),
    "wrong units": (
        lambda plan: plan["cuts"][0].update(units=20),
        "plan: group '0' has 20 units there, 16 units in this network",
        REMAKE,
    ),
    "an unknown group": (
        lambda plan: plan["cuts"][0].update(group="stem"),
        "plan: group 'stem' has 16 units there, no such group in this network",
        REMAKE,
    ),
    "a locked group": (
        lambda plan: plan.update(cuts=[{"group": "6", "units": 3, "kept": [0]}], tensors={}),
        "plan: group '6' is locked: the network's output (output)",
        CORRECT,
    ),
    "cuts that were edited without the tensors": (
        lambda plan: plan["cuts"][0].update(kept=[1, 5]),
        "plan: tensor '0.weight' (16x1x3x3) keeps 0 2 4 6 8 10 ... (8 in all) of axis 0, "
        "by the cuts it (16x1x3x3) keeps 1 5 of axis 0",
        AGAIN,
    ),
    "a tensor that was forgotten": (
        lambda plan: plan["tensors"].pop("0.bias"),
        "plan: tensor '0.bias' stays whole, by the cuts it (16) keeps 0 2 4 6 8 10 ... (8 in all) of axis 0",
        AGAIN,
    ),
    "a tensor too many": (
        lambda plan: plan["tensors"].update({"6.bias": {"shape": [3], "kept": {"0": [1]}}}),
        "plan: tensor '6.bias' (3) keeps 1 of axis 0, by the cuts it stays whole",
        AGAIN,
    ),
    "a tensor of impossible indices": (
        lambda plan: plan["tensors"]["0.bias"].update(kept={"0": [3, 99]}),
        "plan.json: tensors.0.bias: axis 0: kept must lie in 0..15",
        CORRECT,
    ),
    "another graph": (
        lambda plan: plan.update(graph="f00"),
        "plan: made for graph f00, this network is {graph}",
        "the network changed since; make a new plan",
    ),
}


@pytest.mark.parametrize("fault", EDITED)
def test_a_plan_that_was_edited_by_hand(apply: Apply, plan: Plan, desk: Path, fault: str) -> None:
    edit, message, hint = EDITED[fault]
    edited(edit)
    answer = apply()
    assert (answer.code, answer.refusal) == (2, (message.format(graph=plan.graph), hint))
    assert nothing_new(desk)


def test_a_plan_for_another_network(apply: Apply, plan: Plan, desk: Path) -> None:
    (desk / "other.py").write_text(
        NETWORK.replace("Conv2d(16, 16, 3), nn.ReLU()", "Conv2d(16, 16, 3), nn.GELU()")
    )
    answer = apply(arch="other.py:net")
    message, hint = answer.refusal
    assert answer.code == 2
    assert message.startswith(f"plan: made for graph {plan.graph}, this network is ")
    assert hint == "the network changed since; make a new plan"


def test_a_plan_for_another_input_size(apply: Apply, desk: Path) -> None:
    answer = apply("--input", "1x8x8")
    assert (answer.code, answer.refusal) == (
        2,
        (
            "plan: made for inputs of 1x6x6, this network takes 1x8x8",
            "give --input as it was when the plan was made, or make a new plan",
        ),
    )
    assert nothing_new(desk)


def test_a_file_that_is_no_plan(apply: Apply, desk: Path) -> None:
    a_report().save(desk / "report.json")
    (desk / "list.json").write_text("[1]")
    (desk / "bare.json").write_text("{}")
    (desk / "cut.json").write_text('{"kind": ')
    (desk / "folder").mkdir()
    for name, fault, hint in (
        ("report.json", "report.json: not a plan but a report/1", FIND),
        ("list.json", "list.json: expected a table of keys at the top level", CORRECT),
        ("bare.json", "bare.json: not a plan", FIND),
        ("cut.json", "cut.json: not valid JSON: Expecting value: line 1 column 10 (char 9)", CORRECT),
        ("m.pt", "m.pt: not a plan, which is a .json file", FIND),
        ("folder", "folder/plan.json: no such file", FIND),
        ("nowhere.json", "nowhere.json: no such file", FIND),
    ):
        answer = apply(plan=name)
        assert (answer.code, answer.refusal) == (2, (fault, hint))
    assert nothing_new(desk)


def test_names_that_cannot_be_written(apply: Apply, desk: Path) -> None:
    (desk / "taken.pt2").write_text("")
    other = "choose another file with --out or --state"
    force = "choose another file, or overwrite it with --force"
    for options, fault, hint in (
        ("--out a.onnx", "a.onnx: the network is written as a .pt2 file", "name it so with --out"),
        ("--out taken.pt2", "taken.pt2 exists", force),
        ("--state model.py", "model.py exists", force),
        ("--state m.pt --force", "m.pt would be overwritten", other),
        ("--state plan.json --force", "plan.json would be overwritten", other),
        ("--out a.pt2 --state a.pt2", "a.pt2: named for two files", "give --state another name than --out"),
    ):
        answer = apply(*options.split())
        assert (answer.code, answer.refusal) == (2, (fault, hint))
    assert (desk / "taken.pt2").read_text() == ""
    assert {path.name for path in desk.iterdir()} >= {"m.pt", "plan.json", "model.py"}


def test_neither_file_is_written_when_one_cannot_be(apply: Apply, desk: Path) -> None:
    (desk / "a.pt2").mkdir()
    answer = apply("--out", "a.pt2", "--state", "narrow.pt", "--force")
    assert answer.code == 2
    assert answer.refusal[0] == "a.pt2: cannot be written (is a directory)"
    assert not (desk / "narrow.pt").exists()
    assert not list(desk.rglob(".writing-*"))


def test_a_plan_whose_proof_fails_is_not_carried_out_in_part(
    apply: Apply, desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(coupling: Coupling, cuts: tuple[Cut, ...]) -> Proven:
        return Proven(coupling.program, (), 0.0, {"0": "its answers differ by 1.0e-02 (relative, float64)"})

    monkeypatch.setattr(stage, "prove", refusing)
    answer = apply("--state", "narrow.pt")
    assert (answer.code, answer.refusal) == (
        1,
        (
            "plan: group '0' cannot be cut: its answers differ by 1.0e-02 (relative, float64)",
            "take it out of the plan's cuts, and delete 'tensors'; they are worked out again",
        ),
    )
    assert nothing_new(desk)
    assert not (desk / "narrow.pt").exists()


def test_plans_that_cannot_be_compared(
    plan: Plan, desk: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Here(capfd, monkeypatch)
    plan.model_copy(update={"graph": "f00"}).save(desk / "other.json")
    wide = (Cut(group="0", units=20, kept=(0,)),)
    plan.model_copy(update={"cuts": wide}).save(desk / "wide.json")
    answer = here("diff", "plan.json", "other.json")
    assert (answer.code, answer.refusal) == (
        2,
        (
            f"plan.json was made for graph {plan.graph}, other.json for f00",
            "only plans of one network can be compared group by group",
        ),
    )
    answer = here("diff", "plan.json", "wide.json")
    assert (answer.code, answer.refusal) == (
        2,
        (
            "group '0' has 16 units in plan.json, 20 in wide.json",
            "one of the plans was edited by hand; `edgeprune inspect` lists the units",
        ),
    )


def test_a_class_with_a_size_in_its_code_is_not_given_back(desk: Path, plan: Plan) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.head = nn.Conv2d(1, 16, 3), nn.Linear(16, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(x).view(x.shape[0], 16, 16).mean(2))

    coupling = couple(load(Fixed(), arch=None, input_size=(1, 6, 6)))
    fixed = plan.model_copy(
        update={
            "graph": coupling.program.fingerprint(),
            "cuts": (Cut(group="body", units=16, kept=(0, 1)),),
            "tensors": {},
        }
    )
    with pytest.raises(ModelError) as caught:
        give_back(Fixed(), fixed)
    line = Fixed.forward.__code__.co_firstlineno + 1
    assert caught.value.message == (
        f"the class cannot be given back: the network (Fixed) fails at test_bad_plans.py:{line}: "
        "shape '[2, 16, 16]' is invalid for input of size 64"
    )
    assert caught.value.hint == "go on with model.pt2 instead: it trains, and its parameters keep their names"
