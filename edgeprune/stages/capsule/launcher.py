"""Launcher: the script `py` that starts a capsule's Python from whatever folder it was copied to."""

from __future__ import annotations

from pathlib import Path

_SCRIPT = """#!/bin/sh
# sh py SCRIPT ARGUMENTS...: Python with its own loader and libraries; only the kernel is the device's.
case "$0" in */*) here="${0%/*}" ;; *) here=. ;; esac
here="$(cd "$here" && pwd)" || exit 127
unset LD_PRELOAD LD_LIBRARY_PATH PYTHONSTARTUP
export EDGEPRUNE_CAPSULE="$here" PYTHONHOME="$here" PYTHONPATH="$here/site" PYTHONNOUSERSITE=1 PYTHONUTF8=1
# The folder stays as it was checked: compiled modules go elsewhere or nowhere.
[ -n "$PYTHONPYCACHEPREFIX" ] || export PYTHONDONTWRITEBYTECODE=1
exec "$here/lib/LOADER" --library-path "$here/lib" "$here/bin/pythonVERSION" "$@"
"""


def write_launcher(folder: Path, loader: str, python: str) -> None:
    """Write `py` for a loader of glibc and a version of Python."""
    path = folder / "py"
    path.write_text(_SCRIPT.replace("LOADER", loader).replace("VERSION", python), encoding="utf-8")
    path.chmod(0o755)
