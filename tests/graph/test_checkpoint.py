"""The state after an epoch comes back as it was, for the question it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny import tiny

from edgeprune.core.errors import StorageError
from edgeprune.graph.checkpoint import Checkpoint, State, question_of

STATE = State(3, {"a": torch.arange(4.0)}, {"a": torch.ones(4)}, [torch.ones(2)])


def test_a_state_comes_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "made" / "checkpoint.pt", "question")
    assert checkpoint.load() is None
    checkpoint.save(STATE)
    found = checkpoint.load()
    assert found is not None
    assert found.epochs == 3
    assert torch.equal(found.weights["a"], STATE.weights["a"])
    assert torch.equal(found.momenta[0], torch.ones(2))
    assert [path.name for path in (tmp_path / "made").iterdir()] == ["checkpoint.pt"]


def test_a_state_of_another_question_is_not_gone_on_with(tmp_path: Path) -> None:
    Checkpoint(tmp_path / "checkpoint.pt", "one").save(STATE)
    assert Checkpoint(tmp_path / "checkpoint.pt", "other").load() is None


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(content)
    with pytest.raises(StorageError) as caught:
        Checkpoint(path, "question").load()
    assert caught.value.message == f"{path}: the checkpoint of the last epoch is damaged"
    assert caught.value.hint == "delete it, and training starts again from the refitted network"


def test_the_question_covers_weights_and_settings() -> None:
    one, other = tiny(), tiny()
    assert question_of(one, 1) == question_of(other, 1) != question_of(one, 2)
    with torch.no_grad():
        other.tensors()["head.bias"][0] += 1
    assert question_of(one, 1) != question_of(other, 1)
