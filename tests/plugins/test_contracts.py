"""Every plug-in that is installed keeps the contract of its family, ours and strangers' alike."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from tiny import ELSEWHERE, a_split, tiny_floats, tiny_folder

from edgeprune.core import protocols
from edgeprune.core.artifact import Precision
from edgeprune.core.registry import Family, build, find, names
from edgeprune.core.target import find_target, target_files
from edgeprune.stages.quantize import calibrated
from edgeprune.testing import (
    FakeRuntime,
    check_calibrated_quantizer,
    check_criterion,
    check_dataset,
    check_plugin,
)

FAMILIES: tuple[Family, ...] = get_args(Family)
REGISTERED = [(family, name) for family in FAMILIES for name in names(family)]
CALIBRATED = [name for name in names("quantizers") if find("quantizers", name)().needs_data]


@pytest.mark.parametrize(("family", "name"), REGISTERED)
def test_every_plugin_is_a_documented_frozen_dataclass(family: Family, name: str) -> None:
    check_plugin(family, name)


@pytest.mark.parametrize(
    ("family", "name"), [one for one in REGISTERED if one[0] not in {"datasets", "transports"}]
)
def test_a_plugin_made_directly_is_the_one_the_registry_makes(family: Family, name: str) -> None:
    plugin = find(family, name)()
    assert plugin == build(family, name)
    assert {type(value) for value in dataclasses.asdict(plugin).values()} <= {
        int,
        float,
        bool,
        str,
        tuple,
        type(None),
    }


def test_every_plugin_of_the_project_file_is_installed() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    declared = project["project"]["entry-points"]
    assert {group.removeprefix("edgeprune.") for group in declared} <= set(FAMILIES)
    for family in FAMILIES:
        assert names(family) == sorted(declared.get(f"edgeprune.{family}", {}))


@pytest.mark.parametrize("name", names("criteria"))
def test_every_criterion_scores_every_unit(name: str) -> None:
    check_criterion(build("criteria", name))


def test_every_dataset_hands_over_labelled_inputs(tmp_path: Path) -> None:
    check_dataset(build("datasets", "sklearn", {"name": "digits"}))
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 8, 8, 3), np.uint8), y=[0, 1, 0, 1])
    check_dataset(build("datasets", "npz", {"file": tmp_path / "a.npz"}))


@pytest.mark.parametrize("family", ["exporters", "formats", "runtimes", "quantizers"])
def test_formats_and_precisions_are_those_a_target_can_name(family: Family) -> None:
    for name in names(family):
        plugin = build(family, name)
        assert plugin.format in names("exporters")
        if family == "quantizers":
            assert plugin.precision in get_args(Precision)
            assert name == f"{plugin.format}-{plugin.precision}"
            assert plugin.needs_data == calibrated(plugin.precision)
            assert isinstance(plugin, protocols.CalibratedQuantizer) == calibrated(plugin.precision)
        if family == "exporters":
            assert name == plugin.format


@pytest.mark.parametrize("name", CALIBRATED)
def test_every_calibrated_quantizer_takes_ranges_and_leaves_operators_alone(
    name: str, tmp_path: Path
) -> None:
    quantizer = build("quantizers", name)
    runtime = build("runtimes", ELSEWHERE.runtimes[quantizer.format])
    source = next(tiny_folder() / one.path for one in tiny_floats() if one.format == quantizer.format)
    images = next(a_split(24).batches(24))[0]
    check_calibrated_quantizer(quantizer, runtime, source, images, tmp_path)


@pytest.mark.parametrize("name", target_files())
def test_every_target_names_runtimes_and_precisions_that_exist(name: str) -> None:
    target = find_target(name)
    for format, runtime in target.runtimes.items():
        assert build("runtimes", runtime, {"threads": target.threads}).format == format
        assert format in names("exporters")
        for precision in target.precisions:
            assert precision == "fp32" or f"{format}-{precision}" in names("quantizers")


def test_the_fakes_keep_the_contracts_too() -> None:
    session: protocols.Session = FakeRuntime(threads=2).open(Path("nowhere"))
    inputs = np.arange(2 * 3 * 4, dtype=np.float32).reshape(2, 3, 2, 2)
    assert session.infer(inputs).tolist() == [[1.5, 5.5, 9.5], [13.5, 17.5, 21.5]]
    assert session.infer(inputs).dtype == np.float32
    assert session.time(inputs, warmup=3, runs=4) == [1_000_000] * 4
    assert session.input_shape == (1, 3, 8, 8)
    assert {"runtime", "version"} <= session.facts().keys()
