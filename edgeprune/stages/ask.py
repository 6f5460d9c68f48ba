"""Ask: put options, recipe and defaults together into one request."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

import torch
from torch import nn

from edgeprune.core.artifact import Format, Precision
from edgeprune.core.errors import ModelError, RequestError, did_you_mean
from edgeprune.core.files import sha256
from edgeprune.core.group import known_inexact
from edgeprune.core.inputs import InputSize
from edgeprune.core.interface import Interface
from edgeprune.core.recipe import find_recipe
from edgeprune.core.recovery import Recovery, command_words
from edgeprune.core.registry import build_from, find, names
from edgeprune.core.request import QUANTIZED_DROP, Budget, Calibration, Images, Look, Request
from edgeprune.core.target import Target
from edgeprune.core.thinning import Thinning
from edgeprune.core.units import parse_shape

DEFAULT_SPEEDUP = 2.0


def ask(
    model: Path | nn.Module,
    target: Target,
    *,
    arch: str | None = None,
    input: tuple[int, ...] | None = None,
    data: str | None = None,
    budget: Budget | None = None,
    thinning: Thinning | None = None,
    criterion: str | None = None,
    images: Images | None = None,
    rounds: int = 1,
    epochs: int = 0,
    recovery: Recovery | None = None,
    formats: Sequence[Format] = (),
    interface: Interface | None = None,
    precisions: Sequence[Precision] = (),
    quantized_drop: float = QUANTIZED_DROP,
    seed: int = 0,
    trust_pickle: bool = False,
    allow_inexact: Iterable[str] = (),
) -> Request:
    """The request; options win over the recipe beside the model (or beside the architecture).

    Raises
    ------
    ModelError
        The model file does not exist.
    RequestError
        A format the target has no runtime for, a precision no format has, an unknown criterion, training
        without data or in two ways, bounds that contradict one another or cannot be judged, an operator that
        cannot be allowed, or connections asked for with what only channels can give.
    """
    path = model if isinstance(model, Path) else None
    if path is not None and not path.exists():
        raise ModelError(f"{path}: no such file", hint="check the path of the model")
    recipe, recipe_path = find_recipe(path, arch)
    here, beside = str(Path.cwd()), str(recipe_path.parent.resolve()) if recipe_path else ""
    formats = tuple(formats) or target.formats or tuple(target.runtimes)
    for format in formats:
        if format not in target.runtimes:
            raise RequestError(
                f"target '{target.name}' runs no {format} files", hint=did_you_mean(format, target.runtimes)
            )
    interface = interface or Interface()
    _require_batch(interface, formats)
    _require_precisions(formats, precisions)
    if criterion is not None:
        build_from("criteria", criterion)
    chosen_data = data if data is not None else recipe.data
    if epochs and chosen_data is None:
        raise RequestError("--epochs needs images to train on", hint="give --data")
    asked = recovery or Recovery()
    _require_one_way(epochs, asked)
    wanted = _or_default(budget) if thinning is None else Budget()
    if thinning is not None:
        _require_connections(thinning, budget, epochs, asked)
    else:
        _require_sense(wanted, target, precisions or target.precisions, rounds, chosen_data is not None)
    return Request(
        model=path.stem if path is not None else None,
        model_sha256=sha256(path) if path is not None and path.is_file() else _weights_hash(model),
        arch=arch if arch is not None else recipe.arch,
        arch_base=here if arch is not None else beside,
        input=input or (parse_shape(recipe.input) if recipe.input else None),
        data=chosen_data,
        data_base=here if data is not None else beside,
        arch_sha256=_source_hash(arch or recipe.arch, here if arch is not None else beside),
        data_stamp=_stamp(chosen_data, here if data is not None else beside),
        labels=recipe.labels,
        preprocess=recipe.preprocess,
        target=target.name,
        target_sha256=hashlib.sha256(target.to_json().encode()).hexdigest(),
        version=version("edgeprune"),
        budget=wanted,
        thinning=thinning,
        criterion=criterion,
        images=images or Images(),
        rounds=rounds if thinning is None else 1,
        epochs=epochs,
        recovery=asked.model_copy(update={"augment": asked.augment or recipe.augment}),
        formats=formats,
        interface=interface,
        precisions=tuple(precisions),
        quantized_drop=quantized_drop,
        seed=seed,
        trust_pickle=trust_pickle,
        allow_inexact=known_inexact(allow_inexact),
    )


def ask_to_look(
    model: Path | nn.Module | None,
    *,
    arch: str | None = None,
    inputs: Sequence[InputSize] = (),
    trust_pickle: bool = False,
    allow_inexact: Iterable[str] = (),
) -> Look:
    """The request to look at a network: what loading it needs, and nothing else.

    Raises
    ------
    RequestError
        There is nothing to look at, or an operator that cannot be allowed.
    """
    path = model if isinstance(model, Path) else None
    if model is None and arch is None:
        raise RequestError("nothing to inspect", hint="give a model file, or --arch and --input")
    recipe, recipe_path = find_recipe(path, arch)
    return Look(
        model=path.stem if path is not None else None,
        arch=arch if arch is not None else recipe.arch,
        arch_base=str(Path.cwd() if arch is not None or recipe_path is None else recipe_path.parent),
        inputs=tuple(inputs) or ((InputSize(size=parse_shape(recipe.input)),) if recipe.input else ()),
        trust_pickle=trust_pickle,
        allow_inexact=known_inexact(allow_inexact),
    )


def ask_to_screen(
    model: Path | nn.Module | None,
    *,
    arch: str | None = None,
    inputs: Sequence[InputSize] = (),
    data: str | None = None,
    images: int | None = None,
    criterion: str | None = None,
    seed: int = 0,
    trust_pickle: bool = False,
    allow_inexact: Iterable[str] = (),
) -> tuple[Look, Calibration | None]:
    """The request to look at a network, and the images to do so with; None without data.

    Raises
    ------
    RequestError
        There is nothing to look at, an operator that cannot be allowed, an unknown criterion, or a
        number of images without data.
    """
    look = ask_to_look(
        model, arch=arch, inputs=inputs, trust_pickle=trust_pickle, allow_inexact=allow_inexact
    )
    if criterion is not None:
        build_from("criteria", criterion)
    recipe, recipe_path = find_recipe(model if isinstance(model, Path) else None, arch)
    chosen = data if data is not None else recipe.data
    if chosen is None:
        if images is not None:
            raise RequestError("--images needs images", hint="give --data")
        return look, None
    beside = recipe_path.parent.resolve() if recipe_path else Path.cwd()
    return look, Calibration(
        data=chosen,
        data_base=str(Path.cwd() if data is not None else beside),
        labels=recipe.labels,
        preprocess=recipe.preprocess,
        images=images,
        seed=seed,
    )


def _require_precisions(formats: Sequence[Format], precisions: Sequence[Precision]) -> None:
    """Every precision must be one that some quantizer makes of one of the formats."""
    made = {name.partition("-")[2] for name in names("quantizers") if name.partition("-")[0] in formats}
    for precision in precisions:
        if precision not in {"fp32", *made}:
            raise RequestError(
                f"no {' or '.join(formats)} file can be made in precision '{precision}'",
                hint=did_you_mean(precision, {"fp32", *made}),
            )


def _require_one_way(epochs: int, recovery: Recovery) -> None:
    """Either the own loop or the user's, and no option of a loop that does not run."""
    if recovery.command is not None:
        command_words(recovery.command)
        if epochs:
            raise RequestError(
                "--epochs and --train-command train twice", hint="your command decides how long it trains"
            )
    given = {
        "--learning-rate": recovery.learning_rate,
        "--batch-size": recovery.batch,
        "--augment": recovery.augment,
    }
    for option, value in given.items():
        if value is not None and not epochs:
            raise RequestError(f"{option} without --epochs", hint="say how long to train: --epochs 10")


