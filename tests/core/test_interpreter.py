from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from shipments import verified

from core.device_documents import SURVEY
from edgeprune.core.capsule import Capsule
from edgeprune.core.errors import DeviceError, RequestError
from edgeprune.core.golden import starter
from edgeprune.core.interpreter import choose_interpreter, ways_out

BOTH = (
    "there: `python3 -m venv edge && edge/bin/pip install numpy ai-edge-litert`, then "
    "`--python edge/bin/python`; or carry all of it along and install nothing: `--capsule FOLDER`"
)


def hint(**facts: str) -> str:
    return ways_out(SURVEY.model_copy(update=facts), ["tflite"])


def test_where_glibc_suffices_packages_may_be_installed_or_carried() -> None:
    assert hint(libc="glibc 2.36") == BOTH


def test_where_a_wheel_needs_a_newer_glibc_only_a_capsule_is_advised() -> None:
    assert hint(libc="glibc 2.31") == (
        "libLiteRt.so needs glibc 2.34, the device has 2.31: carry all of it along, "
        "`edgeprune capsule build --runtime litert --arch aarch64`, then `--capsule FOLDER`"
    )
    assert hint(libc="bionic").startswith("the device has no glibc, so no published wheel loads there: carry")


@pytest.mark.parametrize("facts", [{"libc": ""}, {"machine": "riscv64"}, {"machine": "armv7l"}])
def test_where_nothing_is_known_of_the_wheels_both_ways_are_named(facts: dict[str, str]) -> None:
    assert hint(**facts) == BOTH


def test_a_python_without_the_runtime_is_refused_with_the_way_out() -> None:
    old = SURVEY.model_copy(update={"libc": "glibc 2.31"})
    with pytest.raises(DeviceError, match="no Python there has numpy and ai-edge-litert") as caught:
        choose_interpreter(old, ["tflite"])
    assert caught.value.hint == ways_out(old, ["tflite"])


def test_a_bundle_without_a_python_says_how_it_gets_one() -> None:
    old = SURVEY.model_copy(update={"libc": "glibc 2.31"})
    with pytest.raises(DeviceError) as caught:
        starter(verified("model.tflite").bundle, PurePosixPath("/opt/models/vision"), old, "")
    assert caught.value.hint == (
        "libLiteRt.so needs glibc 2.34, the device has 2.31: carry all of it along, "
        "`edgeprune capsule build --runtime litert --arch aarch64`, then "
        "`edgeprune bundle RUN --out FILE --capsule FOLDER`, and ship that"
    )


def made_for(folder: Path, arch: str, runtime: str) -> Path:
    (folder / "py").touch()
    facts = {"runtime": runtime, "arch": arch, "python": "3.11", "packages": (), "files": 1, "bytes": 0}
    Capsule(**facts, sha256="").save(folder / "capsule.json")  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize(
    ("arch", "runtime", "why"),
    [
        ("x86_64", "litert", "it is a capsule for x86_64, the device is aarch64"),
        ("aarch64", "onnxruntime", "it is a capsule with onnxruntime, which runs no .tflite files"),
    ],
    ids=["machine", "runtime"],
)
def test_a_capsule_for_something_else_is_refused_before_it_is_carried(
    tmp_path: Path, arch: str, runtime: str, why: str
) -> None:
    with pytest.raises(RequestError) as caught:
        choose_interpreter(SURVEY, ["tflite"], capsule=made_for(tmp_path, arch, runtime))
    assert caught.value.message == f"{tmp_path}: {why}"
    assert caught.value.hint == "`edgeprune capsule build --runtime litert --arch aarch64`"


def test_a_capsule_that_fits_is_taken(tmp_path: Path) -> None:
    chosen = choose_interpreter(SURVEY, ["tflite"], capsule=made_for(tmp_path, "aarch64", "tflite-runtime"))
    assert chosen.capsule == tmp_path
