"""The recipe beside the model applies before the one beside the architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.core.errors import DocumentError
from edgeprune.core.recipe import Preprocess, Recipe, find_recipe


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A model and an architecture in folders of their own."""
    (tmp_path / "weights").mkdir()
    (tmp_path / "code").mkdir()
    return tmp_path


def arch(here: Path) -> str:
    return f"{here}/code/model.py:net"


def test_without_a_file_the_recipe_is_empty(here: Path) -> None:
    assert find_recipe(here / "weights" / "net.pt", arch(here)) == (Recipe(), None)
    assert find_recipe(None, "torchvision:resnet18") == (Recipe(), None)


def test_the_recipe_beside_the_architecture_applies(here: Path) -> None:
    beside = here / "code" / "recipe.toml"
    beside.write_text('input = "3x8x8"')
    assert find_recipe(here / "weights" / "net.pt", arch(here)) == (Recipe(input="3x8x8"), beside)
    assert find_recipe(None, arch(here)) == (Recipe(input="3x8x8"), beside)


def test_the_recipe_beside_the_model_comes_first(here: Path) -> None:
    (here / "code" / "recipe.toml").write_text('input = "3x8x8"')
    own = here / "weights" / "edgeprune.toml"
    own.write_text('input = "1x4x4"\n[preprocess]\nscale = 16\nmean = [0.5]')
    recipe, path = find_recipe(here / "weights" / "net.pt", arch(here))
    assert path == own
    assert recipe == Recipe(input="1x4x4", preprocess=Preprocess(scale=16, mean=(0.5,)))


def test_a_recipe_with_faults_names_its_file_and_keys(here: Path) -> None:
    own = here / "weights" / "edgeprune.toml"
    own.write_text('architecture = "model.py:net"\n[preprocess]\nmeans = [0.5]\nscale = 0')
    with pytest.raises(DocumentError) as caught:
        find_recipe(here / "weights" / "net.pt", None)
    assert caught.value.message == (
        f"{own}: 3 faults\n"
        "  preprocess.scale: input should be greater than 0\n"
        "  preprocess.means: unknown key (did you mean 'mean'?)\n"
        "  architecture: unknown key (did you mean 'arch'?)"
    )
