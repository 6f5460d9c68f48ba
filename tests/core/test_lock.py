"""The lock pins what capsules and boards are made from, in the versions that this project is tested with."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from command import ROOT

from edgeprune.core.capsule import check_pair
from edgeprune.core.errors import RequestError
from edgeprune.core.glibc import choose_python
from edgeprune.core.packages.lock import PackageLock, Pin, find_lock, own_lock
from edgeprune.core.packages.store import keep, kept, missing

PIN = Pin(name="a", version="1", file="a.whl", sha256="0" * 64)


def test_capsules_carry_the_versions_that_answers_are_compared_with() -> None:
    tested = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), re.M))
    for runtimes in find_lock().wheels.values():
        for runtime, name in (("litert", "ai-edge-litert"), ("onnxruntime", "onnxruntime")):
            pins = {pin.name: pin.version for pin in runtimes.get(runtime, ())}
            assert pins.get(name, tested[name]) == tested[name]


def test_every_architecture_has_a_system_and_a_runtime() -> None:
    lock = find_lock()
    assert set(lock.debian) == set(lock.wheels) == {"aarch64", "armhf", "x86_64"}
    assert all(collections["capsule"] for collections in lock.debian.values())
    assert all(pins for runtimes in lock.wheels.values() for pins in runtimes.values())


def test_a_lock_of_ones_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    PackageLock(python="3.11", debian={}, wheels={}, needs={}).save(own_lock())
    assert find_lock().wheels == {}
    assert own_lock() == tmp_path / "edgeprune/capsule.lock.json"


def test_32_bit_arm_has_one_runtime() -> None:
    check_pair("tflite-runtime", "armhf")
    with pytest.raises(RequestError) as caught:
        check_pair("litert", "armhf")
    assert caught.value.message == (
        "no capsule of litert for armhf: its makers publish no wheel for 32-bit Arm"
    )


def test_a_package_with_other_bytes_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "a.whl").write_bytes(b"other")
    with pytest.raises(RequestError) as caught:
        keep(tmp_path / "a.whl", PIN)
    assert caught.value.message.startswith("a.whl: its SHA-256 is d9298a10")
    assert missing([PIN]) == [PIN]
    assert not kept(PIN).exists()


def test_the_lock_says_what_a_devices_own_python_would_need() -> None:
    needs = find_lock().needs["aarch64"]["litert"]
    assert choose_python(needs, glibc=(2, 31), python=(3, 11)).why == (
        f"{needs.glibc_file} needs glibc 2.34, the device has 2.31"
    )
    assert choose_python(needs, glibc=(2, 36), glibcxx=(3, 4, 30), python=(3, 11)).python == "own"
