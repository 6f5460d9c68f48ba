"""The real command: in a process of its own, as a user runs it, or in this one, which is quicker."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from edgeprune.cli.app import main

ROOT = Path(__file__).parents[1]
EXECUTABLE = Path(sys.executable).with_name("edgeprune")
# Small networks run ten times slower on two threads when something else uses the second core.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """Standard output without the spaces that fill up a table's last column."""
        return "".join(f"{line.rstrip()}\n" for line in self.out.splitlines())

    @property
    def refusal(self) -> tuple[str, str]:
        """Message and hint; nothing else may have been printed."""
        assert not self.out
        error, _, hint = self.err.rpartition("\nhint: ")
        assert error.startswith("error: "), self.err
        return error.removeprefix("error: "), hint.removesuffix("\n")


def run(*arguments: str | Path, cwd: Path = ROOT, **environment: str) -> Answer:
    """The installed command in a new process."""
    done = subprocess.run(
        [EXECUTABLE, *arguments],
        cwd=cwd,
        env={**ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


class Here:
    """The command in this process; torch is imported once for all of them."""

    def __init__(self, capfd: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self._capfd, self._patch = capfd, patch

    def __call__(self, *arguments: str | Path) -> Answer:
        self._patch.setattr(sys, "argv", ["edgeprune", *map(str, arguments)])
        self._capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        printed = self._capfd.readouterr()
        assert isinstance(stop.value.code, int)
        return Answer(stop.value.code, printed.out, printed.err)
