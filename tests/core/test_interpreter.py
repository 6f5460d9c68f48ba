from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from shipments import verified

from core.device_documents import SURVEY
from edgeprune.core.errors import DeviceError
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
