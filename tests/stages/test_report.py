"""The report says what was found, what was not measured, and what must not be overlooked."""

from __future__ import annotations

import dataclasses
import json
import platform
from typing import Any

import jsonschema
import numpy as np
import pytest
from core.documents import COST, DEVICE, LESS, REQUEST, TARGET, an_artifact, measured
from tiny import ELSEWHERE, a_split, tiny_coupling, tiny_floats, tiny_folder, tiny_quantized

from edgeprune.core.artifact import Artifact
from edgeprune.core.drop import Drop, DropClaim
from edgeprune.core.group import Group, Reason
from edgeprune.core.plan import Cut, Plan
from edgeprune.core.report import (
    ClassDrop,
    Compensation,
    Deviation,
    Judgement,
    Latencies,
    Latency,
    Proof,
    Qualities,
    Quality,
    Report,
    Verdict,
)
from edgeprune.core.samples import Splits
from edgeprune.core.size import SizeClaim
from edgeprune.core.target import Host
from edgeprune.stages.profile import describe_device, profile
from edgeprune.stages.report import Findings, report
from edgeprune.stages.verify import verify

HERE = TARGET.model_copy(update={"host": Host(machine=platform.machine())})
CUT = Cut(group="body", units=4, kept=(0, 3))
PLAN = Plan(graph="f00", criterion="l2", budget="half", seed=3, before=COST, after=LESS, cuts=(CUT,))
PROOF = Proof(inputs=2, relative_error=1e-16, refused={})
REFIT = Compensation(images=10, refitted=2, divergence_before=0.5, divergence_after=0.1, kept=True)
FILES = (an_artifact(), an_artifact("int8-static"))


def quality(top1: float) -> Quality:
    return Quality(top1=top1, images=200, interval=(top1 - 4, top1 + 4))


def verdict(artifact: Artifact, top1: float, why: str = "") -> Verdict:
    """Of a file that loses what it has less than 91 %, and gains nothing."""
    lost, right = round(4 * (91.0 - top1)), round(4 * top1)
    return Verdict(
        path=artifact.path,
        quality=quality(top1),
        own_drop=Drop(both_right=right, lost=lost, gained=0, both_wrong=400 - right - lost),
        agreement=99.0,
        deviation=Deviation(images=200, max_abs=0.1, relative=0.01),
        passed=not why,
        why=why,
    )


def splits(calibration: int = 10) -> Splits:
    return Splits(
        calibration=a_split(calibration),
        selection=a_split(5),
        test=a_split(20),
        training=a_split(calibration),
        classes=4,
    )


def found(*milliseconds: float, top1: tuple[float, float] = (91.0, 91.0), **changes: Any) -> Findings:
    """Two files, float32 and int8, and the original's, with these medians and accuracies."""
    one, two, three = milliseconds or (2.0, 1.0, 3.0)
    baseline = an_artifact().model_copy(update={"path": "original.onnx", "sha256": "original"})
    latencies = tuple(measured(milliseconds=taken) for taken in (one, two, three))
    findings = Findings(
        request=REQUEST,
        target=TARGET,
        criterion="l2",
        groups=(Group("head", 10, (), Reason("the network's output", "output")), Group("body", 4, ())),
        plan=PLAN,
        proof=PROOF,
        compensation=REFIT,
        finetuning=None,
        splits=splits(),
        artifacts=FILES,
        baselines=(baseline,),
        failed={},
        judgement=Judgement(
            quality=Qualities(original=quality(92.0), shrunk=quality(91.0)),
            verdicts=tuple(verdict(file, each) for file, each in zip(FILES, top1, strict=True)),
        ),
        latencies=Latencies(device=DEVICE, latencies=latencies),
        seconds={"load": 0.5},
    )
    return dataclasses.replace(findings, **changes)


def test_everything_found_is_in_the_report() -> None:
    made = report(found())
    assert (made.model, made.model_sha256, made.target, made.seed) == ("net", "ab12", "board", 3)
    assert (made.cost.before, made.cost.after, made.budget, made.criterion) == (COST, LESS, "half", "l2")
    assert (made.groups, made.locked) == (2, {"head": "the network's output (output)"})
    assert made.images is not None
    assert made.images.model_dump() == {"calibration": 10, "selection": 5, "test": 20}
    assert (made.quality.original, made.quality.shrunk) == (quality(92.0), quality(91.0))
    assert (made.timing_s, made.warnings, made.device) == ({"load": 0.5}, (), DEVICE)
    assert {"edgeprune", "torch", "onnxruntime", "python"} <= made.versions.keys()
    assert made.taken_at.endswith("+00:00")


