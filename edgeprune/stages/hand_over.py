"""Hand over: write the shrunk network, and its state dict for training code that goes on with it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import torch

from edgeprune.core.errors import RequestError, StorageError
from edgeprune.core.files import written_whole
from edgeprune.core.plan import Plan
from edgeprune.graph.capture import Program


def require_room(files: Sequence[Path], *, inputs: Sequence[Path], force: bool) -> None:
    """Refuse files that cannot be written before the work begins; `force` lets files make room, not inputs.

    Raises
    ------
    RequestError
        The network's file is no `.pt2`, or one name stands for two files.
    StorageError
        A file exists, or is one of the inputs.
    """
    if files[0].suffix != ".pt2":
        raise RequestError(f"{files[0]}: the network is written as a .pt2 file", hint="name it so with --out")
    if len({file.resolve() for file in files}) < len(files):
        raise RequestError(f"{files[0]}: named for two files", hint="give --state another name than --out")
    for file in files:
        if any(file.resolve() == one.resolve() for one in inputs):
            raise StorageError(
                f"{file} would be overwritten", hint="choose another file with --out or --state"
            )
        if file.exists() and not force:
            raise StorageError(f"{file} exists", hint="choose another file, or overwrite it with --force")


def hand_over(original: Program, shrunk: Program, plan: Plan, file: Path, state: Path | None) -> list[Path]:
    """Write the network, whole or not at all, and where asked for the narrow state dict (float32).

    The state dict has every entry that the original's has and loads with `torch.load(weights_only=True)`.
    """
    if state is None:
        shrunk.save(file)
        return [file]
    buffer = io.BytesIO()
    torch.save(plan.apply_to_state(original.module.state_dict()), buffer)
    # One inside the other: neither file is there without the other.
    with written_whole(state) as scratch:
        scratch.write_bytes(buffer.getbuffer())
        shrunk.save(file)
    return [file, state]
