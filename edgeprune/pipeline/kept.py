"""What the stages leave in the run folder, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.journal import Documents, hidden
from edgeprune.core.plan import PLAN, Plan
from edgeprune.core.quantization import Quantized
from edgeprune.core.report import Compensation, Delivery, Finetuning, Proof
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import Coupling
from edgeprune.graph.stored import Programs
from edgeprune.graph.weights import write
from edgeprune.stages.shrink import replay

MODEL = "model.pt2"
"""The shrunk network in the run folder."""


@dataclass(frozen=True, slots=True, eq=False)
class Cut:
    """What `shrink` gives: the program, the plan as carried out, and the proof."""

    program: Program
    plan: Plan
    proof: Proof


@dataclass(frozen=True, slots=True, eq=False)
class Refitted:
    """What `compensate` gives."""

    program: Program
    compensation: Compensation


class CutStore:
    """Keeps the plan and its proof; the program is cut again, which takes no time.

    What belongs to a round (1, 2, ...) that others follow is kept out of sight.
    """

    def __init__(self, coupling: Coupling, round: int | None = None) -> None:
        self._coupling = coupling
        self._plan = PLAN if round is None else hidden(f"plan-{round}.json")
        self._proof = hidden(_of_round("proof.json", round))

    def write(self, value: Cut, folder: Path) -> list[Path]:
        """Write the plan and its proof."""
        value.plan.save(folder / self._plan)
        value.proof.save(folder / self._proof)
        return [folder / self._plan, folder / self._proof]

    def read(self, folder: Path) -> Cut:
        """Read them, and cut again."""
        done = Plan.load(folder / self._plan)
        return Cut(replay(self._coupling, done), done, Proof.load(folder / self._proof))


class RefittedStore:
    """Keeps the refitted program and what the refit did, of one round.

    Its weights are read into the cut network, which becomes the refitted one, as it does in the stage: a
    network that was read back is another graph, and the checkpoint of its training would not be known again.
    """

    def __init__(self, cut: Program, round: int | None = None) -> None:
        self._cut = cut
        self._program = Programs(hidden(_of_round("refitted.pt2", round)))
        self._document = Documents(Compensation, hidden(_of_round("compensation.json", round)))

    def write(self, value: Refitted, folder: Path) -> list[Path]:
        """Write the program and what the refit did."""
        return [
            *self._program.write(value.program, folder),
            *self._document.write(value.compensation, folder),
        ]

    def read(self, folder: Path) -> Refitted:
        """Read both again."""
        write(self._cut, self._program.read(folder).tensors())
        return Refitted(self._cut, self._document.read(folder))


@dataclass(frozen=True, slots=True, eq=False)
class Finetuned:
    """What `finetune` gives."""

    program: Program
    finetuning: Finetuning


class FinetunedStore:
    """Keeps the trained program and what training did, of one round."""

    def __init__(self, round: int | None = None) -> None:
        self._program = Programs(hidden(_of_round("finetuned.pt2", round)))
        self._document = Documents(Finetuning, hidden(_of_round("finetuning.json", round)))

    def write(self, value: Finetuned, folder: Path) -> list[Path]:
        """Write the program and what training did."""
        return [
            *self._program.write(value.program, folder),
            *self._document.write(value.finetuning, folder),
        ]

    def read(self, folder: Path) -> Finetuned:
        """Read both again."""
        return Finetuned(self._program.read(folder), self._document.read(folder))


class DeliveryStore:
    """Keeps the list of delivered files; the files themselves are its files too."""

    def __init__(self, name: str) -> None:
        self._document = Documents(Delivery, hidden(name))

    def write(self, value: Delivery, folder: Path) -> list[Path]:
        """Write the list."""
        files = [folder / artifact.path for artifact in value.artifacts]
        return [*files, *self._document.write(value, folder)]

    def read(self, folder: Path) -> Delivery:
        """Read the list again."""
        return self._document.read(folder)


class QuantizedStore:
    """Keeps the list of smaller files and how they were made; the files themselves are its files too."""

    def __init__(self) -> None:
        self._document = Documents(Quantized, hidden("quantized.json"))

    def write(self, value: Quantized, folder: Path) -> list[Path]:
        """Write the list."""
        files = [folder / artifact.path for artifact in value.artifacts]
        return [*files, *self._document.write(value, folder)]

    def read(self, folder: Path) -> Quantized:
        """Read the list again."""
        return self._document.read(folder)


def _of_round(name: str, round: int | None) -> str:
    """The name of a file of one round: 'proof.json' of round 2 is 'proof-2.json'."""
    stem, dot, ending = name.partition(".")
    return name if round is None else f"{stem}-{round}{dot}{ending}"
