"""Pin: write down which Debian packages and wheels capsules and boards are made from, with their hashes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import get_args

from edgeprune.core.capsule import Arch, CapsuleRuntime
from edgeprune.core.errors import RequestError
from edgeprune.core.glibc import GlibcNeeds, glibc_needs
from edgeprune.core.packages.debian import pin_debian
from edgeprune.core.packages.lock import Collection, PackageLock, Pin
from edgeprune.core.packages.wheels import pin_wheels, unpack_wheels
from edgeprune.core.progress import Progress, Silent

PYTHON = "3.11"
"""The newest Python for which tflite-runtime has wheels, and Debian 12's own."""

_PYTHON_AND_LIBRARIES = """python3.11-minimal libpython3.11-minimal libpython3.11-stdlib libc6 libstdc++6
libgcc-s1 zlib1g libexpat1 libffi8 libssl3 libbz2-1.0 liblzma5 libuuid1""".split()
# numpy has no wheel for 32-bit Arm; Debian's needs a BLAS, and the reference one is the smallest.
_NUMPY_ARMHF = "python3-numpy libblas3 liblapack3 libgfortran5".split()
_BOARD = """python3 bash dash coreutils procps grep sed findutils tar gzip util-linux openssh-sftp-server
libstdc++6""".split()

# The same versions as on this machine, so that answers can be compared to the bit (constraints.txt).
_RUNTIMES: dict[CapsuleRuntime, tuple[str, ...]] = {
    "litert": ("ai-edge-litert==2.3.0", "numpy==2.4.6"),
    "onnxruntime": ("onnxruntime==1.32.0", "numpy==2.4.6"),
    "tflite-runtime": ("tflite-runtime==2.14.0", "numpy==1.26.4"),
}


def pin(progress: Progress | None = None) -> PackageLock:
    """Everything as it can be had today; all packages are in the cache then.

    Raises
    ------
    RequestError
        No network, or this machine's sources are not those of Debian 12.
    """
    progress = progress or Silent()
    debian: dict[Arch, dict[Collection, tuple[Pin, ...]]] = {}
    wheels: dict[Arch, dict[CapsuleRuntime, tuple[Pin, ...]]] = {}
    progress.start("pin packages", len(get_args(Arch)))
    for arch in get_args(Arch):
        debian[arch] = _debian(arch)
        wheels[arch] = {
            runtime: pin_wheels(requirements, arch, PYTHON)
            for runtime, requirements in _requirements(arch).items()
        }
        progress.advance()
    progress.finish()
    return PackageLock(python=PYTHON, debian=debian, wheels=wheels, needs=needs(wheels))


def needs(
    wheels: Mapping[Arch, Mapping[CapsuleRuntime, Sequence[Pin]]],
) -> dict[Arch, dict[CapsuleRuntime, GlibcNeeds]]:
    """What the shared objects of wheels in the cache ask for."""
    return {
        arch: {runtime: _needed(pins) for runtime, pins in runtimes.items()}
        for arch, runtimes in wheels.items()
    }


def _needed(pins: Sequence[Pin]) -> GlibcNeeds:
    with TemporaryDirectory(prefix="edgeprune-wheels-") as folder:
        unpack_wheels(pins, Path(folder))
        return glibc_needs(Path(folder))


def _debian(arch: Arch) -> dict[Collection, tuple[Pin, ...]]:
    names = [*_PYTHON_AND_LIBRARIES, *(_NUMPY_ARMHF if arch == "armhf" else [])]
    try:
        found: dict[Collection, tuple[Pin, ...]] = {
            "capsule": pin_debian(names, arch, with_dependencies=False)
        }
        if arch == "aarch64":
            found["board"] = pin_debian(_BOARD, arch, with_dependencies=True)
    except RequestError as error:
        raise RequestError(
            error.message, hint=f"capsules carry Python {PYTHON}: this machine needs Debian 12's sources"
        ) from error
    return found


def _requirements(arch: Arch) -> dict[CapsuleRuntime, tuple[str, ...]]:
    if arch == "armhf":
        return {"tflite-runtime": ("tflite-runtime==2.14.0",)}
    return _RUNTIMES
