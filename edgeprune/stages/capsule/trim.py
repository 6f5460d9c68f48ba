"""Trim: copy the standard library and a runtime without what inference never opens."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path

_STANDARD_LIBRARY = frozenset(
    """test tests idlelib tkinter lib2to3 ensurepip turtledemo turtle.py distutils pydoc_data __pycache__
    curses dbm sqlite3 wsgiref xmlrpc venv sitecustomize.py""".split()
)
# numpy loads f2py, distutils and testing on request only; tools make models, vendors are accelerators.
_RUNTIME = frozenset(
    """tests __pycache__ f2py distutils doc include _pyinstaller datasets transformers tools quantization
    vendors libLiteRtWebGpuAccelerator.so""".split()
)
_SUFFIXES = frozenset({".pyc", ".pyi", ".a", ".h", ".c", ".pxd"})


def copy_standard_library(system: Path, folder: Path, python: str) -> None:
    """The interpreter to `bin`, its modules to `lib/pythonX.Y`."""
    (folder / "bin").mkdir(parents=True)
    shutil.copyfile(system / f"usr/bin/python{python}", folder / f"bin/python{python}")
    (folder / f"bin/python{python}").chmod(0o755)
    _copy(system / f"usr/lib/python{python}", folder / f"lib/python{python}", _STANDARD_LIBRARY)


def copy_runtime(site: Path, folder: Path) -> None:
    """Site-packages of the runtime and of numpy."""
    if site.is_dir():
        _copy(site, folder, _RUNTIME)


def _copy(source: Path, target: Path, left_out: Collection[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.name in left_out or path.suffix in _SUFFIXES or path.name.startswith("config-"):
            continue
        # An absolute link of the other system would lead to a file of this one.
        if path.is_symlink() and path.readlink().is_absolute():
            continue
        if path.is_dir():
            _copy(path, target / path.name, left_out)
        elif path.is_file():
            shutil.copyfile(path, target / path.name)
