"""The accuracy benchmarks: starts are kept as they were, and MACs are counted as edgeprune counts them."""

from __future__ import annotations

import dataclasses
import sys
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import a_split, tiny
from torch import nn
from zoo import IMAGE, SITUATIONS

from benchmarks.accuracy import checkout, peer, recovery, starts, subjects
from edgeprune.core.recipe import Preprocess
from edgeprune.core.samples import Pools
from edgeprune.graph.capture import capture
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple
from edgeprune.stages import finetune as stage

CUT = starts.Cut(
    maker=starts.OURS, network="tiny", speedup=1.5, seed=0, criterion="refit", multiple=1, calibration=60
)


def pools() -> Pools:
    return Pools(a_split(700).samples, a_split(80, seed=1).samples)


SUBJECT = subjects.Subject("tiny", IMAGE, SITUATIONS["residual_add"].build, pools, Preprocess())


def test_a_folder_of_parts_holds_what_the_archive_holds(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    arrays = {
        f"x_{part}": random.integers(0, 255, (images, 40, 40, 3), dtype=np.uint8)
        for part, images in (("train", 900), ("test", 50))
    }
    arrays |= {f"y_{part}": np.arange(len(arrays[f"x_{part}"])) % 3 for part in ("train", "test")}
    np.savez(tmp_path / "all.npz", **arrays)
    subjects.write_parts(tmp_path / "all.npz", tmp_path / "parts", mebibytes=1)
    assert len([*(tmp_path / "parts").glob("x_train*.npy")]) == 5
    whole, joined = subjects.pools_of(tmp_path / "all.npz"), subjects.pools_of(tmp_path / "parts")
    for one, other in ((whole.train, joined.train), (whole.test, joined.test)):
        assert one is not None
        assert other is not None
        assert np.array_equal(one.read(range(one.size)), other.read(range(other.size)))
        assert np.array_equal(one.labels, other.labels)  # type: ignore[arg-type]


def test_training_images_can_be_fewer_and_stay_apart_from_the_others() -> None:
    splits = SUBJECT.splits(3, calibration=60, training=100)
    assert [len(one) for one in (splits.calibration, splits.selection, splits.training)] == [60, 500, 100]
    assert not set(splits.training.indices) & set(splits.selection.indices)


@pytest.mark.parametrize("situation", ["residual_add", "grouped", "depthwise", "bn_mlp"])
def test_the_peers_macs_are_counted_as_ours_are(situation: str) -> None:
    module = SITUATIONS[situation].build()
    program = tiny(situation)
    assert peer.macs_of(module, program.input_size) == count(couple(program)).macs


def test_a_module_that_no_longer_runs_has_no_macs() -> None:
    assert peer.macs_of(nn.Sequential(nn.Linear(4, 3), nn.Linear(4, 2)), (4,)) is None


def test_a_narrower_state_makes_a_narrower_module() -> None:
    narrow = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Conv2d(5, 4, 1)).eval()
    wide = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 4, 1)).eval()
    found = peer.narrowed(wide, narrow.state_dict())
    inputs = torch.randn(2, 3, 8, 8)
    assert torch.equal(found(inputs), narrow(inputs))
    assert capture(found, (3, 8, 8)).fingerprint() == capture(narrow, (3, 8, 8)).fingerprint()


def test_a_kept_start_is_the_start_again(tmp_path: Path) -> None:
    splits, coupling = SUBJECT.splits(0, calibration=60), couple(SUBJECT.program())
    made = starts.start_of(CUT, SUBJECT, splits, coupling, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-edgeprune-refit-1.5x-1-0.pt"]
    bare = dataclasses.replace(splits, calibration=None)  # type: ignore[arg-type]  # nothing is worked out again
    found = starts.start_of(CUT, SUBJECT, bare, coupling, tmp_path)
    assert count(coupling).macs / count(couple(found)).macs >= 1.5
    inputs = found.example(3)
    assert torch.equal(found.run(inputs), made.run(inputs))


def test_what_the_peer_cut_is_found_again(tmp_path: Path) -> None:
    cut = dataclasses.replace(CUT, maker=starts.PEER)
    module = SUBJECT.build()
    starts._keep(tmp_path / cut.file, "", module.state_dict())
    splits, coupling = SUBJECT.splits(0, calibration=60), couple(SUBJECT.program())
    found = starts.start_of(cut, SUBJECT, splits, coupling, tmp_path)
    inputs = found.example(3)
    assert torch.allclose(found.run(inputs), module.eval()(inputs), atol=1e-6)


def test_a_plain_checkout_has_the_plug_ins_of_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {(one.name, one.value) for one in entry_points(group="edgeprune.criteria")}
    monkeypatch.setattr(sys, "path", [one for one in sys.path if "site-packages" not in one])
    monkeypatch.setattr(checkout, "names", lambda family: [])
    checkout.as_installed()
    assert {(one.name, one.value) for one in entry_points(group="edgeprune.criteria")} == installed


def test_the_peers_own_loss_is_cross_entropy_for_its_run_only() -> None:
    found, wanted = torch.randn(6, 4), torch.randn(6, 4)
    labels = torch.arange(6) % 4
    with recovery._plain_loss(True):
        loss = stage._loss(found, wanted, labels, smoothing=stage._SMOOTHING)
    assert torch.allclose(loss, nn.functional.cross_entropy(found, labels))
    assert not torch.allclose(stage._loss(found, wanted, labels, smoothing=stage._SMOOTHING), loss)


def test_right_answers_are_counted() -> None:
    program, split = SUBJECT.program(), a_split(90)
    answers = program.run(torch.from_numpy(next(split.batches(90))[0])).argmax(1).numpy()
    assert recovery.right(program, split) == int((answers == split.labels).sum())
