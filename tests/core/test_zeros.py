"""What zeros are worth is said of the runtimes that the target has, with what its facts say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import pytest

from edgeprune.core import zeros
from edgeprune.core.artifact import Format
from edgeprune.core.registry import names
from edgeprune.core.target import Target, find_target
from edgeprune.core.zeros import Zeros, zeros_on

DENSE = (
    "zeros make files smaller once they are packed, not faster: the kernels of {} multiply them like any "
    "other number"
)
SPEEDUPS = ("sparse_fp32_speedup_a77", "sparse_fp32_speedup_a53")


def on(name: str, formats: Sequence[Format], **runtimes: str) -> Zeros:
    """What zeros are worth on a target, some of whose runtimes are others."""
    target = find_target(name)
    return zeros_on(target.model_copy(update={"runtimes": {**target.runtimes, **runtimes}}), formats)


def test_only_the_runtimes_of_the_files_are_spoken_of() -> None:
    assert on("x86-64", ("onnx", "tflite")) == Zeros(skipped={"onnxruntime": False, "litert": False})
    assert on("x86-64", ("onnx",)).skipped == {"onnxruntime": False}
    assert [*on("x86-64", ("onnx", "tflite")).words()] == [DENSE.format("onnxruntime and litert")]
    assert [*on("x86-64", ("onnx",)).words()] == [DENSE.format("onnxruntime")]


def test_the_target_s_facts_about_zeros_are_quoted_with_their_sources() -> None:
    found = on("android-arm64", ("tflite",))
    assert found.published == {name: find_target("android-arm64").physics[name] for name in SPEEDUPS}
    assert [*found.words()] == [
        DENSE.format("litert"),
        "published for engines that skip zeros: 1.67x (sparse_fp32_speedup_a77), 0.83x "
        "(sparse_fp32_speedup_a53); report.json names the sources",
    ]


@pytest.mark.parametrize("runtime", ["openvino", "executorch", "ncnn", "tflite-runtime"])
def test_of_a_runtime_that_was_not_measured_nothing_is_claimed(runtime: str) -> None:
    found = on("x86-64", ("onnx", "tflite"), tflite=runtime)
    assert found.skipped == {"onnxruntime": False, runtime: None}
    assert [*found.words()] == [
        DENSE.format("onnxruntime"),
        f"whether the kernels of {runtime} skip zeros is not known: `speed` says what files gain",
    ]


def test_a_runtime_that_skips_zeros_says_so_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    class Skips:
        format: ClassVar[Format] = "onnx"
        threads: ClassVar[int] = 1
        skips_zeros: ClassVar[bool] = True

        def open(self) -> None: ...

    monkeypatch.setattr(zeros, "build", lambda *_: Skips())
    found = zeros_on(find_target("x86-64"), ("onnx",))
    assert found.skipped == {"onnxruntime": True}
    assert [*found.words()] == [
        "zeros make files smaller once they are packed",
        "the kernels of onnxruntime skip zeros",
    ]


@pytest.mark.parametrize("target", ["x86-64", "rpi4", "android-arm64"])
def test_every_built_in_target_says_something(target: str) -> None:
    found = find_target(target)
    assert isinstance(found, Target)
    assert [*zeros_on(found, found.runtimes).words()]
    assert set(zeros_on(found, found.runtimes).skipped) <= set(names("runtimes"))
