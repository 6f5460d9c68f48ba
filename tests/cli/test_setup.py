"""`edgeprune init`: a recipe that loads, and none is overwritten."""

from __future__ import annotations

from pathlib import Path

import pytest
from command import Here

from edgeprune.core.recipe import Recipe, find_recipe

WRITTEN = """\
kind = "recipe/1"
arch = "model.py:net"
input = "3x32x32"
data = "npz:digits.npz"
# labels = ["cat", "dog"]   # class names in the order of the network's outputs

[preprocess]
# crop = 224                # centre crop, pixels
# scale = 255               # divide by this; integer images are divided by 255 without it
# mean = [0.485, 0.456, 0.406]
# std = [0.229, 0.224, 0.225]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_options_become_lines_of_the_recipe(here: Here, folder: Path) -> None:
    answer = here("init", "--arch", "model.py:net", "--input", "3x32x32", "--data", "npz:digits.npz")
    assert (answer.code, answer.out, answer.err) == (0, "wrote edgeprune.toml\n", "")
    assert (folder / "edgeprune.toml").read_text() == WRITTEN


def test_the_recipe_is_found_beside_the_model(here: Here, folder: Path) -> None:
    (folder / "nets").mkdir()
    here("init", "nets", "--arch", "model.py:net", "--input", "3x32x32", "--data", "npz:digits.npz")
    recipe, path = find_recipe(Path("nets/model.pt"), None)
    assert path == Path("nets/edgeprune.toml")
    assert recipe == Recipe(arch="model.py:net", input="3x32x32", data="npz:digits.npz")


def test_without_options_the_recipe_is_empty_and_loads(here: Here) -> None:
    assert here("init").code == 0
    assert Recipe.load(Path("edgeprune.toml")) == Recipe()


def test_its_commented_lines_are_a_valid_recipe(here: Here) -> None:
    here("init")
    path = Path("edgeprune.toml")
    path.write_text(path.read_text().replace("\n# ", "\n"))
    recipe = Recipe.load(path)
    assert recipe.input == "3x224x224"
    assert recipe.preprocess.crop == 224


def test_text_is_quoted_for_toml(here: Here) -> None:
    arch = 'a "b" \\ c.py:net'
    here("init", "--arch", arch)
    assert Recipe.load(Path("edgeprune.toml")).arch == arch


def test_a_recipe_is_never_overwritten(here: Here) -> None:
    here("init", "--input", "3x32x32")
    answer = here("init", "--input", "1x8x8")
    assert (answer.code, answer.refusal) == (2, ("edgeprune.toml exists", "edit it, or delete it first"))
    assert Recipe.load(Path("edgeprune.toml")).input == "3x32x32"


def test_a_bad_size_writes_nothing(here: Here) -> None:
    answer = here("init", "--input", "3x32xx")
    assert (answer.code, answer.refusal) == (
        2,
        ("--input '3x32xx' is not a size", "write channels x height x width: 3x224x224"),
    )
    assert not Path("edgeprune.toml").exists()


def test_a_folder_that_does_not_exist(here: Here) -> None:
    answer = here("init", "nowhere")
    assert (answer.code, answer.refusal) == (
        2,
        ("nowhere: no such folder", "name the folder the model lies in"),
    )
