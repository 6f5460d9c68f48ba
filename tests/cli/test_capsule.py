"""`edgeprune capsule`: a folder for a device, and the refusals on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Here
from packages import capsule


def test_an_unknown_runtime_is_refused_with_the_nearest(here: Here) -> None:
    answer = here("capsule", "build", "--runtime", "lite", "--arch", "aarch64")
    assert (answer.code, answer.refusal) == (
        2,
        (
            "--runtime: unknown 'lite'",
            "did you mean 'litert'? known: litert, onnxruntime, tflite-runtime",
        ),
    )


def test_32_bit_arm_is_refused_with_the_reason(here: Here) -> None:
    answer = here("capsule", "build", "--runtime", "onnxruntime", "--arch", "armhf", "--quiet")
    assert (answer.code, answer.refusal) == (
        2,
        (
            "no capsule of onnxruntime for armhf: its makers publish no wheel for 32-bit Arm",
            "use --runtime tflite-runtime, or a 64-bit system on the device",
        ),
    )


@pytest.mark.emulated
def test_a_capsule_says_what_is_in_it_and_how_it_starts(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    capsule("tflite-runtime", "armhf")
    monkeypatch.chdir(tmp_path)
    answer = here("capsule", "build", "--runtime", "tflite-runtime", "--arch", "armhf", "-o", "pi")
    first, second, third = answer.out.splitlines()
    assert first.startswith("pi: tflite-runtime 2.14.0 on Python 3.11 for armhf, 7")
    assert second.startswith("sha256 ")
    assert third == "on the device: sh pi/py SCRIPT"
    assert (tmp_path / "pi/py").is_file()
    again = here("capsule", "build", "--runtime", "tflite-runtime", "--arch", "armhf", "-o", "pi")
    assert again.refusal == ("pi exists", "delete it, or name another folder with -o")
