"""`edgeprune init`: write the recipe that lies beside a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgeprune.cli import options
from edgeprune.core.errors import StorageError
from edgeprune.core.files import write_text
from edgeprune.core.units import parse_shape

_TEMPLATE = """kind = "recipe/1"
{arch}
{input}
{data}
# labels = ["cat", "dog"]   # class names in the order of the network's outputs

[preprocess]
# crop = 224                # centre crop, pixels
# scale = 255               # divide by this; integer images are divided by 255 without it
# mean = [0.485, 0.456, 0.406]
# std = [0.229, 0.224, 0.225]
"""


def init(
    folder: Annotated[Path, typer.Argument(help="The folder the model lies in.")] = Path(),
    arch: options.Arch = None,
    input: options.Input = None,
    data: Annotated[str | None, typer.Option(help="As for compress.")] = None,
) -> None:
    """Write edgeprune.toml, so that `edgeprune compress MODEL --target T` needs no more options."""
    from edgeprune.core.recipe import RECIPE_NAME

    path = folder / RECIPE_NAME
    if not folder.is_dir():
        raise StorageError(f"{folder}: no such folder", hint="name the folder the model lies in")
    if path.exists():
        raise StorageError(f"{path} exists", hint="edit it, or delete it first")
    if input:
        parse_shape(input)
    text = _TEMPLATE.format(
        arch=_line("arch", arch, "torchvision:resnet18?num_classes=10"),
        input=_line("input", input, "3x224x224"),
        data=_line("data", data, "folder:images"),
    )
    write_text(path, text)
    print(f"wrote {path}")


def _line(key: str, value: str | None, example: str) -> str:
    # JSON's quoting of text is TOML's too.
    return f"{key} = {json.dumps(value, ensure_ascii=False)}" if value else f'# {key} = "{example}"'
