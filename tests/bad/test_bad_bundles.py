"""Bundles that are damaged, forged or hostile: each refused with its own message, and nothing written."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from command import Here
from shipments import edge, keys, strangers

from edgeprune.core.bundle import MANIFEST, SIGNATURE, Bundle, Signature
from edgeprune.core.bundle_file import _header, verify
from edgeprune.core.errors import BundleError
from edgeprune.core.keys import load_private, load_trusted, sign

NOTHING_WRITTEN = "nothing of it was written; get the file again from whoever made it"
Change = Callable[[dict[str, bytes]], None]


def plain(files: dict[str, bytes], path: Path) -> Path:
    """A file of the right form with any entries."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(_header(name), content)
    return path


def contents() -> dict[str, bytes]:
    with zipfile.ZipFile(edge()) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def refusal(path: Path, *trusted: Path) -> str:
    before = sorted(path.parent.rglob("*"))
    with pytest.raises(BundleError) as caught:
        verify(path, load_trusted(trusted or [keys()[1]]))
    assert sorted(path.parent.rglob("*")) == before
    assert caught.value.hint
    assert caught.value.message.startswith(f"{path}: ")
    return caught.value.message.removeprefix(f"{path}: ")


def forged(files: dict[str, bytes], manifest: Bundle, key: Path) -> dict[str, bytes]:
    """The files under another manifest, signed by some key."""
    public, signature = sign(load_private(key), Signature.message(manifest.manifest()))
    signed = Signature(public_key=public.hex(), signature=signature.hex())
    return {**files, MANIFEST: manifest.manifest(), SIGNATURE: f"{signed.to_json()}\n".encode()}


def test_a_bundle_as_it_was_made_is_opened() -> None:
    assert verify(edge(), load_trusted([strangers()[1], keys()[1]])).bundle.artifact.path == "model.onnx"


