"""What a device would be told is said, and nothing is done; what it answered is kept and answers again."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path, PurePosixPath

import pytest

from edgeprune.core.address import transport_at
from edgeprune.core.errors import DeviceError
from edgeprune.core.protocols import Link
from edgeprune.core.rehearsal import Rehearsal
from edgeprune.core.transcript import Recorder


def test_a_rehearsal_says_every_command_and_connects_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("abc")
    said: list[str] = []
    with Rehearsal("pi@nowhere", said.append).connect() as link:
        link.shell.run(["echo", "two words"], timeout=5, cwd=PurePosixPath("/srv"))
        link.files.push(tmp_path / "a", PurePosixPath("/opt/it's"))
        link.files.pull(PurePosixPath("/opt/b"), tmp_path / "b")
    assert said[0].startswith("pi@nowhere$ sh -c 'for folder in /data/local/tmp /var/tmp ")
    assert said[1] == "pi@nowhere$ echo 'two words'  # in /srv, at most 5 s"
    digest = hashlib.sha256(b"abc").hexdigest()
    part = f"""'/opt/.it'"'"'s.{digest[:16]}.part'"""
    assert said[3] == f"""pi@nowhere$ sh -c 'cat >> "$1"' sh {part}  # 3 B on standard input, at most 120 s"""
    assert digest in said[4]
    assert said[-1] == "pi@nowhere$ rm -rf -- /scratch  # at most 30 s"
    assert not (tmp_path / "b").exists()


def test_a_conversation_is_recorded_and_replayed(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff\x00")
    with Recorder(transport_at("local"), tmp_path / "said.json").connect() as link:
        first = talk(link, tmp_path)
    with transport_at(f"replay:{tmp_path}/said.json").connect() as link:
        assert talk(link, tmp_path) == first
    document = json.loads((tmp_path / "said.json").read_text())
    assert document["kind"] == "transcript/1"
    assert "\xff" not in (tmp_path / "said.json").read_text()


def talk(link: Link, folder: Path) -> tuple[object, ...]:
    link.files.push(folder / "a", link.scratch / "a")
    done = link.shell.run(["cat", str(link.scratch / "a")], timeout=5)
    with pytest.raises(DeviceError) as caught:
        link.shell.run(["sleep", "9"], timeout=0.1)
    return link.scratch, done.stdout, done.exit_code, caught.value.message


def test_a_transcript_is_kept_where_the_link_failed(tmp_path: Path) -> None:
    recorder = Recorder(transport_at("local"), tmp_path / "said.json")
    with pytest.raises(DeviceError), recorder.connect() as link:
        link.shell.run(["false"], timeout=5).require("no luck")
    assert json.loads((tmp_path / "said.json").read_text())["exchanges"][-1]["exit_code"] == 1


def test_another_command_than_was_recorded_is_an_error(tmp_path: Path) -> None:
    with Recorder(transport_at("local"), tmp_path / "said.json").connect() as link:
        link.shell.run(["echo", "a"], timeout=5)
    with pytest.raises(DeviceError) as caught, transport_at(f"replay:{tmp_path}/said.json").connect() as link:
        link.shell.run(["echo", "b"], timeout=5)
    assert caught.value.message == "the transcript goes on with `echo a`, asked was `echo b`"
    assert caught.value.hint == "record it again with --transcript: the commands have changed"
