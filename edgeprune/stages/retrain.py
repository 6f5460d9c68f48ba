"""Retrain: the shrunk network goes to a training command of the user's own, and what it wrote comes back."""

from __future__ import annotations

import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from edgeprune.core.errors import ModelError, RequestError
from edgeprune.core.files import storage_errors
from edgeprune.core.progress import Progress, Silent
from edgeprune.core.recovery import command_words
from edgeprune.graph.archive.weights import fit
from edgeprune.graph.capture import Program

_LINES = 5
_HINT = "write what it reads: the same names and shapes, as a state dict or with torch.export.save"


def retrain(
    shrunk: Program,
    command: str,
    folder: Path,
    read: Callable[[Path], Mapping[str, Tensor]],
    *,
    progress: Progress | None = None,
) -> Program:
    """The network with the weights that the command wrote; it runs in the current folder, without a shell.

    In `folder` it finds `{model}`, a `.pt2` that loads without the user's class and trains, and `{state}`,
    the same weights as a state dict; it writes `{out}`, one or the other. What it prints is kept in
    `output.txt` there.

    Parameters
    ----------
    read : callable
        The tensors that a file holds, by name; nothing in the file is run.

    Raises
    ------
    RequestError
        The command cannot be started, fails, or writes no file.
    ModelError
        What it wrote cannot be read, has other names or shapes, or numbers that are not finite.
    """
    progress = progress or Silent()
    progress.start("train with your command")
    places = {"model": folder / "model.pt2", "state": folder / "state.pt", "out": folder / "trained.pt2"}
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        places["out"].unlink(missing_ok=True)
        torch.save(dict(shrunk.module.state_dict()), places["state"])
    shrunk.save(places["model"])
    _run([_filled(word, places) for word in command_words(command)], folder / "output.txt")
    if not places["out"].is_file():
        raise RequestError(
            f"--train-command wrote no {places['out']}", hint="it must write the network to {out}"
        )
    trained = _taken(shrunk, read(places["out"]), places["out"])
    progress.finish()
    return trained


def _filled(word: str, places: Mapping[str, Path]) -> str:
    return word.format(**{name: path.resolve() for name, path in places.items()})


def _run(words: list[str], log: Path) -> None:
    with storage_errors(log), log.open("wb") as output:
        try:
            done = subprocess.run(
                words, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, check=False
            )
        except (FileNotFoundError, PermissionError) as error:
            raise RequestError(
                f"--train-command: {words[0]} cannot be started: {(error.strerror or '').lower()}",
                hint="it runs without a shell, in the current folder; name the program as for a shell",
            ) from error
    if done.returncode:
        with log.open(encoding="utf-8", errors="replace") as output:
            last = "".join(deque(output, _LINES)).strip()
        end = f"; its last lines:\n{last}" if last else ", and printed nothing"
        raise RequestError(
            f"--train-command failed with exit code {done.returncode}{end}",
            hint=f"everything it printed is in {log}; the same command line goes on from here",
        )


def _taken(shrunk: Program, given: Mapping[str, Tensor], path: Path) -> Program:
    """The program with the given weights."""
    broken = [name for name, tensor in given.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise ModelError(
            f"{path}: '{broken[0]}' has numbers that are not finite", hint="training diverged: lower its rate"
        )
    try:
        fit(shrunk.module, given, path=path, arch="the shrunk network")
    except ModelError as error:
        raise ModelError(error.message, hint=_HINT) from error
    return shrunk
