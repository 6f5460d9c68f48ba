"""Give back: the user's own class at the narrow widths, checked against the captured program."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from edgeprune.core.errors import ModelError
from edgeprune.core.narrowing import format_size
from edgeprune.core.plan import Plan
from edgeprune.core.quiet import first_line
from edgeprune.graph.capture import Program, _structured, rebuild
from edgeprune.graph.check import INPUTS, TOLERANCE, _difference
from edgeprune.graph.layer_sizes import resize
from edgeprune.graph.user_frames import user_line

SINGLE_TOLERANCE = 1e-4
"""Where a forward casts to single precision itself, as for float32 files."""
_GO_ON = "go on with model.pt2 instead: it trains, and its parameters keep their names"


def give_back(module: nn.Module, original: Program, shrunk: Program, plan: Plan) -> nn.Module:
    """A copy of the module with the shrunk program's parameters, its layers told their new sizes.

    Ties, `requires_grad` and training modes stay; the module itself is left as it was.

    Parameters
    ----------
    original, shrunk : Program
        The module as it was captured, and after the plan; the weights are those of `shrunk`, whether
        they were narrowed only or refitted since.

    Raises
    ------
    ModelError
        The class cannot carry the new widths (a size is written in its code, for example); the
        message names the module and the user's line.
    """
    if plan.dropped:
        raise _refusal(
            f"the plan takes out whole blocks, which the class builds: '{plan.dropped[0]}' is gone"
        )
    narrow = _copied(module)
    _fill(narrow, original, shrunk, plan)
    resize(narrow, shrunk)
    _check(module, narrow, original, shrunk)
    _check_training(module, narrow, original)
    return narrow


def refilled(shrunk: Program, other: Program, *, source: str) -> Program:
    """The shrunk program with the weights of another one of the same shapes (the refitted one).

    Raises
    ------
    ModelError
        The other has other tensors; `source` opens the message.
    """
    tensors, given = shrunk.tensors(), other.tensors()
    needed = {name for name, _ in shrunk.module.named_parameters(remove_duplicate=False)}
    for name, tensor in tensors.items():
        # What export lifted out of the code has no lasting name, and was not refitted.
        found = given[name].shape if name in given else None if name in needed else tensor.shape
        if found != tensor.shape:
            raise ModelError(
                f"{source}: tensor '{name}' {f'has shape {format_size(found)}' if found else 'is missing'}, "
                f"the plan makes it {format_size(tensor.shape)}",
                hint="name the model.pt2 of the run that the plan belongs to",
            )
    return Program(
        rebuild(shrunk, {**tensors, **{n: given[n] for n in tensors if n in given}}), shrunk.inputs
    )


def _copied(module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module)
    except Exception as error:  # a module's own __deepcopy__ may raise anything
        hooked = [name for name, part in module.named_modules() if "weight_g" in part._parameters]
        if hooked:
            raise _refusal(
                f"module '{hooked[0]}' computes its weight in a hook, which cannot be copied",
                hint="use torch.nn.utils.parametrizations.weight_norm in place of torch.nn.utils.weight_norm",
            ) from error
        raise _refusal(f"the module cannot be copied: {first_line(error)}") from error


def _fill(narrow: nn.Module, original: Program, shrunk: Program, plan: Plan) -> None:
    """Put the narrow values into the tensors that are there: whoever holds one then holds the narrow one."""
    before = original.tensors()
    filled: set[int] = set()
    for name, value in shrunk.tensors().items():
        tensor = _held(narrow, name)
        if tensor is not None and id(tensor) in filled:
            continue  # tied to one that is done
        if tensor is None or tensor.shape != before[name].shape:
            if name in plan.tensors and plan.tensors[name].persistent:
                if tensor is None and _is_computed(narrow, name):
                    raise _refusal(
                        f"'{name.removesuffix('_folded')}' is computed in the module "
                        "(a parametrization, or its forward), so no narrow value can be stored"
                    )
                raise _refusal(f"the module holds no tensor '{name}' of the captured shape")
            continue
        tensor.data = value.detach().to(tensor).clone()
        filled.add(id(tensor))


def _held(module: nn.Module, name: str) -> Tensor | None:
    """A parameter, buffer or plain attribute; None for what export lifted out of the code."""
    owner, _, leaf = name.rpartition(".")
    try:
        part = module.get_submodule(owner)
    except AttributeError:
        return None
    # Not getattr: that would run a parametrization and answer what nobody keeps.
    found = {**vars(part), **part._buffers, **part._parameters}.get(leaf)
    return found if isinstance(found, Tensor) else None


def _is_computed(module: nn.Module, name: str) -> bool:
    """Whether capture folded a computation of the module's into this weight."""
    owner, _, leaf = name.removesuffix("_folded").rpartition(".")
    return isinstance(getattr(module.get_submodule(owner), leaf, None), Tensor)


