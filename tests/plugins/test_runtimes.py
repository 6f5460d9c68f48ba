"""A runtime loads a file of its format, answers batches of any size, and times single inferences."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny import ELSEWHERE, tiny_coupling, tiny_floats, tiny_folder

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import DeviceError, PluginError
from edgeprune.core.protocols import Session
from edgeprune.core.registry import build
from edgeprune.device import edgeprune_device, runner

INDEX = pytest.mark.parametrize("index", [0, 1], ids=["onnxruntime", "litert"])


def opened(index: int, **options: int) -> Session:
    artifact = tiny_floats()[index]
    return build("runtimes", ELSEWHERE.runtimes[artifact.format], options).open(tiny_folder() / artifact.path)


def images(batch: int) -> np.ndarray:
    return tiny_coupling().program.example(batch, seed=3).numpy()


@INDEX
def test_each_image_of_a_batch_is_answered_by_itself(index: int) -> None:
    session = opened(index)
    together = session.infer(images(5))
    single = np.concatenate([session.infer(one[None]) for one in images(5)])
    assert together.shape == (5, 10)
    np.testing.assert_allclose(together, single, rtol=1e-4, atol=1e-6)


@INDEX
def test_answers_are_kept_when_the_session_answers_again(index: int) -> None:
    session = opened(index)
    first = session.infer(images(1))
    kept = first.copy()
    session.infer(images(1) * 5)
    np.testing.assert_array_equal(first, kept)


@INDEX
def test_as_many_inferences_are_timed_as_were_asked_for(index: int) -> None:
    taken = opened(index).time(images(1), warmup=1, runs=7)
    assert len(taken) == 7
    assert all(isinstance(one, int) and 0 < one < 1e9 for one in taken)


@INDEX
def test_more_threads_give_the_same_answers(index: int) -> None:
    np.testing.assert_allclose(
        opened(index, threads=2).infer(images(3)), opened(index).infer(images(3)), rtol=1e-4, atol=1e-6
    )


@INDEX
def test_as_many_threads_work_as_were_asked_for(index: int) -> None:
    started = []
    for threads in (1, 4):
        before = set(Path("/proc/self/task").iterdir())
        session = opened(index, threads=threads)
        session.infer(images(1))
        started.append(len(set(Path("/proc/self/task").iterdir()) - before))
    # The thread that asks works too.
    assert started == [0, 3]


def test_only_onnx_files_have_a_free_batch() -> None:
    assert opened(0).input_shape == (None, 3, 16, 16)
    assert opened(1).input_shape == (1, 3, 16, 16)


def test_a_runtime_names_itself_and_its_version() -> None:
    for index, name in enumerate(["onnxruntime", "litert"]):
        facts = opened(index).facts()
        assert facts["runtime"] == name
        assert facts["version"].count(".") == 2


@pytest.mark.parametrize(
    ("name", "file", "engine"),
    [("onnxruntime", "a.onnx", "onnxruntime"), ("litert", "a.tflite", "LiteRT")],
)
@pytest.mark.parametrize("content", [b"", b"not a network", None], ids=["empty", "foreign", "cut off"])
def test_a_damaged_file_is_refused_in_one_line(
    tmp_path: Path, name: str, file: str, engine: str, content: bytes | None
) -> None:
    artifact: Artifact = tiny_floats()[name == "litert"]
    whole = (tiny_folder() / artifact.path).read_bytes()
    (tmp_path / file).write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(DeviceError) as caught:
        build("runtimes", name).open(tmp_path / file)
    assert caught.value.message.startswith(f"{file}: {engine} refuses it: ")
    assert "\n" not in caught.value.message
    assert caught.value.hint == "the file may be damaged, or made for another version of the runtime"


def test_there_is_at_least_one_thread() -> None:
    with pytest.raises(PluginError) as caught:
        build("runtimes", "onnxruntime", {"threads": 0})
    assert caught.value.message == "runtime 'onnxruntime': threads: input should be greater than 0"


def large_products(path: Path) -> None:
    """A static int8 convolution whose neighbouring products do not fit into 16 bits when they are added."""
    import onnx
    from onnx import helper, numpy_helper

    def scaled(name: str, source: str, parts: tuple[str, str]) -> onnx.NodeProto:
        return helper.make_node(f"{name}Linear", [source, *parts], [f"{source}_{name}"])

    constants = {
        "weight": np.full((4, 16, 3, 3), 127, np.int8), "of_weight": np.float32(0.01), "nil": np.int8(0),
        "of_input": np.float32(0.01), "zero": np.uint8(0), "of_sum": np.float32(5), "middle": np.uint8(128),
    }  # fmt: skip
    nodes = [
        scaled("Quantize", "input", ("of_input", "zero")),
        scaled("Dequantize", "input_Quantize", ("of_input", "zero")),
        scaled("Dequantize", "weight", ("of_weight", "nil")),
        helper.make_node("Conv", ["input_Quantize_Dequantize", "weight_Dequantize"], ["sum"], pads=[1] * 4),
        scaled("Quantize", "sum", ("of_sum", "middle")),
        scaled("Dequantize", "sum_Quantize", ("of_sum", "middle")),
    ]
    graph = helper.make_graph(
        nodes,
        "products",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, [1, 16, 8, 8])],
        [helper.make_tensor_value_info("sum_Quantize_Dequantize", onnx.TensorProto.FLOAT, [1, 4, 8, 8])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(made.SerializeToString())


def answers_of(opener: str, path: Path, inputs: np.ndarray) -> np.ndarray:
    if opener == "runtime":
        return build("runtimes", "onnxruntime", {}).open(path).infer(inputs)  # type: ignore[no-any-return]
    if opener == "runner":
        return runner._Onnx(str(path), inputs, threads=1).infer()  # type: ignore[no-any-return]
    return edgeprune_device._onnx(str(path), 1)(inputs)


@pytest.mark.parametrize("opener", ["runtime", "runner", "device"])
def test_sums_of_int8_products_do_not_overflow_on_any_processor(opener: str, tmp_path: Path) -> None:
    large_products(tmp_path / "large.onnx")
    found = answers_of(opener, tmp_path / "large.onnx", np.full((1, 16, 8, 8), 2.55, np.float32))
    assert found[0, 0, 4, 4] == 5 * round(127 * 255 * 144 * 1e-4 / 5)
