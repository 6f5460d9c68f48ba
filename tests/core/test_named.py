"""The user's own functions are found in files and modules, and may import their neighbours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgeprune.core import named


def test_a_file_is_run_as_a_module_of_its_own(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.py").write_text(f"def make():\n    return {name!r}\n")
    made = []
    for name in ("one", "two"):
        function = named.find_function(named.run_file(tmp_path / name / "model.py"), "make")
        assert function is not None
        made.append(function())
    assert made == ["one", "two"]


def test_what_cannot_be_called_is_no_function(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("make = 3\n")
    module = named.run_file(tmp_path / "model.py")
    assert named.find_function(module, "make") is None
    assert named.find_function(module, "made") is None


def test_neighbours_can_be_imported_while_it_runs(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_test_named.py").write_text("width = 7\n")
    (tmp_path / "model.py").write_text("from neighbour_of_test_named import width\n")
    before = list(sys.path)
    with named.importable("model.py", tmp_path):
        module = named.run_file(named.file_of("model.py", tmp_path))
    assert module.width == 7
    assert sys.path == before


def test_errors_of_the_users_code_pass_through(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("1 // 0\n")
    with pytest.raises(ZeroDivisionError):
        named.run_file(tmp_path / "model.py")
