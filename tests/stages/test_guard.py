"""An integer file keeps to its bound, and what it took is written down; where none does there is no file."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import onnx
import pytest
from fragile import OUTLIER, SELECTION, bench, fragile_float
from onnx import numpy_helper
from tiny import ELSEWHERE

from edgeprune.core.artifact import Artifact
from edgeprune.core.drop import Drop, drop_of
from edgeprune.core.operator import short_name
from edgeprune.core.quantization import Guard, Quantization, Step
from edgeprune.core.registry import build
from edgeprune.stages.guard import guarded

BOTH = pytest.mark.parametrize("format", ["onnx", "tflite"])
NOISY = ["hushed", "loud"]
"""The layers between which the channel is large: the second reads it, the first makes it."""


@cache
def kept(format: str) -> tuple[Path, Artifact | None, Quantization]:
    """The network that int8 breaks, guarded once for all tests that look at it."""
    folder = Path(mkdtemp(prefix="edgeprune-guard-"))
    made, how = guarded(fragile_float(format, folder), "int8-static", bench(), folder, ELSEWHERE)
    return folder, made, how


def lost_by(artifact: Artifact, folder: Path) -> Drop:
    """What a file loses, asked of its runtime and no stage."""
    runtime = build("runtimes", ELSEWHERE.runtimes[artifact.format])
    inputs = next(SELECTION.batches(len(SELECTION)))[0]
    return drop_of(bench().base, runtime.open(folder / artifact.path).infer(inputs), bench().labels)


@BOTH
def test_int8_breaks_this_network(format: str) -> None:
    _, _, how = kept(format)
    assert how.before.drop.before == 100
    assert how.before.drop.points > 30


@BOTH
def test_the_operators_around_the_large_channel_go_back_and_no_other(format: str) -> None:
    _, _, how = kept(format)
    names = [name for one in how.fallbacks for name in one.operators]
    assert [short_name(name) for name in names] == NOISY
    assert [one.kind for one in how.fallbacks] == [{"onnx": "Conv", "tflite": "CONV_2D"}[format]] * 2
    assert how.floats == 2 < how.operators


@BOTH
def test_the_delivered_file_holds_and_is_the_one_that_the_ledger_ends_with(format: str) -> None:
    folder, made, how = kept(format)
    assert made is not None
    assert how.holds
    assert lost_by(made, folder) == how.after.drop
    assert how.after.drop.points <= how.guard.at_most
    last = how.fallbacks[-1]
    assert how.after == Step(drop=last.drop, bytes=last.bytes, p50_ms=last.p50_ms)
    assert (how.after.bytes, made.path) == (made.bytes, f"model.int8-static.{format}")
    assert sorted(path.name for path in folder.iterdir()) == [made.path, f"model.{format}"]


@BOTH
def test_every_way_to_choose_ranges_was_tried_and_the_clearest_signal_won(format: str) -> None:
    _, _, how = kept(format)
    assert [one.ranges for one in how.trials] == ["min-max", "percentile", "mse", "entropy"]
    signals = {one.ranges: one.snr_db for one in how.trials}
    assert signals[how.ranges] == max(signal for signal in signals.values() if signal is not None)
    assert not how.repaired


@BOTH
def test_every_step_of_the_ledger_has_its_drop_size_and_time(format: str) -> None:
    _, _, how = kept(format)
    for step in (how.before, *how.fallbacks, how.after):
        assert step.drop.images == how.images == len(SELECTION)
        assert step.bytes > 0
        assert step.p50_ms is not None
    assert all(one.snr_db is not None and one.snr_db < 3 for one in how.fallbacks)


@BOTH
def test_guarding_twice_gives_the_same_file(format: str, tmp_path: Path) -> None:
    _, first, _ = kept(format)
    again, _ = guarded(fragile_float(format, tmp_path), "int8-static", bench(), tmp_path, ELSEWHERE)
    assert first is not None
    assert again is not None
    assert again.sha256 == first.sha256


@BOTH
def test_a_file_that_holds_is_delivered_with_every_operator_in_integers(format: str, tmp_path: Path) -> None:
    def never() -> Path | None:
        raise AssertionError("what holds needs no repair")

    source = fragile_float(format, tmp_path)
    made, how = guarded(source, "int8w-int16a", bench(), tmp_path, ELSEWHERE, repair=never)
    assert made is not None
    assert (made.precision, made.parent) == ("int8w-int16a", source.sha256)
    assert (how.fallbacks, how.before, how.holds) == ((), how.after, True)


def test_a_repaired_file_is_taken_where_it_holds_and_nothing_goes_back(tmp_path: Path) -> None:
    source = fragile_float("onnx", tmp_path)
    made, how = guarded(
        source, "int8-static", bench(), tmp_path, ELSEWHERE, repair=lambda: evened(tmp_path / source.path)
    )
    assert made is not None
    assert (how.repaired, how.fallbacks, how.holds) == (True, (), True)
    assert (how.before, made.parent) == (how.after, source.sha256)
    assert lost_by(made, tmp_path) == how.after.drop
    assert [one.repaired for one in how.trials] == [False] * 4 + [True] * (len(how.trials) - 4)


def evened(path: Path) -> Path:
    """The same network with the large channel as large as others: the two layers make up for each other."""
    model = onnx.load(path)
    for name, place, factor in (
        ("loud.weight", np.s_[0], 1 / OUTLIER),
        ("loud.bias", np.s_[0], 1 / OUTLIER),
        ("hushed.weight", np.s_[:, 0], OUTLIER),
    ):
        weight = next(one for one in model.graph.initializer if one.name == name)
        values = numpy_helper.to_array(weight).copy()
        values[place] *= factor
        weight.CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, path.with_name("evened"))
    return path.with_name("evened")


@BOTH
def test_where_float32_itself_breaks_the_bound_there_is_no_file_and_its_drop_is_told(
    format: str, tmp_path: Path
) -> None:
    # The original answers a quarter of the images rightly that the network does not, to begin with.
    labels = np.where(np.arange(len(SELECTION)) % 4 == 0, (bench().labels + 1) % 4, bench().labels)
    original = np.eye(4, dtype=np.float32)[labels]
    stranger = dataclasses.replace(
        bench(), base=original, labels=labels, guard=Guard(at_most=5, confidence=0.9, against="original")
    )
    made, how = guarded(fragile_float(format, tmp_path), "int8-static", stranger, tmp_path, ELSEWHERE)
    assert (made, how.holds, how.fallbacks) == (None, False, ())
    assert how.after.drop == drop_of(original, bench().float32, labels)
    assert how.after.drop.points == 25
    assert how.before.drop.points > 30
    assert [path.name for path in tmp_path.iterdir()] == [f"model.{format}"]


@BOTH
def test_without_labels_answers_are_kept_instead_of_accuracy(format: str, tmp_path: Path) -> None:
    bare = dataclasses.replace(bench(), labels=bench().base.argmax(1), guard=Guard(at_most=5, answers="same"))
    made, how = guarded(fragile_float(format, tmp_path), "int8-static", bare, tmp_path, ELSEWHERE)
    assert made is not None
    assert how.guard.answers == "same"
    assert how.before.drop.gained == how.after.drop.gained == 0
    assert how.before.drop.lost > 60
    assert how.after.drop.points <= 5
