"""Old boards run tflite-runtime 2.14, which needs numpy < 2: our float32 files load and answer there."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_coupling, tiny_floats, tiny_folder

PYTHON = Path(__file__).parents[2] / ".venv-tflite" / "bin" / "python"
ANSWERING = """\
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter

file, inputs, outputs = sys.argv[1:]
interpreter = Interpreter(file)
interpreter.allocate_tensors()
source, answer = (details[0]["index"] for details in (
    interpreter.get_input_details(), interpreter.get_output_details()))
answers = []
for one in np.load(inputs):
    interpreter.set_tensor(source, one[None])
    interpreter.invoke()
    answers.append(interpreter.get_tensor(answer)[0])
np.save(outputs, answers)
print(np.__version__.split(".")[0])
"""


@pytest.mark.skipif(not PYTHON.exists(), reason="no .venv-tflite; make it with: make tflite-runtime")
def test_a_float_file_answers_alike_in_tflite_runtime(tmp_path: Path) -> None:
    program = tiny_coupling().program
    inputs = program.example(7, seed=1)
    np.save(tmp_path / "inputs.npy", inputs.numpy())
    file = tiny_folder() / tiny_floats()[1].path
    command = [PYTHON, "-c", ANSWERING, file, tmp_path / "inputs.npy", tmp_path / "outputs.npy"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1\n"
    answers, expected = np.load(tmp_path / "outputs.npy"), program.run(inputs).numpy()
    assert answers.shape == expected.shape
    assert np.abs(answers - expected).max() < 1e-4 * np.abs(expected).max()
