"""The main job on networks whose answers are no scores of classes: one number for an image, or a map."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_pipeline import DATA as FEW
from test_pipeline import one_thread
from tiny import ELSEWHERE
from torch import nn

import edgeprune
from edgeprune.core.errors import DataError, GateError, RequestError
from edgeprune.core.report import Report
from edgeprune.core.request import Budget

__all__ = ["one_thread"]  # a fixture, for this module, too

TARGETS = """

def targets():
    images, _ = patterns()
    return images, 3 * np.arange(len(images))
"""
# More images than there: a bound of 5 % takes 59 to show.
DATA = FEW.replace("200", "300") + TARGETS
NOTE = "answers are no scores of classes: no accuracy is claimed; the shrunk network's differ from the "


def trunk() -> list[nn.Module]:
    """Two convolutions; every other channel says nothing, so that it can go without harm."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for wide, wider in ((3, 16), (16, 16)):
        norm = nn.BatchNorm2d(wider)
        norm.weight.data[::2] = norm.bias.data[::2] = 0
        layers += [nn.Conv2d(wide, wider, 3, padding=1), norm, nn.ReLU()]
    return layers


def number() -> nn.Module:
    """One number for an image."""
    return nn.Sequential(*trunk(), nn.MaxPool2d(4), nn.Flatten(), nn.Linear(256, 1)).eval()


def map_of() -> nn.Module:
    """Scores of four kinds for every place of an image."""
    return nn.Sequential(*trunk(), nn.Conv2d(16, 4, 1)).eval()


NETWORKS = {"number": number, "map": map_of}


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "data.py").write_text(DATA)
    return folder


def compress(desk: Path, network: str, data: str, out: str, **options: object) -> Report:
    return edgeprune.compress(
        NETWORKS[network](),
        input=(3, 16, 16),
        out=desk / out,
        **{"target": ELSEWHERE, "data": f"{desk}/data.py:{data}", **options},  # type: ignore[arg-type]
    )


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("data", "format"), [("patterns", "onnx"), ("bare", "tflite")])
def test_files_are_made_and_judged_by_how_far_answers_move(
    desk: Path, network: str, data: str, format: str
) -> None:
    report = compress(desk, network, data, f"{network}-{data}", formats=(format,))
    assert report.criterion == ("screening" if data == "patterns" else "refit")
    quality = report.quality
    assert (quality.original, quality.shrunk, quality.drop) == (None, None, None)
    assert quality.note.startswith(NOTE)
    assert quality.agreement is not None
    assert quality.agreement_interval is not None
    assert quality.agreement_interval[0] <= quality.agreement <= quality.agreement_interval[1]
    assert {one.precision for one in report.artifacts} == {"fp32", "fp16", "int8-static"}
    assert all(one.quality is None and one.drop is None for one in report.artifacts)
    for one in report.artifacts:
        assert one.quantization is None or one.quantization.guard.answers == "same"
    assert report.failures() == []


@pytest.mark.parametrize("network", NETWORKS)
def test_a_bound_counts_images_whose_answers_moved(desk: Path, network: str) -> None:
    bound = Budget(max_drop=5)
    report = compress(desk, network, "patterns", f"{network}-bound", budget=bound, formats=("onnx",))
    assert report.search is not None
    assert report.search.answers == "same"
    # The channels that say nothing go; any cut would keep the place of the largest of one number.
    assert 2 < report.cost.before.macs / report.cost.after.macs < 6
    assert any(trial.drop.lost > 0 for trial in report.search.trials)
    assert report.claim is not None
    assert report.images is not None
    assert report.claim.drop.images == report.images.test
    assert report.claim.verdict != "no"


def test_a_bound_that_no_cut_keeps_is_refused(desk: Path) -> None:
    with pytest.raises(GateError, match=r"^no cut is within 5 % of the answers at 95 %: of \d+ tried"):
        compress(desk, "map", "bare", "tight", budget=Budget(max_drop=5, speedup=5))


def test_targets_are_not_taken_for_classes(desk: Path) -> None:
    with pytest.raises(DataError) as caught:
        compress(desk, "number", "targets", "targets")
    assert caught.value.message.endswith("labels run to 897 on 300 images, so they are no class indices")
    assert caught.value.hint == "leave the labels out: refit, taylor, wanda and l2 rank without them"


@pytest.mark.parametrize(("network", "answer"), [("number", "1"), ("map", "4x16x16")])
def test_training_is_refused_before_anything_is_done(desk: Path, network: str, answer: str) -> None:
    with pytest.raises(RequestError) as caught:
        compress(desk, network, "patterns", f"{network}-trained", epochs=3)
    assert caught.value.message == (
        f"--epochs trains by scores of classes, the network answers with {answer}"
    )
    assert caught.value.hint is not None
    assert "--train-command" in caught.value.hint
