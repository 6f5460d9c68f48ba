"""Functions of the user's own, named as `package.module:name` or `path/to/file.py:name`.

Errors of the user's code pass through as they are: whoever asked for the function knows what it was for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any


@contextmanager
def importable(place: str, base: Path) -> Iterator[None]:
    """Let the code at `place` import its neighbours, as it could under `python`."""
    entry = str((file_of(place, base).parent if is_file(place) else base).resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def is_file(place: str) -> bool:
    """Whether the part before the colon names a file, not a module."""
    return place.endswith(".py")


def file_of(place: str, base: Path) -> Path:
    """The file a place names; relative ones start at `base`."""
    return base / Path(place).expanduser()


def run_file(file: Path) -> ModuleType:
    """Run a Python file as a module of its own: two files called model.py must not be taken for one."""
    name = f"edgeprune-file:{file.resolve()}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, "a .py file always has a loader"
    assert spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up there
    spec.loader.exec_module(module)
    return module


def find_function(module: ModuleType, name: str) -> Callable[..., Any] | None:
    """The function or class of that name, None where there is none."""
    found = getattr(module, name, None)
    return found if callable(found) else None
