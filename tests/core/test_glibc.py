"""Which Python a device should use is decided by what shared objects ask for, and said with the reason."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from edgeprune.core.elf import elf_needs
from edgeprune.core.glibc import GlibcNeeds, choose_python, glibc_needs, parse_version

NEEDS = GlibcNeeds((2, 34), "libLiteRt.so", (3, 4, 30), "libLiteRt.so")


def test_an_old_glibc_needs_a_capsule() -> None:
    choice = choose_python(NEEDS, glibc=(2, 31), python=(3, 11))
    assert choice.python == "capsule"
    assert choice.why == "libLiteRt.so needs glibc 2.34, the device has 2.31"


def test_an_old_libstdcxx_needs_a_capsule() -> None:
    choice = choose_python(NEEDS, glibc=(2, 35), glibcxx=(3, 4, 28), python=(3, 11))
    assert choice.why == "libLiteRt.so needs GLIBCXX_3.4.30 (GCC 12), the device has 3.4.28"


def test_another_python_needs_a_capsule() -> None:
    choice = choose_python(NEEDS, glibc=(2, 41), python=(3, 13))
    assert choice.why == "the wheels are for Python 3.11, the device has Python 3.13"


def test_a_device_without_python_needs_a_capsule() -> None:
    choice = choose_python(NEEDS, glibc=(2, 41), python=None)
    assert choice.why == "the wheels are for Python 3.11, the device has no Python"


def test_android_needs_a_capsule() -> None:
    choice = choose_python(NEEDS, glibc=None, python=None)
    assert choice.why == "the device has no glibc, so no published wheel loads there"


def test_a_new_enough_system_may_use_its_own_python() -> None:
    choice = choose_python(NEEDS, glibc=(2, 36), glibcxx=(3, 4, 30), python=(3, 11, 2))
    assert choice.python == "own"
    assert choice.why == "glibc 2.36 has the 2.34 that libLiteRt.so needs, and Python is 3.11.2"


@pytest.mark.parametrize(
    ("text", "version"), [("2.36", (2, 36)), ("2.31-13+deb11", (2,)), (" 3.4.30\n", (3, 4, 30)), ("", ())]
)
def test_a_version_ends_where_numbers_end(text: str, version: tuple[int, ...]) -> None:
    assert parse_version(text) == version


def test_a_shared_object_says_what_it_needs() -> None:
    package = importlib.util.find_spec("onnxruntime")
    assert package is not None
    assert package.origin is not None
    needs = glibc_needs(Path(package.origin).parent)
    assert needs.glibc > (2, 17)
    assert needs.glibc_file.startswith(("libonnxruntime", "onnxruntime_pybind11_state"))
    assert needs.glibcxx >= (3, 4)


def test_what_is_no_elf_file_needs_nothing(tmp_path: Path) -> None:
    for content in (b"", b"#!/bin/sh\n", b"\x7fELF", b"\x7fELF" + bytes(60)):
        (tmp_path / "file.so").write_bytes(content)
        assert elf_needs(tmp_path / "file.so") is None
    assert glibc_needs(tmp_path) == GlibcNeeds()
