"""The journal of a run folder: which stages are finished, with which files, for which request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.errors import DocumentError, StorageError
from edgeprune.core.files import sha256
from edgeprune.core.request import Request

T = TypeVar("T")
D = TypeVar("D", bound=Document)
JOURNAL = ".edgeprune"
"""Folder inside the run folder for what only a resumed run needs."""


class Entry(Document):
    """One finished stage."""

    seconds: float
    files: dict[str, str] = Field(description="SHA-256 per file, relative to the run folder")


class Journal(Document):
    """`.edgeprune/journal.json`."""

    kind: Literal["journal/1"] = "journal/1"
    request: Request
    stages: dict[str, Entry] = Field(default_factory=dict)


class Store(Protocol[T]):
    """Keeps one stage's result in the run folder."""

    def write(self, value: T, folder: Path) -> list[Path]:
        """Write the result; the files written."""

    def read(self, folder: Path) -> T:
        """The result again."""


class Documents(Generic[D]):
    """Keeps a document as JSON."""

    def __init__(self, kind: type[D], name: str) -> None:
        self._kind, self._name = kind, name

    def write(self, value: D, folder: Path) -> list[Path]:
        """Write the document."""
        value.save(folder / self._name)
        return [folder / self._name]

    def read(self, folder: Path) -> D:
        """Read it again."""
        return self._kind.load(folder / self._name)


class Run:
    """A run folder: stages finished in it are not done again by the same request."""

    def __init__(self, folder: Path, request: Request) -> None:
        self.folder = folder
        self._path = folder / JOURNAL / "journal.json"
        self._journal = Journal(request=request)
        self.resumed: list[str] = []
        if self._path.exists():
            self._journal = self._resume(request)

    @property
    def seconds(self) -> dict[str, float]:
        """Wall time of each finished stage, whichever session did it."""
        return {name: entry.seconds for name, entry in self._journal.stages.items()}

    def stage(self, name: str, work: Callable[[], T], store: Store[T]) -> T:
        """The stage's result: read back when finished before and its files are intact, else worked out."""
        entry = self._journal.stages.get(name)
        if entry is not None and self._intact(entry):
            self.resumed.append(name)
            return store.read(self.folder)
        self._forget_from(name)
        started = time.perf_counter()
        value = work()
        files = store.write(value, self.folder)
        done = Entry(
            seconds=round(time.perf_counter() - started, 3),
            files={str(path.relative_to(self.folder)): sha256(path) for path in files},
        )
        stages = {**_rewritten(self._journal.stages, done), name: done}
        self._journal = self._journal.model_copy(update={"stages": stages})
        self._journal.save(self._path)
        return value

    def _resume(self, request: Request) -> Journal:
        try:
            journal = Journal.load(self._path)
        except DocumentError as error:
            raise StorageError(
                f"{self.folder}: its journal cannot be read ({error.message})",
                hint="choose another folder with --out, or delete this one",
            ) from error
        if journal.request != request:
            changed = _changed(journal.request, request)
            raise StorageError(
                f"{self.folder} holds another run (different: {', '.join(changed)})",
                hint="choose another folder with --out, or delete this one",
            )
        return journal

    def _intact(self, entry: Entry) -> bool:
        return all(
            (self.folder / name).is_file() and sha256(self.folder / name) == digest
            for name, digest in entry.files.items()
        )

    def _forget_from(self, name: str) -> None:
        """What came after a stage that is done again was made from something else."""
        kept = {}
        for stage, entry in self._journal.stages.items():
            if stage == name:
                break
            kept[stage] = entry
        self._journal = self._journal.model_copy(update={"stages": kept})


def hidden(name: str) -> str:
    """The name of a file that only a resumed run needs, relative to the run folder."""
    return f"{JOURNAL}/{name}"


def _rewritten(stages: Mapping[str, Entry], done: Entry) -> dict[str, Entry]:
    """Earlier stages, with the hashes of those of their files that this one wrote again."""
    return {
        name: entry.model_copy(
            update={"files": {file: done.files.get(file, known) for file, known in entry.files.items()}}
        )
        for name, entry in stages.items()
    }


def _changed(old: Request, new: Request) -> list[str]:
    return [name for name in Request.model_fields if getattr(old, name) != getattr(new, name)]
