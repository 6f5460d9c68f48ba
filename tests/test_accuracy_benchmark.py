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

from benchmarks import page
from benchmarks.accuracy import (
    checkout,
    peer,
    recovery,
    screening_cost,
    starts,
    subjects,
    tables,
    together,
    trial,
)
from benchmarks.accuracy.scale import Scale
from edgeprune.core.recipe import Preprocess
from edgeprune.core.registry import build
from edgeprune.core.report import Quality
from edgeprune.core.request import Budget
from edgeprune.core.samples import Pools
from edgeprune.graph.capture import Program, capture
from edgeprune.graph.cost import count
from edgeprune.graph.couple import couple
from edgeprune.graph.objective import Objective
from edgeprune.stages import finetune as stage
from edgeprune.stages.finetune import Course, finetune
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink

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
    assert [path.name for path in tmp_path.iterdir()] == ["tiny-edgeprune-refit-60-1.5x-1-0.pt"]
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


def test_the_peers_own_loss_is_cross_entropy() -> None:
    found, wanted = torch.randn(6, 4), torch.randn(6, 4)
    labels = torch.arange(6) % 4
    loss = recovery.OBJECTIVES[recovery.PEER].loss(found, wanted, labels)
    assert torch.allclose(loss, nn.functional.cross_entropy(found, labels))
    assert torch.allclose(recovery.OBJECTIVES[recovery.PEER].loss(found, None, labels), loss)
    assert not torch.allclose(recovery.OBJECTIVES[starts.OURS].loss(found, wanted, labels), loss)


def test_networks_trained_side_by_side_end_as_they_do_alone() -> None:
    courses = [Course(2, 0.03, "flip"), Course(2, 0.03, "flip", objective=Objective(distilled=0.2))]
    courses.append(Course(2, 0.01, "none", seed=4, objective=recovery.OBJECTIVES[starts.PEER]))
    original, train = SUBJECT.program(), a_split(300)

    def copies() -> list[Program]:
        return [starts.replay(couple(original), narrow) for _ in courses]

    coupling = couple(original)
    narrow = plan(
        coupling, screen(coupling, None, build("criteria", "l2"), name="l2"), Budget(speedup=1.5), multiple=1
    )
    side_by_side, alone = copies(), copies()
    averages = together.trained_together(
        [
            together.Pupil(original, program, train, course)
            for program, course in zip(side_by_side, courses, strict=True)
        ]
    )
    for program, course, expected, averaged in zip(side_by_side, courses, alone, averages, strict=True):
        (found,) = together.trained_together([together.Pupil(original, expected, train, course)])
        assert all(torch.equal(one, program.tensors()[name]) for name, one in expected.tensors().items())
        assert all(torch.equal(one, averaged[name]) for name, one in found.items())
        done, document = finetune(
            original, starts.replay(couple(original), narrow), train, a_split(80, seed=1), course
        )
        assert document.kept in ("last", "averaged")
        kept = expected.tensors() if document.kept == "last" else found
        assert all(torch.equal(one, kept[name]) for name, one in done.tensors().items())


def test_networks_that_make_other_steps_are_not_trained_together() -> None:
    original = SUBJECT.program()
    pupils = [together.Pupil(original, SUBJECT.program(), a_split(n), Course(1)) for n in (100, 300)]
    with pytest.raises(SystemExit, match="make the same steps"):
        together.trained_together(pupils)


def test_right_answers_are_counted() -> None:
    program, split = SUBJECT.program(), a_split(90)
    answers = program.run(torch.from_numpy(next(split.batches(90))[0])).argmax(1).numpy()
    assert recovery.right(program, split) == int((answers == split.labels).sum())


def outcome(name: str, top1: float, **changed: object) -> trial.Outcome:
    quality = Quality(top1=top1, images=100, interval=(top1 - 2, top1 + 1.5))
    given = {"cut": None, "divergence": 0.25, "seconds": 12.4, **changed}
    return trial.Outcome(name, 50_000_000, 1_000, quality=quality, **given)  # type: ignore[arg-type]


def test_training_free_rows_say_what_they_save_and_cost() -> None:
    whole = dataclasses.replace(outcome("(untouched)", 93, seconds=0.0), macs=100_000_000)
    rows = [dataclasses.replace(one, extra={"peak_gb": 1.5}) for one in (whole, outcome("edgeprune", 92.5))]
    assert tables.training_free_table(rows)[2:] == [
        "| (untouched) | 100.00 M | 1.00x | 93.00 | 91.00-94.50 |  | 1.50 GB |",
        "| edgeprune | 50.00 M | 2.00x | 92.50 | 90.50-94.00 | 12 | 1.50 GB |",
    ]


def test_the_best_criterion_stands_first_and_the_default_is_marked() -> None:
    cut = outcome("", 40).quality
    rows = [outcome("random", 80, cut=cut), outcome("refit", 90, cut=cut)]
    assert tables.criteria_table(outcome("", 93).quality, rows, "random")[2:] == [
        "| (untouched) | 93.00 | 93.00 | 91.00-94.50 | 0 | |",
        "| refit | 40.00 | 90.00 | 88.00-91.50 | 0.2500 | 12 |",
        "| **random** (default) | 40.00 | 80.00 | 78.00-81.50 | 0.2500 | 12 |",
    ]


