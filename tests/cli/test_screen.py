"""`edgeprune screen`: what the images say about every group, and which classes its units serve."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import jsonschema
import numpy as np
import pytest
import torch
from command import Here

from cli.conftest import DIGITS
from edgeprune.core.sample_size import required_images
from edgeprune.core.screening import Screening

NETWORK = """\
from torch import nn


def net():
    layers = nn.Conv2d(1, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)
    return nn.Sequential(*layers)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = net()

    def forward(self, x):
        return self.net(x), self.net(-x)
"""
HEADER = "group           units  differ  median F  explained  images  stable             over classes"


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What names a network with random weights; labelled.npz and bare.npz lie beside it."""
    torch.manual_seed(0)
    (tmp_path / "net.py").write_text(NETWORK)
    images = np.random.default_rng(0).normal(size=(60, 1, 6, 6)).astype(np.float32)
    np.savez(tmp_path / "labelled.npz", x=images, y=np.arange(60) % 3)
    np.savez(tmp_path / "bare.npz", x=images)
    monkeypatch.chdir(tmp_path)
    return ["--arch", "net.py:net", "--quiet"]


def document(here: Here, *options: str) -> Screening:
    answer = here("screen", *options, "--json")
    assert (answer.code, answer.err) == (0, "")
    return Screening.model_validate_json(answer.out)


def test_a_trained_network_is_screened_group_by_group_and_class_by_class(here: Here) -> None:
    answer = here("screen", DIGITS, "--images", "200", "--by-class")
    lines = answer.text.splitlines()
    assert answer.code == 0
    assert " ".join(lines[0].split()) == " ".join(HEADER.split())
    assert [line.split()[:3] for line in lines[1:3]] == [
        ["stem.0", "32", "32"],
        ["fine.first.0", "32", "32"],
    ]
    assert lines[8].split() == ["blocks", "3", *"------"]
    assert lines[9].startswith("200 images of 10 classes, ranked by screening; differ: ")
    assert lines[12] == "no class statistics for blocks: no layer reads these units one by one"
    assert lines[13].split()[:4] == ["class", "units", "lost", "with"]
    assert sorted(line.split()[0] for line in lines[14:24]) == list("0123456789")
    assert "(d = " in lines[14]
    worst = lines[14].split()[0]
    assert lines[24].startswith(f"with the lower half of every group, {worst} would lose most: ")


def test_the_document_fits_its_schema_and_is_written_where_it_is_asked_for(
    here: Here, desk: list[str]
) -> None:
    found = document(here, *desk, "--data", "npz:labelled.npz", "--out", "found.json")
    assert Screening.load("found.json") == found
    assert (found.criterion, found.images, found.classes) == ("screening", 36, 3)
    schema = Screening.model_json_schema(mode="serialization")
    jsonschema.Draft202012Validator(schema).validate(json.loads(Path("found.json").read_text()))


def test_more_power_takes_more_images(here: Here) -> None:
    usual = document(here, str(DIGITS), "--images", "200")
    found = document(here, str(DIGITS), "--images", "200", "--power", "0.95")
    assert (usual.power, found.power) == (0.8, 0.95)
    more, few = found.groups["stem.0"], usual.groups["stem.0"]
    assert more.omega_squared is not None
    assert more.required_images == required_images(median(more.omega_squared), 10, power=0.95)
    assert few.required_images is not None
    assert more.required_images > few.required_images
    lines = here("screen", DIGITS, "--images", "200", "--power", "0.95").text.splitlines()
    assert lines[10].endswith("; images: how many find that with a power of 95 %")


def test_without_labels_harm_is_shown_and_no_classes(here: Here, desk: list[str]) -> None:
    found = document(here, *desk, "--data", "npz:bare.npz")
    assert (found.criterion, found.classes) == ("refit", 0)
    lines = here("screen", *desk[:2], "--data", "npz:bare.npz").text.splitlines()
    assert lines[0].split() == "group units harm of a quarter of half of three quarters".split()
    assert lines[2:] == [
        "36 images without labels, ranked by refit: no class statistics",
        "harm: share of the variance of the network's answers that is lost when the lowest units go",
    ]