NAMES = {
    "../evil": "leads out of its folder",
    "a/../../evil": "leads out of its folder",
    "..": "leads out of its folder",
    "a\\..\\evil": "leads out of its folder",
    "/etc/evil": "has an absolute name",
    "C:/evil": "has an absolute name",
    "folder/": "is a folder",
    "a//b": "has a name that not every device can have",
    "./a": "has a name that not every device can have",
    "new\nline": "has a name that not every device can have",
    "$(id)": "has a name that not every device can have",
    "ä": "has a name that not every device can have",
    "x" * 500: "has a name that not every device can have",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leads_elsewhere(tmp_path: Path, name: str) -> None:
    path = plain({**contents(), name: b"evil"}, tmp_path / "m.edge")
    assert refusal(path) == f"entry {name!r} {NAMES[name]}"


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (stat.S_IFLNK, "is a link"),
        (stat.S_IFCHR, "is a device or another special file"),
        (stat.S_IFIFO, "is a device or another special file"),
        (stat.S_IFDIR, "is a device or another special file"),
    ],
)
def test_an_entry_that_is_no_file(tmp_path: Path, kind: int, why: str) -> None:
    path = tmp_path / "m.edge"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in contents().items():
            archive.writestr(_header(name), content)
        link = _header("link")
        link.external_attr = (kind | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    assert refusal(path) == f"entry 'link' {why}"


@pytest.mark.parametrize("second", ["model.onnx", "MODEL.onnx", MANIFEST])
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_is_there_twice(tmp_path: Path, second: str) -> None:
    path = plain(contents(), tmp_path / "m.edge")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(_header(second), b"another")
    assert refusal(path) == f"entry {second!r} is there twice"


def test_a_bomb(tmp_path: Path) -> None:
    path = tmp_path / "m.edge"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb", bytes(20_000_000))
    assert refusal(path) == (
        "entry 'bomb' is compressed (19.4 kB that declare to be 20.0 MB), which bundles never are"
    )


def test_entries_that_declare_more_than_the_file_has(tmp_path: Path) -> None:
    path = plain({**contents(), "big": b"x" * 100}, tmp_path / "m.edge")
    content = bytearray(path.read_bytes())
    at = content.rindex(b"PK\x01\x02")  # the directory's last entry: big
    content[at + 20 : at + 28] = struct.pack("<II", 1_000_000_000, 1_000_000_000)
    path.write_bytes(content)
    assert refusal(path).startswith("declares 1.0 GB in a file of ")


def test_entries_that_are_more_than_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "m.edge"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(20_001):
            archive.writestr(_header(f"{number}"), b"")
    assert refusal(path) == "20001 entries, more than the 20000 that are opened"


def test_a_manifest_that_is_too_large(tmp_path: Path) -> None:
    path = plain({MANIFEST: bytes(17 << 20)}, tmp_path / "m.edge")
    assert refusal(path) == f"entry '{MANIFEST}' is too large (17.8 MB)"


def test_an_encrypted_entry(tmp_path: Path) -> None:
    path = plain(contents(), tmp_path / "m.edge")
    content = bytearray(path.read_bytes())
    content[content.rindex(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert refusal(path).endswith(" is encrypted")


def test_a_bundle_that_is_not_signed(tmp_path: Path) -> None:
    files = contents()
    del files[SIGNATURE]
    assert refusal(plain(files, tmp_path / "m.edge")) == "it is not signed"


def test_a_bundle_without_a_manifest(tmp_path: Path) -> None:
    assert refusal(plain({"a": b""}, tmp_path / "m.edge")) == f"no bundle: it has no {MANIFEST}"


def test_a_bundle_that_somebody_else_signed_again(tmp_path: Path) -> None:
    files = contents()
    manifest = Bundle.model_validate_json(files[MANIFEST])
    path = plain(forged(files, manifest, strangers()[0]), tmp_path / "m.edge")
    message = refusal(path)
    assert message.startswith("signed by SHA256:")
    assert message.endswith(", whom you do not trust")
    assert refusal(edge(), strangers()[1]) == refusal(edge(), strangers()[1])


def test_a_signature_of_another_manifest(tmp_path: Path) -> None:
    files = contents()
    other = Bundle.model_validate_json(files[MANIFEST]).model_copy(update={"latency_budget_ms": 1.0})
    path = plain({**files, MANIFEST: other.manifest()}, tmp_path / "m.edge")
    assert refusal(path) == "the signature is not that of its manifest: it was altered or damaged"


@pytest.mark.parametrize("text", [b"no json", b"[" * 4000, b"\xff\xfe"])
def test_a_signature_that_is_no_json(tmp_path: Path, text: bytes) -> None:
    path = plain({**contents(), SIGNATURE: text}, tmp_path / "m.edge")
    assert refusal(path) == f"{SIGNATURE} is no JSON"


def test_an_entry_that_was_exchanged(tmp_path: Path) -> None:
    files = contents()
    files["model.onnx"] = bytes(len(files["model.onnx"]))
    assert refusal(plain(files, tmp_path / "m.edge")) == (
        "entry 'model.onnx' is not what was signed (its SHA-256 differs)"
    )


def test_an_entry_that_is_longer(tmp_path: Path) -> None:
    files = contents()
    size = len(files["model.onnx"])
    files["model.onnx"] += b"x"
    assert refusal(plain(files, tmp_path / "m.edge")) == (
        f"entry 'model.onnx' has {size + 1} bytes, the manifest says {size}"
    )


def test_an_entry_that_is_missing(tmp_path: Path) -> None:
    files = contents()
    del files["model.onnx"]
    assert refusal(plain(files, tmp_path / "m.edge")) == "entry 'model.onnx' of the manifest is missing"


def test_an_entry_that_nobody_signed(tmp_path: Path) -> None:
    files = {**contents(), "more": b"more"}
    assert refusal(plain(files, tmp_path / "m.edge")) == "entry 'more' is not in the manifest"


@pytest.mark.parametrize(
    ("add", "where"),
    [(b"#!/bin/sh\n", "before"), (b"trailing", "after")],
    ids=["before", "after"],
)
def test_bytes_around_the_entries(tmp_path: Path, add: bytes, where: str) -> None:
    content = edge().read_bytes()
    path = tmp_path / "m.edge"
    path.write_bytes(add + content if where == "before" else content + add)
    assert refusal(path) in {
        f"entry '{MANIFEST}' was written by another tool, or altered",
        "it holds more than its entries, or was written by another tool",
        "no bundle, or a damaged one (File is not a zip file)",
    }


def test_every_flipped_bit_is_seen(tmp_path: Path) -> None:
    content = edge().read_bytes()
    directory = content.rindex(b"PK\x05\x06")
    places = {
        *range(0, len(content), max(1, len(content) // 200)),
        *range(80),
        *range(directory, len(content)),
    }
    path = tmp_path / "m.edge"
    for place in sorted(places):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x10]) + content[place + 1 :])
        with pytest.raises(BundleError):
            verify(path, load_trusted([keys()[1]]))


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_a_bundle_that_was_cut_off(tmp_path: Path, share: float) -> None:
    content = edge().read_bytes()
    path = tmp_path / "m.edge"
    path.write_bytes(content[: int(share * len(content))])
    assert refusal(path).startswith("no bundle, or a damaged one (")


# On the command line


@pytest.fixture
def here(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Here:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return Here(capfd, monkeypatch)


def test_a_refused_bundle_reaches_no_device(here: Here, tmp_path: Path) -> None:
    path = plain({**contents(), "more": b""}, tmp_path / "m.edge")
    answer = here("ship", "m.edge", "--to", f"local:{tmp_path}/device", "--trust", keys()[1])
    assert (answer.code, *answer.refusal) == (
        2,
        "m.edge: entry 'more' is not in the manifest",
        NOTHING_WRITTEN,
    )
    assert path.exists()
    assert not (tmp_path / "device").exists()


def test_a_model_in_place_of_a_bundle(here: Here, tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    answer = here("ship", "model.tflite", "--to", f"local:{tmp_path}/device", "--trust", keys()[1])
    assert (answer.code, *answer.refusal) == (
        2,
        "model.tflite: no bundle, or a damaged one (File is not a zip file)",
        f"{NOTHING_WRITTEN}; of a run, `edgeprune bundle RUN -o model.edge` makes one",
    )


FORM = "write pi@host:/opt/models/vision, ssh:NAME:/FOLDER, adb:SERIAL:/data/local/tmp/vision, local:/FOLDER"
REFUSED = {
    "ship nothing.edge --to local:/tmp/x --trust PUB": (
        "nothing.edge: no such file",
        "`edgeprune bundle RUN -o model.edge` makes one",
    ),
    "ship EDGE --trust PUB": ("give either --to or --fleet", "--to pi@host:/opt/models/vision"),
    "ship EDGE --to pi@host --trust PUB": ("'pi@host' names no folder of a device", FORM),
    "ship EDGE --to local:/ --trust PUB": ("'local:/': nothing is shipped to /", FORM),
    "ship EDGE --to local:/a/../b --trust PUB": ("'local:/a/../b': nothing is shipped to /a/../b", FORM),
    "ship EDGE --to local:/tmp/x --trust none.pub": ("none.pub: no such key file", "check --trust"),
    "ship EDGE --to local:/tmp/x --trust EDGE": ("EDGE: no public key", "give a .pub file"),
    "bundle nowhere -o m.edge": (
        "CONFIG/edgeprune/keys/edgeprune.key: no such key file",
        "`edgeprune keys new` makes one",
    ),
    "bundle nowhere -o m.edge --key KEY": (
        "nowhere: not a finished run (it has no report.json)",
        "give the folder that `edgeprune compress` wrote: runs/NAME-TARGET",
    ),
    "bundle RUN -o m.edge --key KEY --file model.onx": (
        "the run has no file 'model.onx'",
        "did you mean 'model.onnx'? known: model.onnx, model.tflite",
    ),
    "bundle RUN -o m.edge --key KEY --precision fp16": (
        "the run has no file 'fp16'",
        "known: model.onnx, model.tflite",
    ),
    "bundle RUN -o m.edge --key KEY --latency-budget soon": (
        "--latency-budget 'soon' is not a duration",
        "write it like 40ms, 1.5s or 250us",
    ),
    "bundle RUN -o m.edge --key KEY --capsule .": (
        ".: not a capsule (it has no file py)",
        "a capsule is a folder with Python and the runtimes, started by `sh py`",
    ),
    "bundle RUN -o m.edge --key PUB": (
        "PUB: no private key that can be used",
        "give an Ed25519 key without passphrase, as `edgeprune keys new` and `ssh-keygen -t ed25519` make it",
    ),
    "rollback --to local:/tmp/edgeprune-nothing-here": (
        "local:/tmp/edgeprune-nothing-here: there is no version",
        "`edgeprune ship model.edge --to ...` brings one",
    ),
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_request_that_cannot_be_done(here: Here, tmp_path: Path, line: str) -> None:
    from shipments import run_folder

    words = {
        "EDGE": str(edge()),
        "KEY": str(keys()[0]),
        "PUB": str(keys()[1]),
        "RUN": str(run_folder()),
        "CONFIG": str(tmp_path / "config"),
    }

    def filled(text: str) -> str:
        for word, value in words.items():
            text = text.replace(word, value)
        return text

    answer = here(*[words.get(word, word) for word in line.split()])
    message, hint = REFUSED[line]
    assert (answer.code, *answer.refusal) == (2, filled(message), hint)
    assert not (tmp_path / "m.edge").exists()


def test_nobody_is_trusted_who_was_not_named(here: Here, tmp_path: Path) -> None:
    answer = here("ship", edge(), "--to", "local:/tmp/x")
    assert answer.code == 2
    assert answer.refusal[0] == f"no key is trusted: {tmp_path}/config/edgeprune/keys has no .pub file"


def test_a_key_is_never_overwritten(here: Here, tmp_path: Path) -> None:
    assert here("keys", "new", "--out", "mine").code == 0
    assert stat.S_IMODE(Path("mine/edgeprune.key").stat().st_mode) == 0o600
    answer = here("keys", "new", "--out", "mine")
    assert (answer.code, *answer.refusal) == (
        2,
        "mine/edgeprune.key: there is a key already",
        "keep it, or name another folder with --out",
    )


FLEETS = {
    'kind = "fleet/1"\ngroups = []\n': "groups: tuple should have at least 1 item after validation, not 0",
    'kind = "fleet/1"\n[[groups]]\nname = "a"\nto = ["board"]\n': (
        "group 'a': 'board' names no folder of a device"
    ),
    'kind = "fleet/1"\n[[groups]]\nname = "a"\nto = ["local:/x", "local:/x"]\n': "local:/x is there twice",
    'kind = "fleet/1"\nparalel = 2\n[[groups]]\nname = "a"\nto = ["local:/x"]\n': (
        "paralel: unknown key (did you mean 'parallel'?)"
    ),
}


@pytest.mark.parametrize("text", FLEETS)
def test_a_fleet_with_a_fault_reaches_no_device(here: Here, tmp_path: Path, text: str) -> None:
    (tmp_path / "devices.toml").write_text(text)
    answer = here("ship", edge(), "--fleet", "devices.toml", "--trust", keys()[1])
    assert (answer.code, answer.refusal[0]) == (2, f"devices.toml: {FLEETS[text]}")
