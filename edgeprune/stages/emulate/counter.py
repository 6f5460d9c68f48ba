"""Counter: the plug-in that counts instructions, compiled here when it is first needed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edgeprune.core.emulation import Instructions
from edgeprune.core.errors import DeviceError
from edgeprune.core.files import sha256, written_whole
from edgeprune.core.packages.store import cache_folder
from edgeprune.core.qemu import HOW_TO_GET, Qemu

_SOURCE = Path(__file__).with_name("counter.c")


def uncounted(qemu: Qemu) -> str:
    """Why this machine cannot count instructions; '' where it can."""
    if not qemu.plugins:
        return f"{qemu.path} {qemu.version} loads no plug-ins; {HOW_TO_GET}"
    if _compiler() is None:
        return "no C compiler for the counting plug-in; on Debian or Ubuntu: apt-get install gcc libc6-dev"
    return ""


def compiled_counter() -> Path:
    """The plug-in, in the cache; compiled again whenever its source changes."""
    plugin = cache_folder() / "counter" / f"{sha256(_SOURCE)[:16]}.so"
    if plugin.is_file():
        return plugin
    with written_whole(plugin) as scratch:
        command = [_compiler() or "cc", "-O2", "-fPIC", "-shared", "-o", str(scratch), str(_SOURCE)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            raise DeviceError(
                f"{_SOURCE.name} does not compile: {done.stderr.strip().splitlines()[-1]}",
                hint="install the C library's headers: apt-get install libc6-dev",
            )
    return plugin


def read_counts(path: Path) -> Instructions:
    """What the plug-in wrote: a line per inference, of which the first is left out.

    The cheapest inference counts: what Python does beside it (memory, other threads) only adds.
    """
    rows = [[int(word) for word in line.split()] for line in path.read_text().splitlines()[1:]]
    cheapest = min(rows, key=lambda row: row[-1])
    return Instructions(
        float_multiply_add=cheapest[0],
        dot_product=cheapest[1],
        integer_multiply_add=cheapest[2],
        load_store=cheapest[3],
        branch=cheapest[4],
        total=cheapest[5],
        totals=tuple(row[-1] for row in rows),
    )


def _compiler() -> str | None:
    return shutil.which("gcc") or shutil.which("cc")