def test_without_data_weights_alone_rank_the_units(here: Here, desk: list[str]) -> None:
    answer = here("screen", *desk[:2], "--input", "1x6x6")
    assert answer.code == 0
    assert answer.text.splitlines()[2] == "no images: ranked by l2, by weights alone"


@pytest.mark.parametrize("criterion", ["refit", "l1", "random"])
def test_any_criterion_may_rank_them(here: Here, desk: list[str], criterion: str) -> None:
    found = document(here, *desk, "--data", "npz:labelled.npz", "--criterion", criterion)
    assert found.criterion == criterion
    assert all(one.classes is not None for one in found.groups.values())


@pytest.mark.parametrize(
    ("options", "message", "hint"),
    [
        (
            "--data npz:bare.npz --by-class --out gone.json",
            "--by-class needs labelled images",
            "give --data with labels",
        ),
        ("--input 1x6x6 --by-class", "--by-class needs labelled images", "give --data with labels"),
        ("--input 1x6x6 --power 0.9", "--power needs labelled images", "give --data with labels"),
        (
            "--data npz:labelled.npz --power 1",
            "--power 1 is not between 0 and 1",
            "write 80 % like this: 0.8",
        ),
        ("--input 1x6x6 --images 5", "--images needs images", "give --data"),
        (
            "--input 1x6x6 --criterion refit",
            "criterion 'refit' needs images",
            "give --data, or choose a data-free criterion: l2, l1, group-l2, bn-scale, fpgm, lamp, random",
        ),
        (
            "--data npz:bare.npz --out no/such/folder.json",
            "no/such/folder.json cannot be written",
            "name a file in a folder that exists",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_and_nothing_is_written(
    here: Here, desk: list[str], options: str, message: str, hint: str
) -> None:
    answer = here("screen", *desk, *options.split())
    assert (answer.code, answer.refusal) == (2, (message, hint))
    assert not Path("gone.json").exists()


def test_where_no_class_is_shown_twice_that_is_said_instead_of_statistics(
    here: Here, desk: list[str]
) -> None:
    few = [*desk[:2], "--data", "npz:labelled.npz", "--images", "3"]
    lines = here("screen", *few).text.splitlines()
    assert lines[1].split() == ["0", "8", *"------"]
    assert lines[2:] == [
        "3 images of 3 classes, ranked by screening",
        "no class statistics, and no F: no class has two of the 3 images; give more with --images",
    ]
    for options in (["--by-class"], ["--power", "0.9"]):
        answer = here("screen", *few, *options, "--out", "gone.json", "--quiet")
        assert (answer.code, answer.refusal) == (
            2,
            (
                f"{options[0]} compares classes, but no class has two of the 3 images",
                "give more with --images",
            ),
        )
        assert not Path("gone.json").exists()


def test_images_of_a_network_with_several_answers_are_refused_in_the_name_of_this_command(
    here: Here, desk: list[str]
) -> None:
    twice = ["--arch", "net.py:Twice", "--quiet"]
    answer = here("screen", *twice, "--data", "npz:labelled.npz")
    assert (answer.code, answer.refusal) == (
        2,
        (
            "the network answers with 2 tensors; screen with --data needs one input of real numbers and one "
            "output tensor",
            "wrap it in a module that fixes the other inputs and returns one tensor; `edgeprune inspect` and "
            "`explain` take it as it is",
        ),
    )
    assert here("screen", *twice, "--input", "1x6x6").code == 0


def test_more_images_than_there_are_is_refused(here: Here, desk: list[str]) -> None:
    answer = here("screen", *desk, "--data", "npz:bare.npz", "--images", "61")
    assert answer.code == 2
    assert answer.refusal[0].endswith("bare.npz (x): 60 images, but 61 are asked for")
