"""Root: the file system of an emulated board, unpacked from pinned Debian packages, once for all boards."""

from __future__ import annotations

import hashlib
from pathlib import Path

from edgeprune.core.files import written_whole
from edgeprune.core.packages.debian import fetch_debian, unpack_debian
from edgeprune.core.packages.lock import find_lock
from edgeprune.core.packages.store import cache_folder

USER, HOME = "pi", "/home/pi"
_ACCOUNTS = f"root:x:0:0:root:/root:/bin/bash\n{USER}:x:1000:1000::{HOME}:/bin/bash\n"
_GROUPS = f"root:x:0:\n{USER}:x:1000:\n"


def kept_root() -> Path:
    """The file system in the cache; made when it is not there yet.

    Raises
    ------
    RequestError
        The packages cannot be had.
    """
    pins = find_lock().debian["aarch64"]["board"]
    digest = hashlib.sha256("".join(pin.sha256 for pin in pins).encode())
    digest.update(Path(__file__).read_bytes())
    root = cache_folder() / "boards" / f"debian-aarch64-{digest.hexdigest()[:16]}"
    if not root.is_dir():
        fetch_debian(pins, "aarch64")
        with written_whole(root) as scratch:
            unpack_debian(pins, scratch)
            _complete(scratch)
    return root


def _complete(root: Path) -> None:
    """What packages make only while they are installed: the shell's name, users, empty folders."""
    shell = root / "bin/sh"
    shell.unlink(missing_ok=True)
    shell.symlink_to("dash")
    for name in ("proc", "sys", "dev", "tmp", "var/tmp", "root", "opt", HOME.lstrip("/")):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "etc/passwd").write_text(_ACCOUNTS)
    (root / "etc/group").write_text(_GROUPS)
