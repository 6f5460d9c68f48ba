"""Every cable keeps the contract, against a real sshd and a real adbd, and says what is in its way."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import pytest
from boards import Board, Phone, certified, free_port, sshd

from edgeprune.core.address import transport_at
from edgeprune.core.completed import Completed
from edgeprune.core.errors import ConnectionLost, DeviceError
from edgeprune.core.files import sha256
from edgeprune.core.protocols import Shell
from edgeprune.core.shell_files import ShellFiles
from edgeprune.testing import check_transport


def test_this_machine_keeps_the_contract(tmp_path: Path) -> None:
    check_transport(transport_at("local"), tmp_path)


def test_a_board_behind_an_sshd_keeps_the_contract(board: Board, tmp_path: Path) -> None:
    check_transport(transport_at(board.address), tmp_path)


def test_a_phone_at_an_adb_server_keeps_the_contract(phone: Phone, tmp_path: Path) -> None:
    check_transport(transport_at(phone.address), tmp_path)


def test_a_program_that_ends_before_it_reads_its_input_is_an_answer(board: Board) -> None:
    with transport_at(board.address).connect() as link:
        for _ in range(5):
            assert link.shell.run(["true"], timeout=20, stdin=bytes(1 << 20)).exit_code == 0


# What stands in the way of ssh


def refused(address: str) -> DeviceError:
    with pytest.raises(DeviceError) as caught, transport_at(address).connect():
        pass
    return caught.value


def test_an_unknown_host_key_is_refused_with_the_way_to_accept_it(board: Board, tmp_path: Path) -> None:
    (tmp_path / "known").write_text("")
    error = refused(f"{board.host}?key={board.folder}/id&known_hosts={tmp_path}/known")
    where, port = f"{board.user}@127.0.0.1", board.port
    assert error.message == f"{where}: its host key is not known, and none is accepted unseen"
    assert error.hint == (
        f"`ssh-keyscan -p {port} 127.0.0.1 | ssh-keygen -lf -` shows it; compare it with the board's "
        "(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there), then accept it once with "
        f"`ssh -p {port} {where}`"
    )
    assert (tmp_path / "known").read_text() == ""


def test_a_changed_host_key_is_refused_as_such(board: Board, tmp_path: Path) -> None:
    other = (board.folder / "id.pub").read_text().split()
    (tmp_path / "known").write_text(f"[127.0.0.1]:{board.port} {other[0]} {other[1]}\n")
    error = refused(f"{board.host}?key={board.folder}/id&known_hosts={tmp_path}/known")
    assert error.message == (
        f"{board.user}@127.0.0.1: its host key is not the one in known_hosts: "
        "it was set up anew, or is another board"
    )
    assert f"`ssh-keygen -R '[127.0.0.1]:{board.port}'`" in error.hint


def test_a_host_key_that_a_trusted_authority_signed_is_known(tmp_path: Path) -> None:
    with sshd(tmp_path, certified(tmp_path, "-1d:+1d")) as board:
        address = f"{board.host}?key={board.folder}/id&known_hosts={tmp_path}/authority"
        with transport_at(address).connect() as link:
            assert link.shell.run(["true"], timeout=20).exit_code == 0


@pytest.mark.parametrize(
    ("valid", "why"), [("-2d:-1d", "has expired"), ("+1d:+2d", "is not valid yet")], ids=["expired", "early"]
)
def test_a_host_certificate_of_another_time_is_refused_as_such(tmp_path: Path, valid: str, why: str) -> None:
    with sshd(tmp_path, certified(tmp_path, valid)) as board:
        error = refused(f"{board.host}?key={board.folder}/id&known_hosts={tmp_path}/authority")
    assert error.message == f"{board.user}@127.0.0.1: its host certificate {why}"
    assert error.hint == (
        "have the board's host key signed anew; or is this machine's clock wrong? look at `date`"
    )


def test_a_key_that_does_not_open_is_named(board: Board) -> None:
    error = refused(f"{board.host}?key={board.folder}/hostkey&known_hosts={board.folder}/known_hosts")
    assert error.message == (f"{board.user}@127.0.0.1: it does not let {board.user} in with any of the keys")
    assert error.hint.startswith(f"`ssh-copy-id -p {board.port} {board.user}@127.0.0.1` puts your key there")


def test_a_key_file_that_is_none_is_named(board: Board, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("no key")
    error = refused(f"{board.host}?key={tmp_path}/key&known_hosts={board.folder}/known_hosts")
    assert error.message.startswith(f"{board.user}@127.0.0.1: a key or ~/.ssh/config cannot be used (")


def test_a_port_where_nobody_listens_is_unreachable() -> None:
    port = free_port()
    error = refused(f"pi@127.0.0.1:{port}")
    assert error.message.startswith(f"pi@127.0.0.1: cannot be reached at port {port} (")
    assert error.hint == (
        f"is it on, in this network, and sshd running there? try `ssh -p {port} pi@127.0.0.1 true`"
    )
    assert error.exit_code == 3


def test_names_users_ports_and_jump_hosts_come_from_the_ssh_configuration(
    board: Board, tmp_path: Path
) -> None:
    keys = f"IdentityFile {board.folder}/id\n  UserKnownHostsFile {board.folder}/known_hosts"
    common = f"User {board.user}\n  {keys}"
    (tmp_path / "config").write_text(
        f"Host gate\n  HostName 127.0.0.1\n  Port {board.port}\n  {common}\n"
        f"Host behind\n  HostName 127.0.0.1\n  Port {board.port}\n  ProxyJump gate\n  {common}\n"
    )
    for name in ("gate", "behind"):
        with transport_at(f"ssh:{name}?config={tmp_path}/config").connect() as link:
            assert link.shell.run(["echo", "there"], timeout=20).text() == "there\n"


# Connections that break


def test_a_push_goes_on_where_the_connection_broke(board: Board, tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(bytes(range(256)) * (40 << 12))
    with transport_at(board.address).connect() as link:
        there = Path(link.scratch) / "big"
        cut: list[int] = []

        def cut_once() -> None:
            while not cut:
                parts = list(there.parent.glob(".big.*.part"))
                if parts and parts[0].stat().st_size > 8 << 20:
                    cut.extend([parts[0].stat().st_size, board.cut_connections()])
                time.sleep(0.002)

        watcher = threading.Thread(target=cut_once)
        watcher.start()
        link.files.push(source, PurePosixPath(there))
        watcher.join()
        assert cut[1] >= 1
        assert there.read_bytes() == source.read_bytes()
        assert list(there.parent.glob(".big.*")) == []


def test_a_push_that_was_given_up_is_not_begun_again(tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(bytes(range(256)) * (48 << 10))
    with transport_at("local").connect() as link:
        weak = Weak(link.shell, pieces=2)
        with pytest.raises(ConnectionLost):
            ShellFiles(weak, pauses_s=()).push(source, link.scratch / "big")
        assert not (Path(link.scratch) / "big").exists()
        sent = Weak(link.shell, pieces=99)
        ShellFiles(sent, pauses_s=()).push(source, link.scratch / "big")
        assert sent.bytes == source.stat().st_size - 2 * (4 << 20)
        assert (Path(link.scratch) / "big").read_bytes() == source.read_bytes()


class Weak:
    """A shell whose connection breaks after some pieces of standard input."""

    def __init__(self, shell: Shell, pieces: int) -> None:
        self._shell, self._pieces, self.bytes = shell, pieces, 0

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        if stdin:
            if not self._pieces:
                raise ConnectionLost("the cable is weak")
            self._pieces -= 1
            self.bytes += len(stdin)
        return self._shell.run(command, timeout=timeout, stdin=stdin, cwd=cwd)


def test_a_full_device_is_named_and_keeps_no_half_file(tmp_path: Path) -> None:
    source = tmp_path / "big"
    source.write_bytes(b"x" * (1 << 20))
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this system")
    with transport_at("local").connect() as link:
        Path(link.scratch, "low").mkdir()
        # A part that is /dev/full takes no byte, as a full disk does.
        Path(link.scratch, "low", f".big.{sha256(source)[:16]}.part").symlink_to(full)
        with pytest.raises(DeviceError) as caught:
            link.files.push(source, link.scratch / "low" / "big")
        assert caught.value.message == f"{link.scratch}/low/big: the device is full"
        assert caught.value.hint == "free some space there"
        assert list(Path(link.scratch, "low").iterdir()) == []


def test_a_file_never_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with transport_at("local").connect() as link:
        Path(link.scratch, "taken").mkdir()
        with pytest.raises(DeviceError) as caught:
            link.files.push(tmp_path / "file", link.scratch / "taken")
        assert "it is a folder" in caught.value.message


# What stands in the way of adb


def test_without_an_adb_server_none_is_started(tmp_path: Path) -> None:
    port = free_port()
    error = refused(f"adb:0123?port={port}")
    assert error.message == f"no adb server answers at 127.0.0.1:{port}"
    assert error.hint == "start it: `adb start-server` (Debian: apt-get install adb)"


def test_a_phone_that_is_not_there_is_told_from_those_that_are(phone: Phone) -> None:
    error = refused(f"adb:0123?port={phone.server_port}")
    assert error.message == "adb:0123: no such device at the adb server"
    assert error.hint.startswith(f"`adb devices` lists: {phone.serial}; ")


def test_a_phone_of_the_network_that_went_away_is_found_again_once_it_is_back(phone: Phone) -> None:
    phone.stop()
    error = refused(phone.address)
    phone.start()
    assert isinstance(error, ConnectionLost)
    assert error.message == (
        f"adb:{phone.serial}: cannot be reached (failed to connect to '{phone.serial}': Connection refused)"
    )
    assert error.hint == (
        f"is it on, in this network, and its debugging over the network on? try `adb connect {phone.serial}`"
    )
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            with transport_at(phone.address).connect() as link:
                assert link.shell.run(["echo", "back"], timeout=20).text() == "back\n"
                return
        except ConnectionLost:
            time.sleep(0.1)
    pytest.fail("it was not found again")
