"""Recovery: how a shrunk network is trained, as it is asked for."""

from __future__ import annotations

import shlex
import string
from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.errors import RequestError, did_you_mean

Augment = Literal["none", "shift", "flip"]
AUGMENTS: tuple[Augment, ...] = ("none", "shift", "flip")
PLACES = ("model", "state", "out")
"""What stands in braces in a training command: two files to read, one to write."""

_OBJECTS = 24
"""Pixels a side from which colour images are taken for photographs of things, which may be mirrored."""


class Recovery(Document):
    """How to train after the refit; what is None follows from the data and the network."""

    learning_rate: float | None = Field(default=None, gt=0, description="at its peak; default 0.01")
    batch: int | None = Field(default=None, ge=2, description="images per step; default 128")
    augment: Augment | None = Field(default=None, description="default: by the shape of the images")
    command: str | None = Field(default=None, description="a training loop of one's own, as it is typed")


def default_augment(size: tuple[int, ...]) -> Augment:
    """What suits images of (channels, height, width): mirrored objects, shifted characters, or nothing.

    Grey images are more often characters or scans than objects, and a mirrored 2 is no 2.
    """
    if len(size) != 3 or min(size[1:]) < _OBJECTS:
        return "none"
    return "flip" if size[0] == 3 else "shift"


def require_augment(name: str) -> Augment:
    """The augmentation of that name.

    Raises
    ------
    RequestError
        There is none.
    """
    for one in AUGMENTS:
        if name == one:
            return one
    raise RequestError(f"unknown augmentation '{name}'", hint=did_you_mean(name, AUGMENTS))


def command_words(command: str) -> list[str]:
    """The words of a training command, placeholders still in braces.

    Raises
    ------
    RequestError
        It does not say where the network is read or written, or has a placeholder nobody fills.
    """
    try:
        words = shlex.split(command)
        named = {name for _, name, _, _ in string.Formatter().parse(command) if name is not None}
    except ValueError as error:
        raise RequestError(
            f"--train-command cannot be read: {error}", hint="close every quote and double braces: {{ }}"
        ) from error
    for name in sorted(named - {*PLACES}):
        raise RequestError(
            f"--train-command: nothing is put in the place of {{{name}}}", hint=did_you_mean(name, PLACES)
        )
    if "out" not in named or not named & {"model", "state"}:
        missing = "{out}" if "out" not in named else "{model} or {state}"
        raise RequestError(
            f"--train-command does not say {missing}",
            hint='write it like "python train.py --weights {model} --out {out}"',
        )
    return words
