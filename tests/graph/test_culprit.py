"""A failed conversion is blamed on an operator and the user's line, named by the converter or found."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgeprune.graph.capture import capture
from edgeprune.graph.culprit import culprit, reason
from edgeprune.graph.nodes import operator_name


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 5), nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.first(x).relu()
        odd = torch.cumprod(hidden, 1)
        return self.last(odd)


PROGRAM = capture(Net(), (6,))


def refusing(operator: str) -> list[int]:
    """Sizes of the beginnings that a converter without that operator was asked for."""
    asked: list[int] = []

    def attempt(part: ExportedProgram) -> None:
        names = [operator_name(node) for node in part.graph.nodes if node.op == "call_function"]
        asked.append(len(names))
        if operator in names:
            raise RuntimeError("no")

    found = culprit(PROGRAM.exported(), PROGRAM.example(1), RuntimeError("no"), attempt)
    assert found == "aten.cumprod (test_culprit.py:21)"
    return asked


def test_an_operator_that_the_converter_names_is_found_without_trying() -> None:
    error = RuntimeError(
        "Lowering not found\n\nWhile executing %cumprod : [num_users=1] = "
        "call_function[target=torch.ops.aten.cumprod.default](args = (%relu, 1), kwargs = {})"
    )
    found = culprit(PROGRAM.exported(), PROGRAM.example(1), error, lambda part: None)
    assert found == "aten.cumprod (test_culprit.py:21)"


def test_an_operator_that_nobody_names_is_found_by_shorter_beginnings() -> None:
    assert len(refusing("aten.cumprod.default")) <= 3


def test_a_failure_that_no_beginning_shows_has_no_culprit() -> None:
    assert culprit(PROGRAM.exported(), PROGRAM.example(1), RuntimeError("no"), lambda part: None) == ""


def test_the_reason_is_what_the_innermost_error_says() -> None:
    outer = RuntimeError("conversion failed")
    outer.__cause__ = ValueError("the real reason.\nmore")
    assert reason(outer) == "the real reason"