def test_on_another_machine_the_targets_latency_is_unknown_and_this_ones_stands_beside_it() -> None:
    unknown = Latency(kind="none", device="board", note="not measured on the device")
    made = report(found())
    for one in (*made.artifacts, *made.baseline):
        assert one.latency == unknown
        assert one.latency_here is not None
        assert one.latency_here.kind == "measured"
    assert [one.latency_here.p50_ms for one in made.artifacts if one.latency_here] == [2.0, 1.0]


def test_on_the_target_itself_the_measurement_is_the_targets() -> None:
    made = report(found(target=HERE))
    assert [(one.latency.kind, one.latency.p50_ms) for one in made.artifacts] == [
        ("measured", 2.0),
        ("measured", 1.0),
    ]
    assert [one.latency.p50_ms for one in made.baseline] == [3.0]
    assert all(one.latency_here is None for one in (*made.artifacts, *made.baseline))


def test_a_latency_that_is_not_to_be_believed_is_a_warning() -> None:
    wrong = measured().model_copy(update={"invalid": "far too noisy: p90 is 4.0 times p50"})
    latencies = Latencies(device=DEVICE, latencies=(measured(), measured(), wrong))
    line = "original.onnx: its latency is INVALID: far too noisy: p90 is 4.0 times p50"
    assert line in report(found(latencies=latencies)).warnings


@pytest.mark.parametrize("target", [TARGET, HERE])
def test_a_quantized_file_that_is_not_faster_is_a_warning(target: object) -> None:
    assert report(found(2.0, 2.5, 3.0, target=target)).warnings == (
        "model.int8-static.onnx is not faster than model.onnx here: 2.50 against 2.00 ms",
    )


def test_a_shrunk_file_that_is_not_faster_than_the_original_is_a_warning() -> None:
    assert report(found(3.5, 1.0, 3.0)).warnings == (
        "model.onnx is not faster than the original's onnx file here: 3.50 against 3.00 ms",
    )


def test_a_network_that_hardly_ever_answers_like_the_original_is_a_warning() -> None:
    judgement = found().judgement

    def warned(agreement: float) -> tuple[str, ...]:
        quality = Qualities(original=None, shrunk=None, agreement=agreement)
        return report(found(judgement=judgement.model_copy(update={"quality": quality}))).warnings

    few = Qualities(original=None, shrunk=None, agreement=40.25)
    bound = DropClaim(
        at_most=70, confidence=0.95, answers="same", drop=Drop(both_right=4, lost=6, gained=0, both_wrong=0)
    )
    claimed = judgement.model_copy(update={"quality": few, "claim": bound})
    assert not any("answers like the original" in line for line in report(found(judgement=claimed)).warnings)
    assert warned(95.0) == ()
    assert warned(40.25) == (
        "the shrunk network answers like the original on 40.2 % of the test images only: "
        "cut less, or say with --max-drop how many answers may change",
    )


def test_half_a_point_may_be_lost_and_more_is_a_warning() -> None:
    assert report(found(top1=(91.0, 90.5))).warnings == ()
    (line,) = report(found(top1=(91.0, 90.25))).warnings
    low, high = Drop(both_right=361, lost=3, gained=0, both_wrong=36).interval
    assert line == f"model.int8-static.onnx loses 0.75 points [{low:.2f}, {high:.2f}] against float32"


def test_a_class_that_loses_more_than_chance_explains_is_a_warning() -> None:
    lost, kept = (
        Drop(both_right=50, lost=12, gained=0, both_wrong=0),
        Drop(both_right=60, lost=2, gained=0, both_wrong=0),
    )
    classes = (
        ClassDrop(name="cat", drop=lost, p_value=0.001),
        ClassDrop(name="dog", drop=kept, p_value=0.5),
    )
    told = Qualities(original=quality(92.0), shrunk=quality(91.0), drop=lost, classes=classes, worst="cat")
    judgement = found().judgement.model_copy(update={"quality": told})
    assert report(found(judgement=judgement)).warnings == (
        "class cat loses 19.35 points, more than chance explains (p = 0.001 after Holm)",
    )


def test_a_budget_that_was_met_already_is_a_warning() -> None:
    made = report(found(plan=PLAN.model_copy(update={"cuts": ()})))
    assert made.warnings == ("nothing was cut: the network meets the budget as it is",)


