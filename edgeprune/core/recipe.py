"""The recipe beside a model (`edgeprune.toml`): what the weights alone do not say."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from edgeprune.core.document import Document
from edgeprune.core.recovery import Augment

RECIPE_NAME = "edgeprune.toml"


class Preprocess(Document):
    """How raw images become network inputs: crop, scale, normalise (folders resize on reading)."""

    crop: int | None = Field(default=None, gt=0, description="centre crop in pixels")
    scale: float | None = Field(
        default=None, gt=0, description="divide by this; default 255 for integer images, else 1"
    )
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()


class Recipe(Document):
    """What a model needs to be run and judged; command-line options override it."""

    kind: Literal["recipe/1"] = "recipe/1"
    arch: str | None = Field(default=None, description="as --arch; relative paths start here")
    input: str | None = Field(default=None, description="input size without batch: 3x224x224")
    data: str | None = Field(default=None, description="as --data; relative paths start here")
    labels: tuple[str, ...] = Field(default=(), description="class names in output order")
    preprocess: Preprocess = Preprocess()
    augment: Augment | None = Field(default=None, description="as --augment")


def find_recipe(model: Path | None, arch: str | None) -> tuple[Recipe, Path | None]:
    """The recipe that applies, and its file.

    Looked up as `edgeprune.toml` beside the model file, then `recipe.toml` beside the
    architecture's Python file; without either an empty recipe.
    """
    candidates = []
    if model is not None:
        candidates.append(model.parent / RECIPE_NAME)
    if arch and ".py:" in arch:
        candidates.append(Path(arch.rpartition(":")[0]).parent / "recipe.toml")
    for path in candidates:
        if path.is_file():
            return Recipe.load(path), path
    return Recipe(), None
