"""Quantizing in a run: which bound holds for integer files, and what becomes of those that break it."""

from __future__ import annotations

import shutil
from pathlib import Path

from core.documents import REQUEST
from fragile import CALIBRATION, SELECTION, fragile_floats, fragile_folder, narrow_minded, trained
from tiny import ELSEWHERE, unlabelled

from edgeprune.core.progress import Silent
from edgeprune.core.quantization import Guard, Quantized
from edgeprune.core.registry import build
from edgeprune.core.report import Delivery
from edgeprune.core.request import Budget, Request
from edgeprune.core.samples import Splits
from edgeprune.graph.capture import Program
from edgeprune.graph.couple import couple
from edgeprune.pipeline.quantizing import guard_of, quantized
from edgeprune.stages.export import export
from edgeprune.stages.plan import plan
from edgeprune.stages.screen import screen
from edgeprune.stages.shrink import shrink


def asked(**options: object) -> Request:
    return REQUEST.model_copy(update={"budget": Budget(speedup=2.0), "quantized_drop": 1.0, **options})


def splits(*, labelled: bool = True) -> Splits:
    parts = [part if labelled else unlabelled(part) for part in (CALIBRATION, SELECTION)]
    calibration, selection = parts
    return Splits(calibration, selection, selection, calibration, 4)


def made(folder: Path, request: Request, images: Splits | None, *, final: Program | None = None) -> Quantized:
    """What quantizing gives; without another final network the one of `fragile.py` is left as it was."""
    if final is None:
        artifacts = fragile_floats()
        for one in artifacts:
            shutil.copy(fragile_folder() / one.path, folder)
    else:
        written, _ = export(final, ("onnx",), folder, parent="")
        artifacts = tuple(written)
    exported = Delivery(artifacts=artifacts)
    original = trained()
    return quantized(original, final or original, exported, request, ELSEWHERE, images, folder, Silent())


def test_a_bound_on_the_whole_drop_holds_for_files_from_the_original_on() -> None:
    request = asked(budget=Budget(max_drop=2.0, confidence=0.9))
    assert guard_of(request, labelled=True) == Guard(
        at_most=2.0, confidence=0.9, against="original", answers="right"
    )
    assert guard_of(request, labelled=False) == Guard(
        at_most=2.0, confidence=0.9, against="original", answers="same"
    )


def test_without_one_files_have_their_own_against_float32_as_counted() -> None:
    assert guard_of(asked(), labelled=True) == Guard(at_most=1.0, confidence=0.5, against="float32")
    assert guard_of(asked(quantized_drop=0.3), labelled=True).at_most == 0.3
    assert guard_of(asked(quantized_drop=0.3), labelled=False) == Guard(at_most=5.0, answers="same")


def test_files_come_format_by_format_in_the_order_they_were_asked_for(tmp_path: Path) -> None:
    found = made(tmp_path, asked(precisions=("int8-static", "fp16")), splits())
    assert [one.path for one in found.artifacts] == [
        "model.int8-static.onnx",
        "model.fp16.onnx",
        "model.int8-static.tflite",
        "model.fp16.tflite",
    ]
    assert list(found.made) == ["model.int8-static.onnx", "model.int8-static.tflite"]
    assert all(how.holds for how in found.made.values())
    assert (found.failed, found.unmet) == ({}, ())
    assert Quantized.parse(found.model_dump(mode="json"), source="") == found


def test_without_labels_as_many_answers_as_the_bound_says_stay_the_same(tmp_path: Path) -> None:
    found = made(tmp_path, asked(precisions=("int8-static",)), splits(labelled=False))
    for how in found.made.values():
        assert (how.guard.answers, how.guard.at_most) == ("same", 5.0)
        assert how.after.drop.points <= 5


def test_a_channel_that_takes_the_range_for_itself_is_evened_out_and_nothing_goes_back(
    tmp_path: Path,
) -> None:
    found = made(tmp_path, asked(precisions=("int8-static",)), splits())
    for how in found.made.values():
        assert (how.repaired, how.fallbacks, how.holds) == (True, (), True)
        signals: dict[bool, list[float]] = {repaired: [] for repaired in (False, True)}
        for trial in how.trials:
            assert trial.snr_db is not None
            signals[trial.repaired].append(trial.snr_db)
        assert max(signals[False]) < 1
        assert min(signals[True]) > 20


def test_weights_of_a_network_that_was_cut_are_rounded_too(tmp_path: Path) -> None:
    coupling = couple(trained())
    ranks = screen(coupling, None, build("criteria", "l2"), name="l2")
    final, _, _ = shrink(coupling, plan(coupling, ranks, Budget(speedup=8.0), multiple=1))
    found = made(tmp_path, asked(precisions=("int4-weight-only",)), splits(), final=final)
    assert [one.path for one in found.artifacts] == ["model.int4-weight-only.onnx"]


def test_without_images_there_is_nothing_to_guard_and_int8_is_dynamic(tmp_path: Path) -> None:
    found = made(tmp_path, asked(precisions=("int8-static",)), None)
    assert [one.precision for one in found.artifacts] == ["int8-dynamic"] * 2
    assert found.made == {}


def test_float32_alone_is_asked_for_with_its_own_name(tmp_path: Path) -> None:
    assert made(tmp_path, asked(precisions=("fp32",)), splits()) == Quantized(artifacts=())


def test_a_bound_that_nothing_keeps_to_leaves_no_file_and_is_unmet(tmp_path: Path) -> None:
    request = asked(precisions=("int8-static",), budget=Budget(max_drop=10.0, confidence=0.9))
    found = made(tmp_path, request, splits(), final=narrow_minded())
    assert found.artifacts == ()
    assert not list(tmp_path.glob("*int8*"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [".edgeprune", "model.onnx"]
    how = found.made["model.int8-static.onnx"]
    assert how.guard.against == "original"
    assert how.after.drop.points == 25
    low, high = how.after.drop.interval
    lost = f"drop within 10 points at 90 %, but 25.00 [{low:.2f}, {high:.2f}] are lost"
    assert found.unmet == (f"no int8-static onnx file keeps to the bound: {lost}",)
    assert found.failed == {
        "model.int8-static.onnx": f"even with every operator in float32 it breaks the bound: {lost}"
    }
