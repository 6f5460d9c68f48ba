from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny import ELSEWHERE, tiny_coupling, tiny_floats, tiny_folder

from edgeprune.core.artifact import Artifact
from edgeprune.core.registry import build
from edgeprune.core.report import Deviation, Verdict
from edgeprune.graph.parting import parted
from edgeprune.stages.locate import located

PROGRAM = tiny_coupling().program
INPUT = PROGRAM.example(1, seed=5).numpy()
RUNTIMES = {"onnx": "onnxruntime", "tflite": "litert"}


@pytest.fixture
def broken(tmp_path: Path) -> tuple[Path, str]:
    """The ONNX file, one channel of its second convolution half as large again; that operator's name."""
    model = onnx.load(tiny_folder() / "model.onnx")
    second = [node for node in model.graph.node if node.op_type == "Conv"][1]
    for tensor in model.graph.initializer:
        if tensor.name == second.input[1]:
            values = onnx.numpy_helper.to_array(tensor).copy()
            values[0] *= 1.5
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    onnx.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx", second.name


@pytest.mark.parametrize("file", tiny_floats(), ids=lambda one: one.format)
def test_a_file_that_answers_alike_parts_nowhere(file: Artifact) -> None:
    steps = build("runtimes", RUNTIMES[file.format]).steps(tiny_folder() / file.path, INPUT)
    assert len(steps) > 3
    assert parted(PROGRAM, INPUT, steps, 1e-3) is None


def test_a_file_parts_at_the_first_operator_whose_answer_is_in_no_value_of_the_network(
    broken: tuple[Path, str],
) -> None:
    path, name = broken
    found = parted(PROGRAM, INPUT, build("runtimes", "onnxruntime").steps(path, INPUT), 1e-3)
    assert found is not None
    assert (found.kind, found.name) == ("Conv", name)


def test_a_failed_verdict_names_the_operator_and_a_passed_one_stays_as_it_is(
    broken: tuple[Path, str],
) -> None:
    path, name = broken
    artifact = Artifact.of_file(path, format="onnx", precision="fp32", parent="")
    deviation = Deviation(images=1, max_abs=1.0, relative=0.5)
    failed = Verdict(
        path=path.name, quality=None, agreement=0, deviation=deviation, passed=False, why="its answers differ"
    )
    why = located(failed, PROGRAM, artifact, path.parent, ELSEWHERE, INPUT).why
    assert why == f"its answers differ; it parts from the network at Conv {name}"
    passed = failed.model_copy(update={"passed": True, "why": ""})
    assert located(passed, PROGRAM, artifact, path.parent, ELSEWHERE, INPUT) == passed


def test_answers_that_are_not_finite_are_in_no_network(broken: tuple[Path, str]) -> None:
    path, _ = broken
    steps = build("runtimes", "onnxruntime").steps(path, np.full_like(INPUT, np.inf))
    assert parted(PROGRAM, INPUT, steps, 1e-3) is not None
