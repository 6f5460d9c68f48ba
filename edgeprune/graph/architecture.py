"""Architectures: the untrained network that weights belong to, named in one of three ways.

    --arch torchvision:resnet18?num_classes=10
    --arch my_package.networks:tiny_net
    --arch path/to/model.py:tiny_net?width=32

The last two call a function (or class) of yours that returns an `nn.Module`. Options after `?` are Python
literals and become its keyword arguments. The module or file runs with your rights, as under `python`.
"""

from __future__ import annotations

import ast
import importlib
import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from edgeprune.core import named
from edgeprune.core.errors import ModelError, did_you_mean, nearest
from edgeprune.core.foreign import import_torchvision

FORMS = (
    "--arch torchvision:resnet18?num_classes=10, --arch package.module:factory "
    "or --arch path/to/file.py:factory"
)


@dataclass(frozen=True, slots=True)
class _Architecture:
    """A parsed `--arch`."""

    text: str
    place: str
    name: str
    options: Mapping[str, Any]


def build(text: str, base: Path) -> nn.Module:
    """Build the architecture with weights from seed 0; files and modules are looked up from `base`.

    Raises
    ------
    ModelError
        The text names no architecture, or the code behind it fails; the message names its line.
    """
    architecture = _parse(text)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if architecture.place == "torchvision":
            made = _call(_torchvision_builder(architecture.name), architecture)
        else:
            made = _run_factory(architecture, base)
    if not isinstance(made, nn.Module):
        raise ModelError(
            f"--arch {text}: the factory returned a {type(made).__name__}, not an nn.Module",
            hint="name a function or class that returns the network",
        )
    return made


def _parse(text: str) -> _Architecture:
    location, _, query = text.partition("?")
    place, _, name = location.rpartition(":")
    if not place or not name.isidentifier():
        raise ModelError(f"--arch {text} does not name an architecture", hint=f"write {FORMS}")
    options = {}
    for part in query.split("&") if query else []:
        key, equals, value = part.partition("=")
        if not equals or not key.isidentifier():
            raise ModelError(
                f"--arch {text}: option '{part}' has no value", hint="write ?option=value&option=value"
            )
        options[key] = _literal(value)
    return _Architecture(text, place, name, options)


def _literal(text: str) -> object:
    """A Python literal; what is none stays text, so that ?norm=batch needs no quotes."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _torchvision_builder(name: str) -> Callable[..., Any]:
    import_torchvision()
    models = importlib.import_module("torchvision.models")
    known = models.list_models(module=models)
    if name.lower() in known:
        builder: Callable[..., Any] = models.get_model_builder(name.lower())
        return builder
    close = nearest(name.lower(), known)
    raise ModelError(
        f"torchvision has no classification network '{name}'",
        hint=f"did you mean '{close}'?" if close else "torchvision.models.list_models() lists them",
    )


def _run_factory(architecture: _Architecture, base: Path) -> object:
    place = architecture.place
    with named.importable(place, base):
        module = _run_file(named.file_of(place, base)) if named.is_file(place) else _import(architecture)
        return _call(_function(module, architecture), architecture)


def _run_file(file: Path) -> ModuleType:
    if not file.is_file():
        raise ModelError(f"{file}: no such file", hint=f"write {FORMS}")
    try:
        return named.run_file(file)
    except SyntaxError as error:
        raise ModelError(
            f"{file}: line {error.lineno}: {error.msg}", hint="try it alone: python " + str(file)
        ) from error
    except Exception as error:  # the user's code may raise anything
        raise ModelError(
            f"{file} fails{_at(error)}: {_first_line(error)}", hint="try it alone: python " + str(file)
        ) from error


def _import(architecture: _Architecture) -> ModuleType:
    try:
        return importlib.import_module(architecture.place)
    except Exception as error:  # the user's code may raise anything
        raise ModelError(
            f"--arch {architecture.text}: module '{architecture.place}' does not import"
            f"{_at(error)}: {_first_line(error)}",
            hint="modules are looked up beside the recipe, in the current folder and the installed packages",
        ) from error


def _function(module: ModuleType, architecture: _Architecture) -> Callable[..., Any]:
    found = named.find_function(module, architecture.name)
    if found is not None:
        return found
    own = [
        name
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", None) == module.__name__ and name[0] != "_"
    ]
    raise ModelError(
        f"{architecture.place} has no function '{architecture.name}'",
        hint=did_you_mean(architecture.name, own),
    )


def _call(factory: Callable[..., Any], architecture: _Architecture) -> object:
    try:
        return factory(**architecture.options)
    except Exception as error:  # the user's code may raise anything
        raise ModelError(
            f"--arch {architecture.text} fails{_at(error)}: {_first_line(error)}",
            hint="the options after '?' become keyword arguments of the factory",
        ) from error


def _at(error: BaseException) -> str:
    """Say the user's own line: the last one outside of edgeprune's own, torch and the import machinery."""
    # With its last separator: torchvision lies beside torch, and its lines are worth naming.
    skipped = (
        __file__,
        named.__file__,
        importlib.__file__,
        f"{Path(torch.__file__).parent}{os.sep}",
        "<frozen",
    )
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(skipped)]
    return f" at {Path(own[-1].filename).name}:{own[-1].lineno}" if own else ""


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__
