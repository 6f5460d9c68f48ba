"""Load: whatever the user hands in becomes one captured program; nothing in a file runs unasked."""

from __future__ import annotations

import copy
import importlib
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from edgeprune.core.errors import EdgepruneError, ModelError, StorageError
from edgeprune.core.units import format_shape
from edgeprune.graph.architecture import FORMS, build
from edgeprune.graph.archive.recognise import Kind, named_globals, recognise
from edgeprune.graph.archive.scan import scan
from edgeprune.graph.archive.weights import find_state_dict, fit
from edgeprune.graph.capture import Program, capture, from_exported
from edgeprune.graph.input import Input
from edgeprune.graph.nodes import shape_of

Size = tuple[int, ...]
T = TypeVar("T")

_EXPORT = "export the PyTorch model with torch.export.save and bring that .pt2"
# Kinds that are no PyTorch weights: what is wrong with each, and the next step.
_REFUSED: dict[Kind, tuple[str, str]] = {
    "exported-old": (
        "refused: the archive layout of torch 2.7 and older holds pickles, which run code when loaded",
        "load it with the torch that wrote it, and save it with torch.export.save of torch 2.8 or newer",
    ),
    "torchscript": ("a TorchScript archive, which cannot be pruned", _EXPORT),
    "onnx": ("an ONNX file; edgeprune writes these and starts from PyTorch", _EXPORT),
    "tflite": ("a TFLite file; edgeprune writes these and starts from PyTorch", _EXPORT),
    "empty": ("the file is empty", "copy it again"),
    "truncated": ("the file is cut off or damaged", "copy it again, and compare the sizes"),
    "unknown": (
        "not a model file that is known here",
        "bring a .pt2 archive, a state dict (.pt, .pth) or a safetensors file",
    ),
}


def load(
    model: Path | nn.Module | None,
    *,
    arch: str | None,
    input_size: Size | Sequence[Input] | None,
    trust_pickle: bool = False,
    base: Path = Path(),
) -> Program:
    """Capture a network from a file, recognised by its content, from memory, or untrained from `arch` alone.

    Files and modules that `arch` names are looked up from `base`. `input_size` is the size of its one
    input without the batch, or all its inputs in the order of its arguments.

    Raises
    ------
    ModelError
        The file cannot or must not be loaded, does not fit, or cannot be captured.
    StorageError
        There is no room for the private copy that an archive is loaded from.
    """
    if isinstance(model, nn.Module):
        return _captured(model, input_size)
    if model is None:
        return _captured(build(_required(arch, "no model file is given"), base), input_size)
    kind = _accepted_kind(model)
    if kind == "exported":
        return _from_archive(model, input_size)
    held = _held(model, kind, trust_pickle=trust_pickle)
    if isinstance(held, nn.Module):
        return _captured(held, input_size)
    weights = find_state_dict(held, model)
    architecture = _required(arch, f"{model} holds weights only, not the network they belong to")
    return _captured(fit(build(architecture, base), weights, path=model, arch=architecture), input_size)


def read_weights(file: Path) -> Mapping[str, Tensor]:
    """The tensors that a `.pt2` archive, state dict or checkpoint holds, by name.

    Raises
    ------
    ModelError
        The file holds none, or loading it would run code from it.
    """
    kind = _accepted_kind(file)
    if kind == "exported":
        return dict(_from_archive(file, None).module.state_dict())
    return find_state_dict(_held(file, kind, trust_pickle=False), file)


def require_single(program: Program, command: str) -> Program:
    """The program, if it maps one input of real numbers to one tensor.

    Parameters
    ----------
    command : str
        What needs it, as the user asked for it: `compress`.

    Raises
    ------
    ModelError
        It has several inputs or outputs, or takes integers: such a network cannot be compressed yet.
    """
    inputs = ", ".join(str(one.described) for one in program.inputs)
    takes = f"{len(program.inputs)} inputs ({inputs})"
    if len(program.inputs) == 1:
        takes = f"integers ({inputs})" if program.inputs[0].described.below else ""
    with torch.no_grad():
        answer = program.module(*program.examples(1)) if not takes else None
    several = program.outputs > 1
    gives = f"{program.outputs} tensors" if several else f"a {type(answer).__name__} around its tensor"
    gives = "" if isinstance(answer, Tensor) or (takes and not several) else gives
    if not takes and not gives:
        return program
    what = " and ".join(
        part for part in (takes and f"takes {takes}", gives and f"answers with {gives}") if part
    )
    raise ModelError(
        f"the network {what}; {command} needs one input of real numbers and one output tensor",
        hint="wrap it in a module that fixes the other inputs and returns one tensor; "
        "`edgeprune inspect` and `explain` take it as it is",
    )


def _accepted_kind(path: Path) -> Kind:
    kind = _kind(path)
    if kind in _REFUSED:
        message, hint = _REFUSED[kind]
        raise ModelError(f"{path}: {message}", hint=hint)
    return kind


