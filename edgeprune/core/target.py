"""Targets: what a device is, as data with a source per fact, chosen by name or path."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Literal

from pydantic import Field

from edgeprune.core.advice import Precedent
from edgeprune.core.artifact import Format, Precision
from edgeprune.core.document import Document
from edgeprune.core.errors import RequestError, did_you_mean

_DEVICE_TREE_MODEL = Path("/proc/device-tree/model")


class Fact(Document):
    """One physical fact and where it comes from."""

    value: float | str | bool
    unit: str = ""
    source: str


class Host(Document):
    """How a machine recognises that it is this target."""

    system: str = Field(default="", description="as `uname -s` prints it; empty fits any")
    machine: str = Field(description="as `uname -m` prints it")
    model: str = Field(default="", description="must occur in the device tree's model string")


class Channels(Document):
    """Channel counts that the target's kernels like."""

    multiple: int = Field(gt=0)
    source: str


class Target(Document):
    """A device description (`targets/*.toml`)."""

    kind: Literal["target/1"] = "target/1"
    name: str
    summary: str
    host: Host
    runtimes: dict[Format, str] = Field(min_length=1, description="runtime plug-in per file format")
    formats: tuple[Format, ...] = Field(
        default=(), description="formats made when none is asked for; default: all that have a runtime"
    )
    versions: dict[str, str] = Field(
        default_factory=dict, description="the oldest version of each runtime that must read the files"
    )
    precisions: tuple[Precision, ...] = Field(min_length=1)
    threads: int = Field(gt=0, description="threads to measure with")
    channels: Channels
    physics: dict[str, Fact] = Field(default_factory=dict)
    int8: tuple[Precedent, ...] = Field(
        default=(), description="what static int8 gave here, for known networks: advice rests on it"
    )

    @property
    def oldest(self) -> dict[Format, str]:
        """Per format the oldest version of its runtime that must read the files, where the target says it."""
        return {
            format: self.versions[runtime]
            for format, runtime in self.runtimes.items()
            if runtime in self.versions
        }

    def at_hand(self) -> bool:
        """Whether this very machine is the target, so that a latency measured here is the target's."""
        return self.fits(system=platform.system(), machine=platform.machine(), model=_device_tree_model())

    def fits(self, *, system: str, machine: str, model: str) -> bool:
        """Whether a machine that describes itself so is the target."""
        host = self.host
        return host.machine == machine and host.system in {"", system} and host.model in model


def find_target(name: str) -> Target:
    """A target by name or by the path of its TOML file.

    Raises
    ------
    RequestError
        No such target; the hint lists those that exist.
    DocumentError
        The file has faults.
    """
    if name.endswith(".toml") or "/" in name:
        return Target.load(Path(name))
    known = target_files()
    if name not in known:
        raise RequestError(f"unknown target '{name}'", hint=did_you_mean(name, known))
    return Target.load(known[name])


def target_files() -> dict[str, Path]:
    """Every named target and its file; the user's folders come before the built-in ones."""
    found: dict[str, Path] = {}
    for folder in _folders():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return dict(sorted(found.items()))


def _device_tree_model() -> str:
    """What the board calls itself; '' where there is no device tree or it may not be read."""
    try:
        return _DEVICE_TREE_MODEL.read_text()
    except OSError:
        return ""


def _folders() -> list[Path]:
    own = [Path(part) for part in os.environ.get("EDGEPRUNE_TARGETS", "").split(os.pathsep) if part]
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    package = Path(__file__).parents[1]
    # Inside the wheel the descriptors lie in the package; in a checkout, beside it.
    return [*own, config / "edgeprune" / "targets", package / "targets", package.parent / "targets"]