def test_a_bound_on_the_drop_is_answered_for_the_network_and_for_each_file() -> None:
    few = Drop(both_right=195, lost=1, gained=0, both_wrong=4)
    many = Drop(both_right=180, lost=20, gained=0, both_wrong=0)
    verdicts = tuple(
        verdict(file, 91.0).model_copy(update={"drop": drop})
        for file, drop in zip(FILES, (few, many), strict=True)
    )
    claim = DropClaim(at_most=1.0, confidence=0.95, answers="right", drop=few)
    judgement = found().judgement.model_copy(update={"verdicts": verdicts, "claim": claim})
    made = report(found(judgement=judgement))
    assert made.claim == claim
    assert made.unmet() == []
    assert made.warnings == (
        "drop within 1 point at 95 %: the test images show neither that it is nor that it is not (76.1 %)",
        "model.int8-static.onnx loses 10.00 points, more than the 1 allowed",
    )


def test_a_refuted_bound_and_a_file_too_large_are_unmet_promises() -> None:
    claim = DropClaim(
        at_most=1.0,
        confidence=0.95,
        answers="right",
        drop=Drop(both_right=180, lost=20, gained=0, both_wrong=0),
    )
    size = SizeClaim(asked=1000, path="model.onnx", predicted=900, bytes=1100)
    judgement = found().judgement.model_copy(update={"claim": claim})
    assert report(found(judgement=judgement, size=size)).unmet() == [
        "the drop within 1 point at 95 % is refuted by the test images: 10.00 points [6.57, 14.94]",
        "model.onnx has 1.1 kB, more than the 1.0 kB asked for",
    ]


def test_the_drop_of_every_file_is_in_the_report() -> None:
    drop = Drop(both_right=180, lost=5, gained=3, both_wrong=12)
    verdicts = tuple(verdict(file, 91.0).model_copy(update={"drop": drop}) for file in FILES)
    judgement = found().judgement.model_copy(update={"verdicts": verdicts})
    assert [one.drop for one in report(found(judgement=judgement)).artifacts] == [drop, drop]


def test_what_could_not_be_made_refitted_or_cut_is_a_warning() -> None:
    made = report(
        found(
            failed={"tflite": "no operator"},
            proof=PROOF.model_copy(update={"refused": {"body": "its answers differ"}}),
            compensation=REFIT.model_copy(update={"kept": False, "images": 8}),
        )
    )
    assert made.warnings == (
        "tflite could not be made: no operator",
        "group body was left whole: its answers differ",
        "the refit did not help on the selection images and was not kept",
        "the refit used 8 images, all that fit in memory",
    )


def test_a_file_that_failed_verification_says_why() -> None:
    bad = Judgement(
        quality=Qualities(original=None, shrunk=None, note="data-free: no accuracy is claimed"),
        verdicts=(verdict(FILES[0], 91.0), verdict(FILES[1], 91.0, "its answers are not finite")),
    )
    made = report(found(judgement=bad, splits=None, compensation=None))
    assert made.failures() == ["model.int8-static.onnx: its answers are not finite"]
    assert (made.images, made.compensation) == (None, None)
    assert made.quality.note == "data-free: no accuracy is claimed"


def test_a_report_of_real_files_fits_its_schema_and_comes_back(tmp_path: Any) -> None:
    files = (*tiny_floats(), *tiny_quantized()[:1])
    test = a_split(40, seed=3)
    verdicts = verify(tiny_coupling().program, files, tiny_folder(), ELSEWHERE, test)
    made = report(
        found(
            target=ELSEWHERE,
            groups=tiny_coupling().groups,
            artifacts=files,
            baselines=(),
            judgement=Judgement(
                quality=Qualities(original=None, shrunk=verdicts[0].quality), verdicts=tuple(verdicts)
            ),
            latencies=Latencies(
                device=describe_device(), latencies=tuple(profile(files, tiny_folder(), ELSEWHERE))
            ),
        )
    )
    made.save(tmp_path / "report.json")
    schema = Report.model_json_schema(mode="serialization")
    jsonschema.Draft202012Validator(schema).validate(json.loads((tmp_path / "report.json").read_text()))
    assert Report.load(tmp_path / "report.json") == made
    assert np.isfinite(
        [one.latency_here.p50_ms or np.nan for one in made.artifacts if one.latency_here]
    ).all()
