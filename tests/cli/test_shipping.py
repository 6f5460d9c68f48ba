"""`bundle`, `ship`, `status`, `rollback` on this machine, behind a real sshd, and behind a real adbd."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from command import Here
from shipments import edge, keys, run_folder, strangers, verified

from edgeprune.core.address import transport_at
from edgeprune.core.bundle_file import Verified
from edgeprune.core.destination import parse_destination
from edgeprune.core.errors import DeviceError
from edgeprune.core.fleet import Fleet, Group
from edgeprune.core.shelf import Shelf
from edgeprune.device.edgeprune_device import LoadError, load
from edgeprune.pipeline.ship_fleet import ship_fleet
from edgeprune.stages.ship import ship

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="the bundles of these tests are for x86-64, this machine is not"
)
OLD, NEW = "model.onnx", "model.tflite"


@dataclass(frozen=True)
class Device:
    """A destination, its folder as this machine sees it, and the command."""

    to: str
    folder: Path
    here: Here

    def ship(self, file: str, *options: str) -> tuple[int, str]:
        answer = self.here(
            *("ship", edge(file), "--to", self.to, "--trust", keys()[1], "--python", sys.executable),
            *("--json", "--quiet", *options),
        )
        return answer.code, answer.out if answer.code == 0 else answer.refusal[0]

    def status(self, *options: str) -> dict[str, object]:
        answer = self.here("status", "--to", self.to, "--python", sys.executable, "--json", *options)
        found: dict[str, object] = json.loads(answer.out)
        return found

    def live(self) -> str:
        return (self.folder / "current").readlink().name


def destination(address: str, folder: Path) -> str:
    head, mark, query = address.partition("?")
    return f"{head}:{folder}{mark}{query}"


@pytest.fixture
def device(here: Here, tmp_path: Path) -> Device:
    folder = tmp_path / "it's a\nfolder $HOME"
    return Device(destination("local", folder), folder, here)


@pytest.fixture(params=["local", "board", "phone"])
def anywhere(request: pytest.FixtureRequest, here: Here, tmp_path: Path) -> Device:
    address = "local" if request.param == "local" else request.getfixturevalue(request.param).address
    folder = tmp_path / "it's a\nfolder $HOME"
    return Device(destination(address, folder), folder, here)


def test_a_model_is_shipped_replaced_looked_at_and_brought_back(anywhere: Device) -> None:
    code, out = anywhere.ship(OLD)
    assert code == 0, out
    first = json.loads(out)
    assert (first["version"], first["before"]) == (verified(OLD).bundle.id, None)
    assert first["checked"]["deviation"] <= 1e-4
    code, out = anywhere.ship(NEW)
    assert code == 0, out
    second = json.loads(out)
    assert (second["version"], second["before"]) == (verified(NEW).bundle.id, first["version"])
    found = anywhere.status("--check")
    assert (found["live"], found["problem"]) == (second["version"], "")
    assert [one["name"] for one in found["versions"]] == [second["version"], first["version"]]  # type: ignore[attr-defined]
    back = anywhere.here("rollback", "--to", anywhere.to, "--python", sys.executable, "--json")
    assert back.code == 0, back.err
    assert json.loads(back.out)["version"] == anywhere.live() == first["version"]
    left = {path.name for path in anywhere.folder.iterdir()}
    assert left == {"current", "history", "incoming", "versions"}
    assert list((anywhere.folder / "incoming").iterdir()) == []


def test_people_read_what_was_done(device: Device) -> None:
    here, to = device.here, device.to
    shipped = here("ship", edge(OLD), "--to", to, "--trust", keys()[1])
    id = verified(OLD).bundle.id
    assert f"version {id} is live, answers as it should in " in shipped.out
    assert " kB sent, " in shipped.out
    again = here("ship", edge(OLD), "--to", to, "--trust", keys()[1])
    assert f"version {id} is live already, answers as it should in " in again.out
    assert "nothing to send, " in again.out
    looked = here("status", "--to", to)
    assert f" {id}  live  net    {OLD}" in looked.out
    assert f"version {id} is live; `--check` tests it" in looked.out
    assert here("status", "--to", "local:/tmp/edgeprune-nothing").code == 3


def test_a_dry_run_prints_every_command_and_runs_none(device: Device) -> None:
    answer = device.here(
        "ship", edge(OLD), "--to", "pi@nowhere:/opt/models/vision", "--trust", keys()[1], "--dry-run"
    )
    assert (answer.code, answer.err) == (0, "")
    assert "pi@nowhere$ " in answer.out
    assert "/opt/models/vision/incoming/" in answer.out
    assert "mv -T -f .current.new current" in answer.out


def test_equal_runs_give_equal_bundles(here: Here, tmp_path: Path) -> None:
    for name in ("a.edge", "b.edge"):
        answer = here("bundle", run_folder(), "-o", tmp_path / name, "--key", keys()[0], "--file", OLD)
        assert answer.code == 0, answer.err
    assert (tmp_path / "a.edge").read_bytes() == (tmp_path / "b.edge").read_bytes()
    assert f"{OLD} (fp32) for x86-64" in answer.out
    assert "; needs Python with onnxruntime" in answer.out


def test_a_capsule_travels_in_the_bundle_and_is_what_runs(here: Here, tmp_path: Path) -> None:
    capsule = tmp_path / "capsule"
    (capsule / "bin").mkdir(parents=True)
    (capsule / "py").write_text(f'[ -x "${{0%/*}}/bin/tool" ] && exec {sys.executable} "$@"\n')
    (capsule / "bin" / "tool").touch(mode=0o755)
    (capsule / "bin" / "link").symlink_to("tool")
    bundle = ("bundle", run_folder(), "-o", tmp_path / "m.edge", "--key", keys()[0], "--file", OLD)
    answer = here(*bundle, "--capsule", capsule)
    assert "; with its own Python and runtime" in answer.out
    shipped = here(
        *("ship", tmp_path / "m.edge", "--to", f"local:{tmp_path}/device", "--trust", keys()[1], "--quiet"),
        *("--python", "/no/python"),
    )
    assert (shipped.code, shipped.err) == (0, "")


# What goes wrong, and what the device keeps


def test_a_device_that_is_too_slow_keeps_the_old_version(device: Device) -> None:
    assert device.ship(NEW)[0] == 0
    slow = edge(OLD, budget_ms=1e-6)
    answer = device.here("ship", slow, "--to", device.to, "--trust", keys()[1], "--quiet")
    message, hint = answer.refusal
    assert answer.code == 3
    assert message.startswith(f"{OLD}: it takes ")
    assert message.endswith(
        f" ms there, its budget is 1e-06 ms; the device keeps version {verified(NEW).bundle.id}"
    )
    assert hint.startswith("is the device busy, hot or slowed down?")
    assert device.live() == verified(NEW).bundle.id


def test_a_device_of_another_kind_is_refused_before_anything_is_written(device: Device) -> None:
    bundle = verified(OLD).bundle
    requires = bundle.requires.model_copy(update={"machine": "abacus", "system": "Linux"})
    other = bundle.model_copy(update={"requires": requires, "target": "elsewhere"})
    with pytest.raises(DeviceError) as caught:
        ship(Verified(edge(OLD), other, ""), parse_destination(device.to))
    assert (
        f"it is a Linux {platform.machine()}, the bundle is for Linux abacus (target elsewhere)"
        in caught.value.message
    )
    assert not device.folder.exists()


def test_two_ships_at_once_do_not_mix(device: Device) -> None:
    assert device.ship(OLD)[0] == 0
    with transport_at("local").connect() as link:
        shelf = Shelf(link.shell, PurePosixPath(device.folder), "device")
        with shelf.locked():
            code, message = device.ship(NEW)
            assert code == 3
            assert " changes it now" in message
            assert device.live() == verified(OLD).bundle.id
    assert device.ship(NEW)[0] == 0


def test_a_lock_that_was_left_behind_is_taken_over(device: Device) -> None:
    assert device.ship(OLD)[0] == 0
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    for lock in (
        f"other-desk|1|{boot}|1|aa",  # its time is up
        "other-desk|1|another-boot|99999999999|aa",  # the device was restarted since
    ):
        (device.folder / ".lock").symlink_to(lock)
        assert device.ship(NEW)[0] == 0
    (device.folder / ".lock").symlink_to(f"other-desk|1|{boot}|99999999999|aa")
    assert device.ship(OLD)[0] == 3


def test_a_damaged_live_version_is_replaced_beside_itself(device: Device) -> None:
    assert device.ship(OLD)[0] == 0
    id = verified(OLD).bundle.id
    artifact = device.folder / "versions" / id / OLD
    artifact.write_bytes(artifact.read_bytes()[:-1])
    assert device.status("--check")["problem"] == (
        f"{parse_destination(device.to).shown}: version {id} is damaged (a file's SHA-256 differs)"
    )
    assert device.ship(OLD)[0] == 0
    assert device.live() == f"{id}-2"
    assert device.status("--check")["problem"] == ""


def test_what_is_no_link_is_never_replaced(device: Device) -> None:
    (device.folder / "current").mkdir(parents=True)
    code, message = device.ship(OLD)
    assert (code, message) == (
        3,
        f"{parse_destination(device.to).shown}: current is there and is no link",
    )


def test_old_versions_go_and_the_live_one_stays(device: Device) -> None:
    assert device.ship(OLD)[0] == 0
    code, out = device.ship(NEW, "--keep", "1")
    assert (code, json.loads(out)["removed"]) == (0, [verified(OLD).bundle.id])
    answer = device.here("rollback", "--to", device.to)
    assert answer.code == 2
    assert [path.name for path in (device.folder / "versions").iterdir()] == [verified(NEW).bundle.id]


def test_clocks_do_not_matter(device: Device) -> None:
    assert device.ship(OLD)[0] == 0
    for path in device.folder.rglob("*"):
        if not path.is_symlink():
            os.utime(path, (4e9, 4e9))
    assert device.ship(NEW)[0] == 0
    assert device.here("rollback", "--to", device.to, "--quiet").code == 0
    assert device.live() == verified(OLD).bundle.id


# Fleets


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    (tmp_path / "file").touch()
    good = [f'"local:{tmp_path}/{name}"' for name in "abcd"]
    path = tmp_path / "devices.toml"
    path.write_text(
        f'kind = "fleet/1"\nparallel = 2\n\n[[groups]]\nname = "shop"\nto = [{good[0]}, {good[1]}]\n\n'
        f'[[groups]]\nname = "far"\nto = ["local:{tmp_path}/file/x", {good[2]}]\n\n'
        f'[[groups]]\nname = "last"\nto = [{good[3]}]\n'
    )
    return path


def test_a_fleet_stops_at_a_failure_and_goes_on_later(here: Here, fleet: Path, tmp_path: Path) -> None:
    command = ("ship", edge(OLD), "--fleet", fleet, "--trust", keys()[1], "--python", sys.executable)
    answer = here(*command, "--json")
    assert answer.code == 3
    found = {one["to"]: one["outcome"] for one in json.loads(answer.out)["visits"]}
    assert list(found.values())[:3] == ["shipped", "shipped", "failed"]
    assert found[f"local:{tmp_path}/d"] == "not begun"
    (tmp_path / "file").unlink()
    answer = here(*command)
    assert answer.code == 0, answer.err
    last = answer.text.splitlines()[-1]
    assert last.startswith(f"version {verified(OLD).bundle.id}: ")
    assert " had it" in last
    assert (tmp_path / "d" / "current").is_symlink()


def test_a_canary_that_fails_spares_all_others(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    to = (f"local:{tmp_path}/file/x", f"local:{tmp_path}/a")
    done = ship_fleet(verified(OLD), Fleet(groups=(Group(name="all", to=to),)))
    assert [one.outcome for one in done.visits] == ["failed", "not begun"]
    assert not (tmp_path / "a").exists()


# On the device


def test_the_loader_answers_and_changes_to_what_is_shipped_later(device: Device) -> None:
    assert device.ship(OLD)[0] == 0
    model = load(device.folder)
    version = device.folder / "versions" / verified(OLD).bundle.id
    inputs, outputs = (np.load(version / "golden" / f"{name}.npy") for name in ("inputs", "outputs"))
    np.testing.assert_allclose(model(inputs), outputs, rtol=1e-4, atol=1e-5)
    assert (model.version, model.labels) == (verified(OLD).bundle.id, ["cat", "dog"])
    assert device.ship(NEW)[0] == 0
    np.testing.assert_allclose(model(inputs), outputs, rtol=1e-3, atol=1e-4)
    assert model.version == verified(NEW).bundle.id


def test_the_loader_keeps_the_old_version_where_the_new_one_is_damaged(device: Device) -> None:
    assert device.ship(OLD)[0] == 0
    model = load(device.folder)
    assert device.ship(NEW)[0] == 0
    new = device.folder / "versions" / verified(NEW).bundle.id / NEW
    new.write_bytes(b"damaged")
    assert model.refresh() is False
    assert (model.version, model.problem) == (
        verified(OLD).bundle.id,
        f"{new}: it is damaged (its SHA-256 differs); ship it again, or roll back",
    )
    with pytest.raises(LoadError, match="it is damaged"):
        load(device.folder)


def test_the_loader_says_where_no_model_is(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="no model is live there; `edgeprune ship` brings one"):
        load(tmp_path)


def test_the_loader_prepares_images_as_the_bundle_says(device: Device) -> None:
    assert device.ship(OLD)[0] == 0
    images = np.full((1, 3, 16, 16), 255, np.uint8)
    prepared = load(device.folder).prepare(images)
    assert (prepared.dtype, float(prepared.max())) == (np.float32, 1.0)


def test_the_loader_needs_nothing_of_edgeprune(device: Device, tmp_path: Path) -> None:
    assert device.ship(OLD)[0] == 0
    shutil.copy(device.folder / "current" / "edgeprune_device.py", tmp_path / "alone.py")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.modules['edgeprune'] = None\n"
        f"import numpy as np; from alone import load\n"
        f"print(load({str(device.folder)!r})(np.zeros((1, 3, 16, 16))).shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 10)\n"


def test_the_command_says_what_the_build_must_know(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "vision"
    answer = here("embed", edge("model.tflite"), "--into", folder, "--trust", keys()[1])
    known = verified("model.tflite")
    size = known.bundle.artifact.bytes
    assert answer.code == 0
    assert answer.out == (
        f"{folder}: version {known.bundle.id}, model.tflite (fp32), {size / 1e3:.1f} kB\n"
        f"assets.json says how it is fed and what it must answer; signed by {known.signer}\n"
        "in the app's build file, so that it is mapped and not unpacked: "
        'android { androidResources { noCompress += "tflite" } }\n'
    )


def test_an_untrusted_bundle_is_not_embedded(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "vision"
    answer = here("embed", edge("model.tflite"), "--into", folder, "--trust", strangers()[1])
    assert answer.code != 0
    assert "whom you do not trust" in answer.refusal[0]
    assert not list(tmp_path.iterdir())
