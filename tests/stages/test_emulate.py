"""Files answer on a board's kernels as here, instructions are told apart, and differences are judged."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from packages import capsule
from tiny import tiny_coupling, tiny_floats, tiny_folder

from edgeprune.core.artifact import Precision, Tensor
from edgeprune.core.board import find_board
from edgeprune.core.emulation import Likeness
from edgeprune.core.errors import DeviceError, RequestError
from edgeprune.core.qemu import Qemu, find_qemu
from edgeprune.graph.cost import count
from edgeprune.stages.emulate.answer import Emulator, answer_emulated, answer_here
from edgeprune.stages.emulate.compare import judged, likeness
from edgeprune.stages.emulate.counter import compiled_counter, read_counts, uncounted
from edgeprune.stages.emulate.inputs import inputs_of
from edgeprune.stages.emulate.run import emulate
from edgeprune.stages.emulate.subject import Subject, read_subject

KINDS = ("other", "float multiply-add", "dot product", "integer multiply-add", "load or store", "branch")
# As GNU as 2.40 assembles them.
WORDS = {
    "fmla v0.4s, v1.4s, v2.4s": (0x4E22CC20, 1), "fmls v0.4s, v1.4s, v2.4s": (0x4EA2CC20, 1),
    "fmla v0.4s, v1.4s, v2.s[0]": (0x4F821020, 1), "fmadd s0, s1, s2, s3": (0x1F020C20, 1),
    "sdot v0.4s, v1.16b, v2.16b": (0x4E829420, 2), "udot v0.4s, v1.16b, v2.16b": (0x6E829420, 2),
    "sdot v0.4s, v1.16b, v2.4b[0]": (0x4F82E020, 2), "smmla v0.4s, v1.16b, v2.16b": (0x4E82A420, 2),
    "smlal v0.4s, v1.4h, v2.4h": (0x0E628020, 3), "smull v0.4s, v1.4h, v2.4h": (0x0E62C020, 3),
    "smlal v0.4s, v1.4h, v2.h[0]": (0x0F422020, 3),
    "ldr q0, [x0]": (0x3DC00000, 4), "str x0, [x1]": (0xF9000020, 4), "ld1 {v0.16b}, [x0]": (0x4C407000, 4),
    "ldp x29, x30, [sp], #16": (0xA8C17BFD, 4),
    "b.ne": (0x54000001, 5), "bl": (0x94000000, 5), "ret": (0xD65F03C0, 5),
    "nop": (0xD503201F, 0), "add x0, x0, #1": (0x91000400, 0), "fadd v0.4s, v1.4s, v2.4s": (0x4E22D420, 0),
    "fmul v0.4s, v1.4s, v2.4s": (0x6E22DC20, 0), "mul v0.4s, v1.4s, v2.4s": (0x4EA29C20, 0),
}  # fmt: skip


def emulator(runtime: str = "onnxruntime", board: str = "rpi4") -> Emulator:
    try:
        qemu = find_qemu()
    except DeviceError as error:
        pytest.skip(f"{error.message}; {error.hint}")
    folder = capsule("litert" if runtime == "litert" else "onnxruntime", "aarch64")
    return Emulator(find_board(board), qemu, folder, None if uncounted(qemu) else compiled_counter())


def subject(index: int = 0) -> Subject:
    return read_subject(tiny_folder() / tiny_floats()[index].path)


# Files


def test_a_file_says_what_it_is() -> None:
    for index, name in enumerate(("onnxruntime", "litert")):
        found = subject(index)
        assert (found.runtime, found.artifact.precision, found.step) == (name, "fp32", None)
        assert found.artifact.inputs[0].shape[1:] == (3, 16, 16)


def test_what_no_board_runs_is_refused(tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_bytes(b"")
    with pytest.raises(RequestError) as caught:
        read_subject(tmp_path / "model.pt2")
    assert caught.value.message == f"{tmp_path}/model.pt2: not a file that boards run"
    assert caught.value.hint == "name .onnx or .tflite files"


@pytest.mark.parametrize("name", ["a.onnx", "a.tflite"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not a network")
    with pytest.raises(DeviceError) as caught:
        read_subject(tmp_path / name)
    assert caught.value.message.startswith(f"{tmp_path}/{name}: cannot be read: ")


# Inputs


def test_images_are_laid_out_as_a_file_takes_them() -> None:
    images = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)
    last = inputs_of(Tensor(name="x", shape=(1, 4, 5, 3), dtype="float32"), images, 2)
    assert len(last) == 2
    np.testing.assert_array_equal(last[1], images[1:].transpose(0, 2, 3, 1))


def test_images_of_another_size_are_refused() -> None:
    with pytest.raises(RequestError) as caught:
        inputs_of(
            Tensor(name="x", shape=(1, 3, 8, 8), dtype="float32"), np.zeros((1, 3, 9, 9), np.float32), 1
        )
    assert caught.value.message == "images of 9x9x3 do not fit the input x of 3x8x8"


def test_noise_is_the_same_every_time() -> None:
    tensor = Tensor(name="x", shape=(None, 3, 8, 8), dtype="float32")
    for one, other in zip(inputs_of(tensor, None, 3), inputs_of(tensor, None, 3), strict=True):
        np.testing.assert_array_equal(one, other)


# Answers beside answers


def compared(*differences: float, step: float | None = None) -> Likeness:
    here = [np.array([[0.5, 2.0]], np.float32) for _ in differences]
    return likeness(here, [one + np.float32(more) for one, more in zip(here, differences, strict=True)], step)


@pytest.mark.parametrize(("precision", "found", "verdict"), [
    ("fp32", compared(0), (True, "")),
    ("fp32", compared(1e-5), (True, "5.0e-06 of the largest answer, 1e-05 allowed")),
    ("fp32", compared(1e-3), (False, "5.0e-04 of the largest answer, 1e-05 allowed")),
    ("fp32", compared(np.nan), (False, "the answers are not finite")),
    ("int8-static", compared(0.25, 0, step=0.25),
     (True, "50 % of the outputs differ, by 1 steps at most; float between quantized operators: Softmax")),
    ("int8-static", compared(0.5, 0, step=0.25),
     (False, "50 % of the outputs differ, by 2 steps at most; float between quantized operators: Softmax")),
    ("int8-static", compared(0.25),
     (False, "1.2e-01 of the largest answer, 5e-02 allowed; float between quantized operators: Softmax")),
])  # fmt: skip
def test_a_difference_is_judged_by_the_precision(
    precision: Precision, found: Likeness, verdict: tuple[bool, str]
) -> None:
    assert judged(found, precision, ("Softmax",)) == verdict


# Counting


def test_the_cheapest_inference_counts(tmp_path: Path) -> None:
    (tmp_path / "counts").write_text("9 9 9 9 9 99\n1 0 2 3 4 20\n1 0 2 3 5 21\n")
    found = read_counts(tmp_path / "counts")
    assert (found.total, found.branch, found.totals) == (20, 4, (20, 21))


def test_an_emulator_without_plugins_counts_nothing() -> None:
    assert uncounted(Qemu("/usr/bin/qemu-aarch64-static", "10.0", False)) == (
        "/usr/bin/qemu-aarch64-static 10.0 loads no plug-ins; "
        "on Debian or Ubuntu: apt-get install qemu-user qemu-user-static"
    )


@pytest.mark.emulated
@pytest.mark.parametrize("text", WORDS)
def test_an_instruction_has_its_class(text: str) -> None:
    if reason := uncounted(Qemu("qemu", "7.2", True)):
        pytest.skip(reason)
    # Lazily: the functions of qemu are there only inside of qemu.
    library = ctypes.CDLL(str(compiled_counter()), mode=1)
    word, kind = WORDS[text]
    assert KINDS[library.edgeprune_kind(word)] == KINDS[kind]


# On a board


@pytest.mark.emulated
@pytest.mark.parametrize("index", [0, 1], ids=["onnxruntime", "litert"])
def test_a_board_answers_like_this_machine_in_counted_instructions(index: int) -> None:
    player = emulator(("onnxruntime", "litert")[index])
    found = emulate(
        [subject(index)], [player.board], qemu=player.qemu, capsules={subject(index).runtime: player.capsule},
        host="here", images=2,
    )  # fmt: skip
    (file,) = found.files
    assert file.passed, file.why
    assert file.likeness.relative is not None
    assert file.likeness.relative < 1e-6
    if found.uncounted:
        pytest.skip(f"instructions were not counted: {found.uncounted}")
    assert file.instructions is not None
    # Four to an instruction at best; narrow layers leave lanes of the kernels' tiles empty.
    fewest = count(tiny_coupling()).macs // 4
    assert fewest <= file.instructions.float_multiply_add < 2 * fewest
    assert file.instructions.load_store + file.instructions.branch < file.instructions.total
    assert file.instructions.total < 1.02 * min(file.instructions.totals)


@pytest.mark.emulated
def test_a_runtime_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    player = emulator()
    (tmp_path / "model.onnx").write_bytes(b"not a network")
    broken = Subject(tmp_path / "model.onnx", subject().artifact, None, ())
    with pytest.raises(DeviceError) as caught:
        answer_emulated(broken, [np.zeros((1, 3, 16, 16), np.float32)], player)
    assert caught.value.message.startswith(
        f"{tmp_path}/model.onnx on emulated rpi4: the runtime ended with exit code 1: onnxruntime."
    )
    with pytest.raises(DeviceError, match="on this machine: the runtime ended with exit code 1"):
        answer_here(broken, [np.zeros((1, 3, 16, 16), np.float32)])


def test_the_class_that_comes_first_is_what_top_1_compares() -> None:
    best, other = np.array([[7, 3, 9, 1, 2]]), np.array([[3, 7, 9, 1, 2]])
    assert likeness([best, best], [best, other], None).top1 == 50
    assert likeness([best[0, :1]], [best[0, :1]], None).top1 == 100
    number = np.ones((1, 1), np.float32)
    assert likeness([number], [number + 1], None).top1 is None