def _held(path: Path, kind: Kind, *, trust_pickle: bool) -> object:
    """What a file of weights, or of a pickled module, holds."""
    if kind == "safetensors":
        return _read_safetensors(path)
    return _read_saved(path, trust_pickle=_trusted(path, kind, trust_pickle))


def _kind(path: Path) -> Kind:
    if path.is_dir():
        raise ModelError(f"{path}: a folder, not a model file", hint="name the file inside of it")
    try:
        return recognise(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: no such file", hint="check the path of the model") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}", hint="check its permissions") from error


def _required(arch: str | None, reason: str) -> str:
    if arch is None:
        raise ModelError(reason, hint=f"name the architecture: {FORMS}")
    return arch


def _captured(module: nn.Module, input_size: Size | Sequence[Input] | None) -> Program:
    if input_size is None:
        raise ModelError("the input size is not known", hint="--input 3x224x224 or 'input' in edgeprune.toml")
    # Pruning works in full precision; the user's own module stays as it is.
    return capture(module if _is_float32(module) else copy.deepcopy(module).float(), input_size)


def _is_float32(module: nn.Module) -> bool:
    tensors = [*module.parameters(), *module.buffers()]
    return all(tensor.dtype == torch.float32 for tensor in tensors if tensor.is_floating_point())


def _from_archive(path: Path, input_size: Size | Sequence[Input] | None) -> Program:
    exported = _load_scanned(path)
    program = _translated(lambda: _program(exported), path, "running it")
    own, asked = [one.size for one in program.inputs], _sizes(input_size or ())
    if asked not in ([], own):
        raise ModelError(
            f"{path}: made for inputs of {_words(own)}, not {_words(asked)}",
            hint="leave the input size out; a .pt2 archive knows its own",
        )
    return program


def _sizes(inputs: Size | Sequence[Input]) -> list[Size]:
    several = [one.size for one in inputs if isinstance(one, Input)]
    single = tuple(size for size in inputs if isinstance(size, int))
    return [single] if single else several


def _words(sizes: list[Size]) -> str:
    return " and ".join(format_shape(size) for size in sizes)


def _program(exported: ExportedProgram) -> Program:
    """The archive's program; one of half precision is captured again in float32."""
    module = exported.module(check_guards=False)
    if _is_float32(module):
        return from_exported(exported)
    inputs = exported.graph_signature.user_inputs
    sizes = next(shape_of(node) for node in exported.graph.nodes if node.name in inputs)
    for method in ("train", "eval"):  # an exported module refuses both (exported_program.py:1484)
        vars(module).pop(method, None)
    return capture(module.float(), tuple(size for size in sizes[1:] if size is not None))


def _load_scanned(path: Path) -> ExportedProgram:
    """Load the very bytes that were scanned: a private copy, so that nobody changes them in between."""
    with tempfile.TemporaryDirectory(prefix="edgeprune-") as folder:
        private = Path(folder) / "model.pt2"
        _copy(path, private)
        reasons = scan(private)
        if reasons:
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            raise ModelError(
                f"{path}: refused: {reasons[0]}{more}",
                hint="loading it would run code from the file; ask for a state dict, "
                "or export it again with torch.export.save",
            )
        return _translated(lambda: torch.export.load(private), path, "torch.export.load")


def _copy(path: Path, private: Path) -> None:
    try:
        shutil.copyfile(path, private)
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be copied to {private.parent}: {error.strerror}",
            hint="make room there, or point TMPDIR at a folder with room",
        ) from error


def _trusted(path: Path, kind: Kind, trust_pickle: bool) -> bool:
    """Whether to unpickle without limits: only what needs it, and only when told to."""
    if kind == "pickled-object" and not trust_pickle:
        names = named_globals(path) or ["an unknown object"]
        more = f" (and {len(names) - 3} more)" if len(names) > 3 else ""
        raise ModelError(
            f"{path}: refused: a pickle, and loading it would run {', '.join(names[:3])}{more}",
            hint="save a state dict with torch.save(model.state_dict(), ...), "
            "or use --trust-pickle if you trust the file",
        )
    return kind == "pickled-object"


def _read_saved(path: Path, *, trust_pickle: bool) -> object:
    return _translated(
        lambda: torch.load(path, map_location="cpu", weights_only=not trust_pickle), path, "torch.load"
    )


def _read_safetensors(path: Path) -> object:
    try:
        reader = importlib.import_module("safetensors.torch")
    except ImportError as error:
        raise ModelError(f"{path}: reading it needs safetensors", hint="pip install safetensors") from error
    return _translated(lambda: reader.load_file(path, device="cpu"), path, "safetensors")


def _translated(action: Callable[[], T], path: Path, name: str) -> T:
    try:
        return action()
    except EdgepruneError:
        raise
    except Exception as error:  # what a damaged file makes torch raise is not documented
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise ModelError(
            f"{path}: {name} fails: {reason}",
            hint="copy it again, or save it again with the torch that wrote it",
        ) from error
