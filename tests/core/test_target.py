"""Target descriptors parse, are found by name or path, and their faults are all reported."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.core import registry
from edgeprune.core.errors import DocumentError, RequestError
from edgeprune.core.target import Target, find_target, target_files

BUILT_IN = sorted((Path(__file__).parents[2] / "targets").glob("*.toml"))

BOARD = """
kind = "target/1"
name = "{name}"
summary = "a board of mine"
precisions = ["fp32"]
threads = 2

[host]
machine = "{machine}"

[runtimes]
onnx = "onnxruntime"

[channels]
multiple = 4
source = "measured"
"""


@pytest.fixture
def own_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEPRUNE_TARGETS", str(tmp_path))
    return tmp_path


def test_the_promised_targets_exist() -> None:
    promised = {"android-arm64", "rpi-zero-2w", "rpi3", "rpi4", "rpi5", "x86-64"}
    assert promised <= {path.stem for path in BUILT_IN}


@pytest.mark.parametrize("path", BUILT_IN, ids=lambda path: path.stem)
def test_a_built_in_descriptor_parses_under_its_own_name(path: Path) -> None:
    assert Target.load(path).name == path.stem


@pytest.mark.parametrize("path", BUILT_IN, ids=lambda path: path.stem)
def test_a_built_in_descriptor_names_runtimes_that_exist(path: Path) -> None:
    assert set(Target.load(path).runtimes.values()) <= set(registry.names("runtimes"))


@pytest.mark.parametrize("path", BUILT_IN, ids=lambda path: path.stem)
def test_every_fact_of_a_built_in_descriptor_has_a_source(path: Path) -> None:
    target = Target.load(path)
    sources = [target.channels.source, *(fact.source for fact in target.physics.values())]
    assert all(len(source) > 10 for source in sources)


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(RequestError) as caught:
        find_target("rpi6")
    assert caught.value.message == "unknown target 'rpi6'"
    assert caught.value.hint.startswith("did you mean 'rpi")


def test_a_target_is_found_by_the_path_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(BOARD.format(name="mine", machine="aarch64"))
    assert find_target(str(path)).channels.multiple == 4


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DocumentError) as caught:
        find_target(f"{tmp_path}/none.toml")
    assert caught.value.message == f"{tmp_path}/none.toml: no such file"


def test_all_faults_of_a_descriptor_are_reported_with_their_keys(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("""
kind = "target/1"
name = "bad"
summary = "wrong in several places"
precisions = ["fp32"]
threads = 0

[host]
machin = "aarch64"

[runtimes]
onnx = "onnxruntime"

[channels]
multiple = 8

[physics.clock]
value = 1.8
source = "data sheet"
units = "GHz"
""")
    with pytest.raises(DocumentError) as caught:
        find_target(str(path))
    assert caught.value.message == (
        f"{path}: 5 faults\n"
        "  host.machine: missing\n"
        "  host.machin: unknown key (did you mean 'machine'?)\n"
        "  threads: input should be greater than 0\n"
        "  channels.source: missing\n"
        "  physics.clock.units: unknown key"
    )


def test_the_user_s_own_folder_wins_over_the_built_in_targets(own_targets: Path) -> None:
    (own_targets / "rpi4.toml").write_text(BOARD.format(name="rpi4", machine="aarch64"))
    assert find_target("rpi4").summary == "a board of mine"
    assert target_files()["rpi4"] == own_targets / "rpi4.toml"
    assert "x86-64" in target_files()


def test_another_machine_is_not_the_target(own_targets: Path) -> None:
    (own_targets / "far.toml").write_text(BOARD.format(name="far", machine="pdp11"))
    assert not find_target("far").at_hand()


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("rpi-zero-2w", "Raspberry Pi Zero 2 W Rev 1.0"),
        ("rpi3", "Raspberry Pi 3 Model B Plus Rev 1.3"),
        ("rpi4", "Raspberry Pi 4 Model B Rev 1.4"),
        ("rpi5", "Raspberry Pi 5 Model B Rev 1.0"),
    ],
)
def test_a_board_is_one_target_and_no_other(name: str, model: str) -> None:
    fitting = [
        path.stem
        for path in BUILT_IN
        if Target.load(path).fits(system="Linux", machine="aarch64", model=model)
    ]
    assert fitting == [name]
    assert not find_target(name).fits(system="Linux", machine="armv7l", model=model)


def test_a_phone_says_that_it_is_one() -> None:
    phone = find_target("android-arm64")
    assert phone.fits(system="Android", machine="aarch64", model="Pixel 8")
    assert not phone.fits(system="Linux", machine="aarch64", model="Pixel 8")


def test_a_phone_is_never_at_hand_on_a_machine_without_android() -> None:
    assert not find_target("android-arm64").at_hand()
