"""Checkpoints: training as it stood after its last finished epoch, kept for one question only."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from edgeprune.core.errors import StorageError
from edgeprune.core.files import written_whole
from edgeprune.graph.capture import Program


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """Everything that the next epoch depends on; order and augmentation follow from the seed."""

    epochs: int
    """How many are finished."""
    weights: dict[str, Tensor]
    averages: dict[str, Tensor]
    momenta: list[Tensor]
    """Of the trained parameters, in the graph's order."""


class Checkpoint:
    """A file that holds the state after the last finished epoch, or nothing.

    `question` is a hash of all that decides the course of training; a state of another question is not
    looked at.
    """

    def __init__(self, path: Path, question: str) -> None:
        self._path, self._question = path, question

    def save(self, state: State) -> None:
        """Write the state over the previous one, whole or not at all."""
        buffer = io.BytesIO()
        held = {
            "question": self._question,
            "epochs": state.epochs,
            "weights": state.weights,
            "averages": state.averages,
            "momenta": state.momenta,
        }
        torch.save(held, buffer)
        with written_whole(self._path) as scratch:
            scratch.write_bytes(buffer.getbuffer())

    def load(self) -> State | None:
        """The state to go on with, if there is one for this question.

        Raises
        ------
        StorageError
            The file is damaged.
        """
        if not self._path.is_file():
            return None
        try:
            held = torch.load(self._path, map_location="cpu", weights_only=True)
            if held["question"] != self._question:
                return None
            return State(held["epochs"], held["weights"], held["averages"], held["momenta"])
        except Exception as error:  # what a damaged file makes torch raise is not documented
            raise StorageError(
                f"{self._path}: the checkpoint of the last epoch is damaged",
                hint="delete it, and training starts again from the refitted network",
            ) from error


def question_of(start: Program, *settings: object) -> str:
    """A hash of where training starts and of its settings."""
    digest = hashlib.sha256(f"{start.fingerprint()} {settings} {torch.__version__}".encode())
    for name, tensor in start.tensors().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
