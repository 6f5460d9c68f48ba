"""One tree of errors, each with a message, a hint and the exit code it stands for.

EdgepruneError
├── RequestError            2   the request is wrong
│   ├── ModelError              the model file, architecture or its capture
│   ├── DataError               the dataset or its contents
│   ├── DocumentError           a TOML or JSON file with faults
│   ├── PluginError             an unknown, broken or clashing plug-in
│   ├── BudgetError             a budget that cannot be reached
│   ├── StorageError            a folder or file that cannot be written
│   └── BundleError             a bundle that is not what its signature says
├── GateError               1   the work was done and a promise was not met
├── DeviceError             3   a device or its runtime failed
│   └── ConnectionLost          the cable broke: the same again may work
└── Interrupted           130   the user pressed Ctrl-C (128 + SIGINT)
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class EdgepruneError(Exception):
    """A failure the user can act on: what is wrong and where, and as `hint` the next step.

    An error without a hint of its own gives its family's, so that there always is a next step.
    """

    exit_code = 2
    next_step = "`edgeprune --help` lists commands and exit codes"

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.next_step


class RequestError(EdgepruneError):
    """The request is wrong."""


class ModelError(RequestError):
    """The model file, its architecture or its capture is at fault."""

    next_step = "`edgeprune inspect` shows what is understood of the network"


class DataError(RequestError):
    """The dataset or its contents are at fault."""

    next_step = "check --data, or `data` and `preprocess` in edgeprune.toml"


class DocumentError(RequestError):
    """A TOML or JSON document has faults; the message lists all of them."""

    next_step = "correct the file; `edgeprune schema` prints what each kind of document may hold"


class PluginError(RequestError):
    """A plug-in is unknown, broken, or has a clashing name."""

    next_step = "correct its options, or reinstall the package it comes from"


class BudgetError(RequestError):
    """The budget cannot be reached; the hint says what can."""


class StorageError(RequestError):
    """A run folder or file cannot be used or written."""


class BundleError(RequestError):
    """A bundle is damaged, forged or hostile; nothing of it was written anywhere."""

    next_step = "nothing of it was written; get the file again from whoever made it"


class GateError(EdgepruneError):
    """The work was done, and one of its promises was not met."""

    exit_code = 1


class DeviceError(EdgepruneError):
    """A device, or a runtime on it, failed."""

    exit_code = 3
    next_step = "the file may be damaged, or made for another version of the runtime"


class ConnectionLost(DeviceError):  # noqa: N818 - what happened, as the user would say it
    """The connection to a device broke; what was being done may be tried again."""

    next_step = "check that the device is on and near, then give the same command again"


class Interrupted(EdgepruneError):  # noqa: N818 - what the user did, not what went wrong
    """The user stopped the run."""

    exit_code = 130


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to a mistyped one, or None when nothing is close."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)), None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint for an unknown name: the nearest one when there is one, and all that exist."""
    names = sorted(known)
    close = nearest(name, names)
    listed = ", ".join(names) if names else "(none)"
    return f"did you mean '{close}'? known: {listed}" if close else f"known: {listed}"
