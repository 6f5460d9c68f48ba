"""An emulated phone behind a real adbd: both run on aarch64, in a root that has no /lib and no /usr.

It is not Android: no bionic, no SELinux, no properties service; the shell is Android's mksh.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from boards import ADBD_PACKAGES, CACHE, Phone, adbd, unpack_backports

from edgeprune.core.board import find_board, write_board
from edgeprune.core.errors import DeviceError
from edgeprune.core.qemu import find_static_qemu

LIBRARIES = """libc6 libstdc++6 libgcc-s1 libbrotli1 liblz4-1 libzstd1 zlib1g libprotobuf32 libbsd0 libmd0
libcap2 libsystemd0 libgcrypt20 libgpg-error0 liblzma5 mksh busybox-static""".split()
APPLETS = """cat head tail wc mv rm mkdir rmdir mktemp cp ls ln chmod tar sha256sum printf echo sleep uname id
kill pwd test true false env df du stat date grep sed cut tr sort find xargs dd seq nproc readlink touch
ps""".split()
GETPROP = """#!/system/bin/sh
case "$1" in
  ro.product.model) echo "Emulated phone" ;;
  ro.product.cpu.abi) echo arm64-v8a ;;
  ro.build.version.release) echo 14 ;;
esac
"""
# The same steps as an emulated board's start.sh, without a disk of its own: tests may write into this root.
SETUP = """
mount -t binfmt_misc binfmt_misc /proc/sys/fs/binfmt_misc
printf '%s' ':phone:M::\\x7fELF\\x02\\x01\\x01\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x02\\x00\\xb7\\x00:\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\x00\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xff\\xfe\\xff\\xff\\xff:{qemu}:OCF' > /proc/sys/fs/binfmt_misc/register
mount -t proc proc {root}/proc
for file in cpuinfo meminfo; do mount --bind {says}/proc/$file {root}/proc/$file; done
mount --bind {says}/sys {root}/sys
mount --rbind /dev {root}/dev
"""  # noqa: E501 - one line for the kernel
ADBD = (
    "env -i QEMU_CPU={processor} PATH=/system/bin:/bin SHELL=/bin/sh HOME=/ TMPDIR=/data/local/tmp "
    "ADBD_PORT=6666 "
    "{chroot} {root} /opt/adbd/ld-linux-aarch64.so.1 --library-path /opt/adbd /opt/adbd/adbd"
)


@contextmanager
def emulated_phone(folder: Path) -> Iterator[Phone]:
    """A phone that keeps what is written to it as long as this lasts."""
    try:
        qemu = find_static_qemu()
    except DeviceError as error:
        pytest.skip(f"{error.message}; {error.hint}")
    board = find_board("phone")
    root = folder / "root"
    shutil.copytree(phone_root(), root, symlinks=True)
    write_board(board, folder / "says")
    chroot = shutil.which("chroot") or "/usr/sbin/chroot"
    start = ADBD.format(processor=board.processor, chroot=chroot, root=root)
    setup = SETUP.format(qemu=qemu.path, root=root, says=folder / "says")
    with adbd(folder, start, setup) as phone:
        yield phone


def phone_root() -> Path:
    """The phone's file system, made of Debian's arm64 packages; fetched once where apt can."""
    root = CACHE / "phone"
    if not (root / "system").is_dir():
        sources = Path("/etc/apt/sources.list.d/debian.sources")
        unpacked = CACHE / "phone-unpacked"
        try:
            unpack_backports(unpacked, sources.read_text(), ADBD_PACKAGES.split(), LIBRARIES, "arm64")
            _assemble(unpacked, root)
        except (OSError, subprocess.SubprocessError, IndexError, StopIteration) as error:
            shutil.rmtree(root, ignore_errors=True)
            pytest.skip(f"no aarch64 adbd, and Debian's packages cannot be fetched: {error}")
    return root


def _assemble(unpacked: Path, root: Path) -> None:
    for name in ("opt/adbd", "bin", "data/local/tmp", "proc", "sys", "dev"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for path in unpacked.rglob("*.so*"):
        # Links of the packages that lead to the root would lead into this machine.
        inside = path.is_file() and path.resolve().is_relative_to(unpacked.resolve())
        if inside and path.parent.name != "gconv":
            shutil.copy(path, root / "opt/adbd" / path.name)
    shutil.copy(unpacked / "usr/lib/android-sdk/platform-tools/adbd", root / "opt/adbd/adbd")
    (root / "system/bin").mkdir(parents=True)
    shutil.copy(next(unpacked.glob("usr/lib/*-musl/bin/mksh")), root / "system/bin/sh")
    shutil.copy(unpacked / "bin/busybox", root / "system/bin/busybox")
    for name in APPLETS:
        (root / "system/bin" / name).symlink_to("busybox")
    (root / "system/bin/getprop").write_text(GETPROP)
    (root / "system/bin/getprop").chmod(0o755)
    (root / "bin/sh").symlink_to("/system/bin/sh")
