"""A mask finds its way through a document; one that does not fit its shape is refused."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from edgeprune.core.errors import DocumentError
from edgeprune.core.sparsity import Connections, Sparsity


def a_mask(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).random(shape) < 0.2


def a_sparsity() -> Sparsity:
    masks = {"a.weight": a_mask(5, 7), "b.weight": np.ones((3, 5), dtype=bool)}
    return Sparsity(
        graph="ab12",
        criterion="l2",
        budget=">= 5x fewer weights",
        seed=0,
        images=0,
        connections={name: Connections.of(mask) for name, mask in masks.items()},
    )


@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (4, 3, 3, 3), (8, 8)])
def test_a_mask_is_read_as_it_was_written(shape: tuple[int, ...]) -> None:
    mask = a_mask(*shape)
    document = Connections.of(mask)
    assert (document.array() == mask).all()
    assert document.kept == mask.sum()


def test_a_sparsity_is_read_as_it_was_saved(tmp_path: Path) -> None:
    a_sparsity().save(tmp_path / "sparsity.json")
    again = Sparsity.load(tmp_path / "sparsity.json")
    assert again == a_sparsity()
    assert again.weights == 50
    assert again.kept == int(a_mask(5, 7).sum()) + 15


def test_only_weights_that_lose_connections_have_a_mask() -> None:
    assert list(a_sparsity().masks()) == ["a.weight"]


def test_a_thin_mask_takes_little_room() -> None:
    mask = np.random.default_rng(0).random((300, 784)) < 1 / 70
    assert len(Connections.of(mask).mask) < mask.size / 8


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode()


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"kept": 3}, "mask: does not keep 3 of 35 weights"),
        ({"shape": (5, 9)}, "mask: does not hold one bit for each of 45 weights"),
        ({"shape": (50, 70)}, "mask: does not hold one bit for each of 3500 weights"),
        ({"mask": "%%%"}, "mask: not zlib in base64"),
        ({"mask": base64.b64encode(b"no zlib").decode()}, "mask: not zlib in base64"),
        ({"mask": packed(bytes(10**7))}, "mask: does not hold one bit for each of 35 weights"),
        ({"mask": packed(bytes([255] * 5)), "kept": 35}, "mask: does not keep 35 of 35 weights"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(changed: dict[str, object], why: str) -> None:
    good = Connections.of(a_mask(5, 7)).model_dump()
    assert good["kept"] == 8
    with pytest.raises(ValidationError, match=why):
        Connections.model_validate({**good, **changed})


def test_a_file_with_a_damaged_mask_is_named(tmp_path: Path) -> None:
    path = tmp_path / "sparsity.json"
    path.write_text(a_sparsity().to_json().replace('"kept": 15', '"kept": 14'))
    with pytest.raises(DocumentError, match=r"sparsity\.json: .*b\.weight.*does not keep 14 of 15"):
        Sparsity.load(path)