def _require_batch(interface: Interface, formats: Sequence[Format]) -> None:
    """A free batch is asked for only of exporters that can leave it free."""
    for format in formats if interface.batch == "free" else ():
        if "free_batch" not in {field.name for field in fields(find("exporters", format))}:
            raise RequestError(
                f"--batch free: {format} files answer one input at a time",
                hint="leave --batch out, or name the formats that can: --format onnx",
            )


def _require_connections(thinning: Thinning, budget: Budget | None, epochs: int, recovery: Recovery) -> None:
    """Nothing that only whole channels can give, and as many epochs as there are rounds."""
    _require_no_bound(budget or Budget())
    if recovery.command is not None:
        raise RequestError(
            "--train-command does not know which connections are gone, and would bring them back",
            hint="train with --epochs, which keeps zeros at zero",
        )
    if thinning.rounds is not None and thinning.rounds > max(1, epochs):
        raise RequestError(
            f"--rounds {thinning.rounds} with --epochs {epochs}: every round trains for an epoch at least",
            hint=f"give --epochs {4 * thinning.rounds}, or fewer rounds",
        )
    if thinning.rounds is not None and thinning.rounds > 1 and thinning.pattern is not None:
        raise RequestError(
            f"--rounds with --pattern {thinning.pattern}: a pattern is reached in one step",
            hint="leave --rounds out",
        )