def test_criteria_over_several_draws_are_compared_with_the_default() -> None:
    found = {
        "refit": {"small": [90.0, 91.0], "large": [80.0, 82.0]},
        "screening": {"small": [91.0, 92.5], "large": [81.0, 83.5]},
    }
    assert tables.draws_table(found, "screening") == [
        "| criterion | small | large | mean | beside the default | interval |",
        "|---|---|---|---|---|---|",
        "| **screening** (default) | 91.75 (1.06) | 82.25 (1.77) | 87.00 |  |  |",
        "| refit | 90.50 (0.71) | 81.00 (1.41) | 85.75 | -1.25 | -1.71 to -0.79 |",
    ]
    assert tables.draws_table({"refit": found["refit"]}, "screening")[2].endswith("| 85.75 |  |  |")


def test_an_ablation_is_told_against_the_default() -> None:
    rows = [outcome("default", 90), outcome("no refit", 30, divergence=None)]
    assert tables.ablation_table(rows, {"no drift": "edgeprune.graph.walk:Walk.gone"})[2:] == [
        "| default | 90.00 | 88.00-91.50 |  | 0.2500 | 12 |",
        "| no refit | 30.00 | 28.00-31.50 | -60.00 |  | 12 |",
        "| no drift | not measured: no edgeprune.graph.walk:Walk.gone | | | | |",
    ]


def a_line(row: str, seed: int, top1: float, **changed: object) -> dict[str, object]:
    return {
        "row": row,
        "cut": {"network": "resnet56", "speedup": 2.1, "seed": seed},
        "macs": [210, 100],
        "epochs": 10,
        "images": None,
        "rate": 0.01,
        "top1": top1,
        "top1_before": 91.0,
        "seconds": 60.0,
        "finetuning": {"images": 49_500},
        "device": "card",
        **changed,
    }


def test_seeds_are_one_row_with_mean_and_deviation() -> None:
    lines = [a_line("edgeprune", seed, top1) for seed, top1 in enumerate((93.0, 93.2, 93.4))]
    other = a_line("peer", 0, 92.0, epochs=100)
    assert tables.recovery_table([other, *lines])[2:] == [
        "| resnet56 | 2.10x | 10 | edgeprune | 3 | 91.00 | 93.20 | 0.20 | 0.01 | 128 | 49,500 | 60 | card |",
        "| resnet56 | 2.10x | 100 | peer | 1 | 91.00 | 92.00 | one seed | 0.01 | 128 | 49,500 | 60 | card |",
    ]


def test_runs_of_other_batches_or_side_by_side_are_rows_of_their_own() -> None:
    lines = [a_line("edgeprune", 0, 93.0), a_line("edgeprune", 1, 94.0, batch=256, beside=2)]
    assert tables.recovery_table(lines)[2:] == [
        "| resnet56 | 2.10x | 10 | edgeprune | 1 | 91.00 | 93.00 | one seed | 0.01 | 128 | 49,500 | "
        "60 | card |",
        "| resnet56 | 2.10x | 10 | edgeprune | 1 | 91.00 | 94.00 | one seed | 0.01 | 256 | 49,500 | "
        "60, 3 at once | card |",
    ]


def test_a_switch_holds_for_its_trial_only() -> None:
    switch = trial.Switch(
        ("edgeprune.gone:NAME", "edgeprune.stages.finetune:BATCH"), lambda before: before + 1
    )
    before = stage.BATCH
    with trial._switched((switch,)):
        assert before + 1 == stage.BATCH
    assert before == stage.BATCH


def test_a_switch_that_is_gone_is_told() -> None:
    switch = trial.Switch(("edgeprune.gone:NAME", "edgeprune.stages.finetune:GONE"), lambda before: before)
    with pytest.raises(trial.NoSuchSwitchError, match=r"edgeprune.gone:NAME, edgeprune.stages.finetune:GONE"):
        trial._switched((switch,)).__enter__()


def test_a_uniform_plan_takes_the_same_share_of_every_group() -> None:
    coupling = couple(tiny("residual_blocks"))
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    made = trial.uniform_plan(coupling, ranks, Budget(speedup=1.3), 1)
    assert count(coupling).macs / made.after.macs >= 1.3
    shares = [len(cut.kept) / cut.units for cut in made.cuts]
    assert max(shares) - min(shares) <= max(1 / cut.units for cut in made.cuts)
    assert shrink(coupling, made)[1].after.macs == made.after.macs


def test_a_trial_cuts_refits_and_judges() -> None:
    splits = SUBJECT.splits(0, calibration=60)
    found = trial.carried_out(trial.Trial("here", "refit", judge_cut=True), SUBJECT, splits, 1.5, 1)
    assert found.macs * 1.5 <= count(couple(SUBJECT.program())).macs
    assert found.cut is not None
    assert found.quality.images == found.cut.images == 80
    bare = trial.carried_out(trial.Trial("here", "refit", refit=False), SUBJECT, splits, 1.5, 1)
    assert (bare.quality, bare.divergence) == (found.cut, None)


def test_what_screening_keeps_does_not_grow_with_the_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening_cost, "subject_of", lambda name: SUBJECT)
    monkeypatch.setattr(screening_cost, "_ROUNDS", 1)
    few, many = (
        screening_cost.screening_cost("tiny", Scale("refit", calibration=images)) for images in (40, 160)
    )
    assert few.images < many.images
    assert few.kept_bytes == many.kept_bytes <= 8 * few.classes * 3 * few.channels


def test_sections_that_another_script_wrote_stay(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    for order, name in ((("a",), "a"), (("b",), "b"), (("a",), "a")):
        page.put_section(file, "# Title\n", order, name, [name])
    assert file.read_text().count("<!-- begin") == 2
