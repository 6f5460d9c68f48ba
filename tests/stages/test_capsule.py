"""A capsule is made of pinned packages, alike every time, and runs with nothing of the system around it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from packages import capsule

from edgeprune.core.capsule import Arch, Capsule
from edgeprune.core.errors import RequestError, StorageError
from edgeprune.core.glibc import glibc_needs
from edgeprune.core.packages.debian import fetch_debian
from edgeprune.core.packages.lock import Pin, find_lock
from edgeprune.core.packages.store import cache_folder
from edgeprune.core.packages.wheels import fetch_wheels
from edgeprune.stages.capsule.build import build, kept_capsule
from edgeprune.stages.capsule.tarball import tar_digest
from edgeprune.stages.capsule.trim import copy_runtime

TELLS = """import numpy, platform, sys
from tflite_runtime.interpreter import Interpreter
print(platform.machine(), platform.libc_ver()[1], numpy.ones(3).sum(), sys.argv[1:])"""
NOWHERE = "edgeprune-no-such-package"


# What needs no package


def test_a_folder_has_one_digest_whenever_it_is_written(tmp_path: Path) -> None:
    digests = []
    for name, order in (("a", "xyz"), ("b", "zyx")):
        (tmp_path / name / "sub").mkdir(parents=True)
        for file in order:
            (tmp_path / name / "sub" / file).write_text(file)
        digests.append(tar_digest(tmp_path / name))
    assert digests[0] == digests[1]
    (tmp_path / "b/sub/x").chmod(0o755)
    assert tar_digest(tmp_path / "b") != digests[0]


def test_links_that_lead_out_of_a_package_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "site/tests").mkdir(parents=True)
    (tmp_path / "site/own.py").write_text("")
    (tmp_path / "site/alias.py").symlink_to("own.py")
    (tmp_path / "site/stolen.py").symlink_to("/etc/passwd")
    copy_runtime(tmp_path / "site", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["alias.py", "own.py"]


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError) as caught:
        build("litert", "aarch64", find_lock(), tmp_path)
    assert caught.value.message == f"{tmp_path} exists"


# What needs the mirrors or the cache


@pytest.mark.emulated
def test_a_capsule_runs_without_an_environment(tmp_path: Path) -> None:
    folder = tmp_path / "a capsule"
    shutil.copytree(capsule("tflite-runtime", "x86_64"), folder)
    command = ["env", "-i", "sh", folder / "py", "-c", TELLS, "two words"]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == "x86_64 2.36 3.0 ['two words']\n"
    assert tar_digest_without_description(folder) == Capsule.load(folder / "capsule.json").sha256


def tar_digest_without_description(folder: Path) -> str:
    (folder / "capsule.json").rename(folder.parent / "capsule.json")
    digest = tar_digest(folder)
    (folder.parent / "capsule.json").rename(folder / "capsule.json")
    return digest


@pytest.mark.emulated
def test_a_capsule_is_the_same_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Capsule.load(capsule("tflite-runtime", "armhf") / "capsule.json")
    packages = cache_folder() / "packages"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    (tmp_path / "edgeprune").mkdir()
    (tmp_path / "edgeprune/packages").symlink_to(packages)
    again = kept_capsule("tflite-runtime", "armhf", find_lock())
    assert again.is_relative_to(tmp_path)
    assert Capsule.load(again / "capsule.json") == first


@pytest.mark.emulated
def test_a_capsule_of_32_bit_arm_runs() -> None:
    qemu = shutil.which("qemu-arm-static") or shutil.which("qemu-arm")
    if qemu is None:
        pytest.skip("no qemu-arm; Debian: apt-get install qemu-user-static")
    folder = capsule("tflite-runtime", "armhf")
    loader = [folder / "lib/ld-linux-armhf.so.3", "--library-path", folder / "lib", folder / "bin/python3.11"]
    environment = {"PYTHONHOME": str(folder), "PYTHONPATH": str(folder / "site")}
    command = [qemu, "-L", "/nonexistent", *loader, "-B", "-c", TELLS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "armv7l 2.36 3.0 []\n"


@pytest.mark.emulated
@pytest.mark.parametrize(("arch", "glibc"), [("aarch64", (2, 34)), ("x86_64", (2, 27))])
def test_litert_for_arm_needs_a_newer_glibc_than_its_wheel_says(arch: Arch, glibc: tuple[int, ...]) -> None:
    (wheel,) = [pin for pin in find_lock().wheels[arch]["litert"] if pin.name == "ai-edge-litert"]
    assert "manylinux_2_27" in wheel.file
    assert glibc_needs(capsule("litert", arch) / "site/ai_edge_litert").glibc == glibc


@pytest.mark.emulated
def test_a_package_that_debian_has_no_more_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get: this is no Debian")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RequestError) as caught:
        fetch_debian([Pin(name=NOWHERE, version="1", file="a.deb", sha256="0" * 64)], "aarch64")
    assert caught.value.message == (
        f"apt-get cannot fetch or unpack 1 packages: Unable to locate package {NOWHERE}"
    )
    assert "`edgeprune capsule lock` pins what is there now" in caught.value.hint


@pytest.mark.emulated
def test_a_wheel_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(RequestError) as caught:
        fetch_wheels([Pin(name=NOWHERE, version="1", file="a.whl", sha256="0" * 64)], "aarch64", "3.11")
    assert caught.value.message == (
        f"pip cannot fetch {NOWHERE}==1 for aarch64: No matching distribution found for {NOWHERE}==1"
    )