def _require_no_bound(budget: Budget) -> None:
    """Refuse every bound, since connections can be held to none of them; each for its own reason."""
    if budget.max_drop is not None:
        raise RequestError(
            "--max-drop needs whole channels to go: its search for the smallest network cuts nothing else",
            hint="say how many weights stay with --sparsity 70x, or leave --granularity connection out",
        )
    if budget.confidence is not None:
        raise RequestError(
            "--confidence is about --max-drop, which needs whole channels to go",
            hint="leave it out: --sparsity 70x or --pattern 2:4 says how many connections stay",
        )
    if budget.words():
        raise RequestError(
            f"the budget {budget.words()} needs whole channels to go: zeros are computed like other numbers",
            hint="say how many weights stay with --sparsity 70x, or leave --granularity connection out",
        )


def _require_sense(
    budget: Budget, target: Target, precisions: Sequence[Precision], rounds: int, has_data: bool
) -> None:
    """Refuse bounds that nothing can be judged by, or that contradict one another."""
    if budget.confidence is not None and budget.max_drop is None:
        raise RequestError("--confidence without --max-drop", hint="say how much may be lost: --max-drop 1")
    if budget.max_drop is not None and not has_data:
        raise RequestError(
            "--max-drop needs images to judge by",
            hint="give --data; without labels the answers are compared with the original's",
        )
    if budget.max_drop is not None and rounds > 1:
        raise RequestError(
            "--max-drop searches by single cuts, --rounds makes several",
            hint="search first, then give the budget it found with --rounds",
        )
    if rounds > 1 and not has_data:
        raise RequestError(
            "--rounds needs images: without them nothing is refitted or screened anew in between",
            hint="give --data, or leave --rounds out",
        )
    written = {"fp32", *precisions}  # float32 files are made for every target
    if budget.size_of is not None and budget.size_of not in written:
        known = budget.size_of in target.precisions
        why = "--precision leaves out" if known else f"target '{target.name}' has none of"
        raise RequestError(
            f"--size bounds a {budget.size_of} file, which {why}",
            hint=did_you_mean(budget.size_of, written),
        )


def _or_default(budget: Budget | None) -> Budget:
    """Half of the MACs where no bound is given; a confidence alone is kept, to be refused."""
    if budget is None or not (budget.words() or budget.confidence is not None):
        return Budget(speedup=DEFAULT_SPEEDUP)
    return budget


def _source_hash(arch: str | None, base: str) -> str:
    """A hash of the file `path/to/file.py:factory` names; '' for the other forms."""
    path = Path(base, (arch or "").rpartition(":")[0])
    return sha256(path) if path.suffix == ".py" and path.is_file() else ""


def _stamp(data: str | None, base: str) -> str:
    """Size and time of the file that `name:FILE` names: hashing a dataset would take too long."""
    path = Path(base, (data or "").partition(":")[2].partition("?")[0])
    if not path.is_file():
        return ""
    found = path.stat()
    return f"{found.st_size} {found.st_mtime_ns}"


def _weights_hash(model: Path | nn.Module) -> str:
    """A hash of a module's weights; '' for a path that is not a file (loading it will say why)."""
    if isinstance(model, Path):
        return ""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
