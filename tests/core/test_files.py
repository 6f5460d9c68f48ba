"""A file is whole or absent, and a disk that refuses is named with the way out."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from core.namespaces import run_mounted
from edgeprune.core.errors import StorageError
from edgeprune.core.files import sha256, storage_errors, write_text, written_whole

WRITING = """\
import sys
from pathlib import Path
from edgeprune.core.errors import StorageError
from edgeprune.core.files import write_text

folder = Path(sys.argv[1])
try:
    write_text(folder / "big.txt", "x" * 2_000_000)
except StorageError as error:
    print(error.message, error.hint, error.exit_code, list(folder.iterdir()), sep="\\n")
"""


def write_half(path: Path) -> None:
    """A writer that the user interrupts."""
    with written_whole(path) as scratch:
        scratch.write_text("half")
        raise KeyboardInterrupt


def test_a_file_is_written_with_the_folders_it_needs(tmp_path: Path) -> None:
    write_text(tmp_path / "a" / "b.txt", "häuser")
    assert (tmp_path / "a" / "b.txt").read_text(encoding="utf-8") == "häuser"
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.txt"]


@pytest.mark.parametrize("before", [None, "the old text"])
def test_an_interruption_leaves_what_was_there_and_nothing_else(tmp_path: Path, before: str | None) -> None:
    path = tmp_path / "a.txt"
    if before is not None:
        path.write_text(before)
    with pytest.raises(KeyboardInterrupt):
        write_half(path)
    assert [one.name for one in tmp_path.iterdir()] == ([] if before is None else ["a.txt"])
    assert before is None or path.read_text() == before


def test_side_files_and_folders_of_a_writer_are_removed(tmp_path: Path) -> None:
    with written_whole(tmp_path / "model.onnx") as scratch:
        scratch.write_bytes(b"model")
        (scratch.parent / "model.onnx.data").write_bytes(b"more")
        (scratch.parent / "cache" / "deep").mkdir(parents=True)
    assert [one.name for one in tmp_path.iterdir()] == ["model.onnx"]


def test_a_full_disk_is_an_error_with_a_hint_and_leaves_nothing(tmp_path: Path) -> None:
    assert run_mounted(tmp_path, "size=1m", WRITING).splitlines() == [
        f"{tmp_path}/big.txt: the disk is full",
        "free some space or choose another folder with --out; finished stages are kept",
        "2",
        "[]",
    ]


def test_a_read_only_disk_is_an_error_with_a_hint(tmp_path: Path) -> None:
    assert run_mounted(tmp_path, "ro", WRITING).splitlines() == [
        f"{tmp_path}/big.txt: cannot be written (read-only file system)",
        "choose another folder with --out",
        "2",
        "[]",
    ]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError) as caught:
        write_text(tmp_path / "a.txt", "")
    assert caught.value.message == f"{tmp_path}/a.txt: cannot be written (permission denied)"


def test_a_file_where_a_folder_should_be_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    with pytest.raises(StorageError) as caught:
        write_text(tmp_path / "runs" / "a" / "b.txt", "")
    assert caught.value.message == f"{tmp_path}/runs/a/b.txt: cannot be written (not a directory)"


def test_other_errors_of_the_system_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output error") as caught, storage_errors(tmp_path):
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    assert not isinstance(caught.value, StorageError)


def test_the_hash_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc" * 100_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"abc" * 100_000).hexdigest()
