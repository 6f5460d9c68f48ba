"""Every file is held against the captured program, and one that answers otherwise does not pass."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from tiny import ELSEWHERE, a_split, tiny_coupling, tiny_floats, tiny_folder, tiny_quantized, unlabelled

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import DeviceError
from edgeprune.core.progress import Silent
from edgeprune.core.quantization import Guard
from edgeprune.core.report import Verdict
from edgeprune.stages.verify import compare_answers, drop_of, judge, quality_of, verify


def spoiled(folder: Path, value: float) -> Artifact:
    """The ONNX file with one weight of the last layer changed."""
    artifact = tiny_floats()[0]
    model = onnx.load(tiny_folder() / artifact.path)
    weight = next(one for one in model.graph.initializer if one.name == "head.weight")
    values = numpy_helper.to_array(weight).copy()
    values[3, 5] = value
    weight.CopyFrom(numpy_helper.from_array(values, weight.name))
    onnx.save(model, folder / artifact.path)
    return artifact


def checked(folder: Path, *artifacts: Artifact) -> list[Verdict]:
    return verify(tiny_coupling().program, artifacts, folder, ELSEWHERE, a_split(150, seed=2))


def test_float_files_pass_with_the_same_answers() -> None:
    for verdict in checked(tiny_folder(), *tiny_floats()):
        assert verdict.passed
        assert verdict.agreement == 100
        assert verdict.deviation.images == 150
        assert verdict.deviation.relative is not None
        assert verdict.deviation.relative < 1e-4


def test_quantized_files_pass_in_the_order_they_were_given() -> None:
    verdicts = checked(tiny_folder(), *tiny_quantized())
    assert [one.path for one in verdicts] == [one.path for one in tiny_quantized()]
    assert all(one.passed and one.agreement > 90 for one in verdicts)


def test_accuracy_is_counted_on_the_same_images(tmp_path: Path) -> None:
    test = a_split(150, seed=2)
    quality, answers = judge(tiny_coupling().program, test, Silent(), "network")
    assert answers.shape == (150, 10)
    for verdict in checked(tiny_folder(), *tiny_floats()):
        assert verdict.quality == quality


def test_a_corrupted_weight_does_not_pass(tmp_path: Path) -> None:
    (verdict,) = checked(tmp_path, spoiled(tmp_path, 30.0))
    assert not verdict.passed
    assert verdict.deviation.relative is not None
    assert verdict.why == (
        f"its answers differ by {verdict.deviation.relative:.1e} (relative), more than 1e-04"
    )


def test_answers_that_are_not_finite_do_not_pass(tmp_path: Path) -> None:
    (verdict,) = checked(tmp_path, spoiled(tmp_path, float("nan")))
    assert (verdict.passed, verdict.why) == (False, "its answers are not finite")
    assert (verdict.deviation.max_abs, verdict.deviation.relative) == (None, None)
    assert Verdict.parse(verdict.model_dump(mode="json"), source="") == verdict


def test_without_data_seeded_inputs_are_compared_and_no_accuracy_is_claimed() -> None:
    program = tiny_coupling().program
    (verdict,) = verify(program, tiny_floats()[:1], tiny_folder(), ELSEWHERE, None)
    assert verdict.passed
    assert verdict.quality is None
    assert verdict.deviation.images == 64


def test_known_answers_of_the_program_are_taken_as_they_are() -> None:
    test = a_split(20)
    wrong = np.zeros((20, 10), np.float32)
    wrong[:, 0] = 1
    (verdict,) = verify(
        tiny_coupling().program, tiny_floats()[:1], tiny_folder(), ELSEWHERE, test, reference=wrong
    )
    assert not verdict.passed


def test_a_file_that_its_runtime_refuses_is_a_device_error(tmp_path: Path) -> None:
    for artifact in tiny_floats():
        (tmp_path / artifact.path).write_bytes(b"not a network")
        with pytest.raises(DeviceError, match="refuses it") as caught:
            checked(tmp_path, artifact)
        assert caught.value.exit_code == 3


def test_accuracy_has_the_wilson_interval() -> None:
    outputs = np.zeros((100, 3), np.float32)
    outputs[:, 1] = 1
    quality = quality_of(outputs, np.where(np.arange(100) < 90, 1, 2))
    # 90 of 100: Wilson 1927, as in Brown, Cai & DasGupta 2001.
    assert (quality.top1, quality.images, quality.interval) == (90.0, 100, (82.56, 94.48))


def test_the_program_runs_without_gradients() -> None:
    _, answers = judge(tiny_coupling().program, a_split(4), Silent(), "network")
    expected = tiny_coupling().program.run(torch.from_numpy(next(a_split(4).batches(4))[0]))
    np.testing.assert_array_equal(answers, expected.numpy())


# Bounds on quantized files


def failing(artifact: Artifact, guard: Guard, **changes: Any) -> Verdict:
    """The verdict on a file, when the network before the cut answers all images rightly."""
    test = a_split(150, seed=2)
    assert test.labels is not None
    original = np.eye(10, dtype=np.float32)[test.labels]
    options = {"test": test, "original": original, **changes}
    (verdict,) = verify(
        *(tiny_coupling().program, [artifact], tiny_folder(), ELSEWHERE), guard=guard, **options
    )
    return verdict


def int8() -> Artifact:
    return next(one for one in tiny_quantized() if one.path == "model.int8-static.onnx")


def test_an_integer_file_that_test_images_refute_does_not_pass() -> None:
    verdict = failing(int8(), Guard(at_most=1, against="original"))
    assert verdict.drop is not None
    low, high = verdict.drop.interval
    assert verdict.drop.points > 50
    assert not verdict.passed
    assert verdict.why == (
        f"it loses {verdict.drop.points:.2f} points [{low:.2f}, {high:.2f}] against original, "
        "more than the 1 allowed"
    )


def test_float32_files_are_not_held_to_the_bound_of_integer_ones() -> None:
    assert failing(tiny_floats()[0], Guard(at_most=1, against="original")).passed


def test_against_float32_an_integer_file_that_answers_like_it_passes() -> None:
    assert failing(int8(), Guard(at_most=1, against="float32")).passed


def test_without_labels_an_integer_file_that_changes_the_answers_does_not_pass() -> None:
    wrong = np.roll(judge(tiny_coupling().program, a_split(150, seed=2), Silent(), "")[1], 1, axis=1)
    guard = Guard(at_most=5, answers="same")
    verdict = failing(int8(), guard, test=unlabelled(a_split(150, seed=2)), reference=wrong)
    assert (verdict.passed, verdict.drop) == (False, None)
    assert verdict.why.endswith("against float32, more than the 5 allowed")


def test_a_bound_that_few_test_images_leave_open_passes() -> None:
    """What they do not show at 95 % is no reason to fail a file that selection images were content with."""
    test = a_split(6, seed=2)
    assert test.labels is not None
    found = judge(tiny_coupling().program, test, Silent(), "")[1]
    original = found.copy()
    guard = Guard(at_most=1, against="original", answers="same")
    original[0] = np.roll(original[0], 1)
    verdict = failing(int8(), guard, test=unlabelled(test), original=original)
    assert verdict.passed


def test_deviations_have_a_mean_a_cosine_and_a_signal() -> None:
    exact, coarse = checked(tiny_folder(), tiny_floats()[0], int8())
    for one in (exact.deviation, coarse.deviation):
        assert one.mean_abs is not None
        assert one.max_abs is not None
        assert one.cosine is not None
        assert 0 < one.mean_abs < one.max_abs
        assert -1 <= one.cosine <= 1 + 1e-6
    assert exact.deviation.snr_db is not None
    assert coarse.deviation.snr_db is not None
    assert exact.deviation.snr_db > 90 > coarse.deviation.snr_db > 20


# Claims about the cut


def answering(*labels: int) -> np.ndarray:
    """Outputs of which each row's largest is at one of these places."""
    return np.eye(3, dtype=np.float32)[list(labels)]


LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2])
BEFORE, AFTER = answering(0, 0, 1, 1, 1, 1, 2, 0), answering(0, 1, 1, 1, 0, 2, 2, 2)


def test_a_drop_counts_what_was_lost_and_gained_image_by_image() -> None:
    drop = drop_of(BEFORE, AFTER, LABELS)
    assert (drop.both_right, drop.lost, drop.gained, drop.both_wrong) == (3, 3, 1, 1)
    assert (drop.before, drop.after, drop.points) == (75.0, 50.0, 25.0)


def test_every_class_has_its_drop_and_the_worst_one_is_named() -> None:
    found = compare_answers(BEFORE, AFTER, LABELS, ("cat", "dog", "ship"))
    assert [(one.name, one.drop.before, one.drop.after) for one in found.classes] == [
        ("cat", 66.6667, 33.3333),
        ("dog", 100.0, 33.3333),
        ("ship", 50.0, 100.0),
    ]
    assert found.worst == "dog"
    assert (found.original, found.shrunk) == (quality_of(BEFORE, LABELS), quality_of(AFTER, LABELS))
    assert found.drop == drop_of(BEFORE, AFTER, LABELS)
    for name in ("both_right", "lost", "gained", "both_wrong"):
        assert sum(getattr(one.drop, name) for one in found.classes) == getattr(found.drop, name)