def _check(module: nn.Module, narrow: nn.Module, original: Program, shrunk: Program) -> None:
    """The narrow module must answer like the shrunk program, in double precision."""
    answer = _answer(narrow, shrunk, torch.float64)
    if isinstance(answer, float) and answer <= TOLERANCE:
        return
    whole = _answer(module, original, torch.float64)
    if isinstance(whole, _Failure) or not whole <= TOLERANCE:
        # The uncut module cannot be compared in double precision either: its forward casts.
        answer = _answer(narrow, shrunk, torch.float32)
        if isinstance(answer, float) and answer <= SINGLE_TOLERANCE:
            return
    if isinstance(answer, _Failure):
        raise _refusal(answer.words) from answer.error
    raise _refusal(f"its answers differ from the shrunk program's by {answer:.1e} (relative)")


def _check_training(module: nn.Module, narrow: nn.Module, original: Program) -> None:
    """What only runs in training (auxiliary heads) is not in the program, so the plan knows nothing of it."""
    after = _try(_twin(narrow, torch.float32, training=True), original, torch.float32)
    if isinstance(after, _Failure):
        before = _try(_twin(module, torch.float32, training=True), original, torch.float32)
        if not isinstance(before, _Failure):
            raise _refusal(f"in training mode {after.words}") from after.error


@dataclass(frozen=True, slots=True)
class _Failure:
    """A forward that raised."""

    words: str
    error: Exception


def _answer(module: nn.Module, program: Program, dtype: torch.dtype) -> float | _Failure:
    """How far a module's answers are from a program's (relative), or why it gives none."""
    given = _try(_twin(module, dtype, training=False), program, dtype)
    if isinstance(given, _Failure):
        return given
    expected = _try(_cast(program, dtype, module), program, dtype)
    if isinstance(expected, _Failure):
        return expected
    if [one.shape for one in given] != [one.shape for one in expected]:
        return float("inf")
    # numpy's max keeps NaN, Python's may lose it.
    return float(np.max([0.0, *(_difference(*pair) for pair in zip(expected, given, strict=True))]))


def _cast(program: Program, dtype: torch.dtype, holder: nn.Module) -> nn.Module:
    """The program in another precision, its weights rounded as the holder's are (to half, for example)."""
    cast: dict[int, Tensor] = {}
    for name, tensor in program.tensors().items():
        held = _held(holder, name)
        if tensor.is_floating_point():
            cast[id(tensor)] = tensor.detach().to(held.dtype if held is not None else dtype).to(dtype)
        else:
            cast[id(tensor)] = tensor
    return rebuild(program, {name: cast[id(one)] for name, one in program.tensors().items()})


def _twin(module: nn.Module, dtype: torch.dtype, *, training: bool) -> nn.Module:
    """A copy to try things on."""
    twin = _copied(module).to(dtype)
    for part in twin.modules():
        part.training = training
    return twin


def _try(module: nn.Module, program: Program, dtype: torch.dtype) -> list[Tensor] | _Failure:
    running = _Running()
    try:
        with running.watching(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            args, kwargs = _structured(program.module, program.examples(INPUTS, dtype=dtype))
            leaves = tree_leaves(module(*args, **kwargs))
            return [one for one in leaves if isinstance(one, Tensor)]
    except Exception as error:  # the user's forward may raise anything
        where = user_line(error)
        return _Failure(
            f"{running.innermost}{f' fails at {where}' if where else ' fails'}: {first_line(error)}", error
        )


@dataclass(slots=True)
class _Running:
    """The modules whose forward has begun and not ended."""

    stack: list[str] = field(default_factory=list)

    @property
    def innermost(self) -> str:
        return self.stack[-1] if self.stack else "the network"

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[None]:
        handles = []
        for name, part in module.named_modules():
            words = (
                f"module '{name}' ({type(part).__name__})" if name else f"the network ({type(part).__name__})"
            )
            handles.append(part.register_forward_pre_hook(self._enter(words)))
            handles.append(part.register_forward_hook(self._leave))
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, words: str) -> Callable[..., None]:
        return lambda *_: self.stack.append(words)

    def _leave(self, *_: Any) -> None:
        self.stack.pop()


def _refusal(why: str, *, hint: str = _GO_ON) -> ModelError:
    return ModelError(f"the class cannot be given back: {why}", hint=hint)
