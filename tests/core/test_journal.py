"""A run folder goes on where it stopped, and never mixes two requests or two versions of a file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from core.documents import REQUEST
from edgeprune.core.errors import StorageError
from edgeprune.core.journal import Documents, Journal, Run, hidden
from edgeprune.core.recipe import Recipe
from edgeprune.core.request import Budget

STAGES = ("load", "screen", "plan")


class Work:
    """Stages that write their name into a document, and count how often they were done."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: list[str] = []

    def session(self, *, failing: str = "") -> Run:
        """One start of the program; `failing` is the stage at which the user stops it."""
        run = Run(self.folder, REQUEST)
        for name in STAGES:
            run.stage(name, self.stage(name, failing == name), Documents(Recipe, f"{name}.json"))
        return run

    def stage(self, name: str, fails: bool) -> Callable[[], Recipe]:
        def work() -> Recipe:
            if fails:
                raise KeyboardInterrupt
            self.done.append(name)
            return Recipe(arch=name)

        return work


@pytest.fixture
def work(tmp_path: Path) -> Work:
    return Work(tmp_path)


def entries(folder: Path) -> list[str]:
    return list(Journal.load(folder / hidden("journal.json")).stages)


def test_finished_stages_are_read_back_and_not_done_again(work: Work) -> None:
    first = work.session()
    second = work.session()
    assert work.done == [*STAGES]
    assert (first.resumed, second.resumed) == ([], [*STAGES])
    assert second.seconds == first.seconds
    read = Run(work.folder, REQUEST).stage("plan", work.stage("plan", True), Documents(Recipe, "plan.json"))
    assert read == Recipe(arch="plan")


def test_an_interrupted_stage_leaves_no_entry_and_the_next_start_continues(work: Work) -> None:
    with pytest.raises(KeyboardInterrupt):
        work.session(failing="screen")
    assert entries(work.folder) == ["load"]
    assert not (work.folder / "screen.json").exists()
    run = work.session()
    assert run.resumed == ["load"]
    assert work.done == [*STAGES]


@pytest.mark.parametrize("spoil", [lambda path: path.write_text("{}"), Path.unlink])
def test_a_changed_or_lost_file_is_made_again_with_everything_after_it(
    work: Work, spoil: Callable[[Path], object]
) -> None:
    work.session()
    spoil(work.folder / "screen.json")
    run = work.session()
    assert run.resumed == ["load"]
    assert work.done == [*STAGES, "screen", "plan"]
    assert entries(work.folder) == [*STAGES]


def test_a_stage_whose_files_cannot_be_written_leaves_no_entry(work: Work) -> None:
    (work.folder / "screen.json").mkdir()
    with pytest.raises(StorageError, match=r"screen\.json: cannot be written"):
        work.session()
    assert entries(work.folder) == ["load"]


def test_another_request_is_refused_with_what_differs(work: Work) -> None:
    work.session()
    other = REQUEST.model_copy(update={"seed": 4, "budget": Budget(speedup=3)})
    with pytest.raises(StorageError) as caught:
        Run(work.folder, other)
    assert caught.value.message == f"{work.folder} holds another run (different: budget, seed)"
    assert caught.value.hint == "choose another folder with --out, or delete this one"


def test_a_journal_that_cannot_be_read_is_refused(work: Work) -> None:
    work.session()
    journal = work.folder / hidden("journal.json")
    journal.write_text("{")
    with pytest.raises(StorageError) as caught:
        Run(work.folder, REQUEST)
    assert caught.value.message == (
        f"{work.folder}: its journal cannot be read ({journal}: not valid JSON: "
        "Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"
    )
    assert caught.value.hint == "choose another folder with --out, or delete this one"