def test_p_values_of_classes_are_corrected_for_their_number() -> None:
    labels = np.repeat([0, 1, 2], 40)
    before = answering(*labels)
    after = answering(*np.where(np.arange(120) < 12, 1, labels))
    found = compare_answers(before, after, labels)
    first, *others = found.classes
    assert first.drop.p_value == pytest.approx(2 / 2**12, rel=1e-5)
    assert first.p_value == pytest.approx(3 * first.drop.p_value, rel=1e-4)
    assert [one.p_value for one in others] == [1, 1]
    assert [one.name for one in found.classes] == ["0", "1", "2"]


def test_where_no_class_loses_none_is_the_worst() -> None:
    found = compare_answers(BEFORE, BEFORE, LABELS)
    assert (found.worst, found.drop.points if found.drop else None) == ("", 0)


def test_classes_that_the_test_images_lack_are_left_out() -> None:
    found = compare_answers(BEFORE[:6], AFTER[:6], LABELS[:6], ("cat", "dog", "ship"))
    assert [one.name for one in found.classes] == ["cat", "dog"]


def test_without_labels_the_agreement_is_told_and_no_accuracy() -> None:
    found = compare_answers(BEFORE, AFTER, None)
    assert (found.original, found.shrunk, found.drop, found.classes) == (None, None, None, ())
    assert (found.agreement, found.agreement_interval) == (50, (21.52, 78.48))
    assert found.note == (
        "no labels: no accuracy is claimed; the shrunk network answers like the original on "
        "50.00 % [21.52, 78.48] of 8 test images"
    )
    bare = unlabelled(a_split(20, seed=2))
    quality, _ = judge(tiny_coupling().program, bare, Silent(), "network")
    (verdict,) = verify(tiny_coupling().program, tiny_floats()[:1], tiny_folder(), ELSEWHERE, bare)
    assert (quality, verdict.quality, verdict.drop, verdict.agreement) == (None, None, None, 100)


def test_every_file_is_held_against_the_original_too() -> None:
    test = a_split(150, seed=2)
    original = np.random.default_rng(0).standard_normal((150, 10)).astype(np.float32)
    (verdict,) = verify(
        *(tiny_coupling().program, tiny_floats()[:1], tiny_folder(), ELSEWHERE, test), original=original
    )
    _, answers = judge(tiny_coupling().program, test, Silent(), "network")
    assert test.labels is not None
    assert verdict.drop == drop_of(original, answers, test.labels)
