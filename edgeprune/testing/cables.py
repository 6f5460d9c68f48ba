"""Cables: a shell with one answer, and what every transport must do."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from edgeprune.core.completed import Completed
from edgeprune.core.errors import DeviceError
from edgeprune.core.protocols import Link, Transport


@dataclass
class FakeShell:
    """Gives one answer to every command, and keeps the commands."""

    text: str = ""
    exit_code: int = 0
    commands: list[tuple[str, ...]] = field(default_factory=list)

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        """The answer that it was made with."""
        self.commands.append(tuple(command))
        return Completed(tuple(command), self.exit_code, self.text.encode(), b"", 0.0)


AWKWARD = (
    "two words",
    "it's",
    'a "b"',
    "$HOME `id` $(id)",
    "line\nbreak",
    "*?[a]",
    "-n",
    "\\n",
    "",
    "ä",
    ";&|<>#!~",
)
"""Words that a careless quotation takes apart."""


def check_transport(transport: Transport, folder: Path) -> None:
    """Every transport runs commands word for word, ends what takes too long, and moves files whole.

    `folder` is an empty folder of this machine. About six seconds, most of them waiting.
    """
    with transport.connect() as link:
        _check_shell(link)
        _check_timeout(link)
        _check_files(link, folder)
        first = link.scratch
    try:
        with transport.connect() as link:
            assert link.scratch != first, "two links share a scratch folder"
            assert not _exists(link, first), "the scratch folder stays behind"
            second = link.scratch
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    with transport.connect() as link:
        assert not _exists(link, second), "the scratch folder stays behind after Ctrl-C"


def _check_shell(link: Link) -> None:
    run = link.shell.run
    done = run(["printf", "%s|", *AWKWARD], timeout=20)
    assert done.text() == "".join(f"{word}|" for word in AWKWARD)
    assert done.command == ("printf", "%s|", *AWKWARD)
    every_byte = bytes(range(256)) * 1000
    assert run(["cat"], timeout=20, stdin=every_byte).stdout == every_byte
    assert run(["cat"], timeout=20).stdout == b""
    failed = run(["sh", "-c", "echo out; echo err >&2; exit 7"], timeout=20)
    assert (failed.exit_code, failed.stdout, failed.stderr) == (7, b"out\n", b"err\n")
    assert run(["no-such-program"], timeout=20).exit_code == 127
    awkward = link.scratch / "a b'c\nd"
    assert run(["mkdir", str(awkward)], timeout=20).exit_code == 0
    assert run(["pwd"], timeout=20, cwd=awkward).text() == f"{awkward}\n"


def _check_timeout(link: Link) -> None:
    mark = link.scratch / "process"
    started = time.monotonic()
    slow = ["sh", "-c", 'sleep 60 & echo $$ $! > "$1"; wait', "sh", str(mark)]
    assert "after 1 s" in _refusal(lambda: link.shell.run(slow, timeout=1))
    assert time.monotonic() - started < 20
    # What has ended may be listed as a zombie until somebody asks for its exit code.
    alive = (
        'for one in $(cat "$1"); do kill -0 $one 2>/dev/null && '
        "! grep -qs '^State:.*Z' /proc/$one/status && echo $one; done; true"
    )
    found = link.shell.run(["sh", "-c", alive, "sh", str(mark)], timeout=20)
    assert found.text() == "", "what took too long runs on, or what it started"


def _check_files(link: Link, folder: Path) -> None:
    content = np.random.default_rng(0).integers(0, 256, 5 << 20, dtype=np.uint8).tobytes()
    for name, bytes_ in (("it's a\n$file", content), ("empty", b"")):
        (folder / name).write_bytes(bytes_)
        there = link.scratch / "deep er" / name
        link.files.push(folder / name, there)
        link.files.pull(there, folder / f"{name}.back")
        assert (folder / f"{name}.back").read_bytes() == bytes_
    tree = folder / "tree"
    (tree / "inner").mkdir(parents=True)
    (tree / "inner" / "leaf").write_text("leaf")
    for _ in range(2):  # a folder that is there already is replaced
        link.files.push(tree, link.scratch / "tree")
    listed = link.shell.run(["find", ".", "-type", "f"], timeout=20, cwd=link.scratch / "tree")
    assert listed.text() == "./inner/leaf\n"
    left = link.shell.run(["find", str(link.scratch), "-name", "*.part"], timeout=20)
    assert left.text() == "", "half-written files stay behind"
    assert _refusal(lambda: link.files.pull(link.scratch / "nothing", folder / "nothing"))
    assert not (folder / "nothing").exists()


def _refusal(ask: Callable[[], object]) -> str:
    try:
        ask()
    except DeviceError as error:
        return error.message
    raise AssertionError("no DeviceError")


def _exists(link: Link, path: PurePosixPath) -> bool:
    return link.shell.run(["test", "-e", str(path)], timeout=20).exit_code == 0
