"""Devices that tests may use up: a real sshd on loopback, and a real adbd in a network of its own."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeprune" / "tests"
SSHD = shutil.which("sshd") or next((str(p) for p in [Path("/usr/sbin/sshd")] if p.exists()), None)
ADBD_PACKAGES = (
    "adbd android-libbase android-libboringssl android-libcutils android-liblog android-libziparchive"
)
SSHD_SETTINGS = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {folder}/hostkey
AuthorizedKeysFile {folder}/id.pub
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
UseDNS no
PrintMotd no
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True, slots=True)
class Board:
    """What stands behind an address, and the files that lead there."""

    user: str
    port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def host(self) -> str:
        return f"{self.user}@127.0.0.1:{self.port}"

    @property
    def address(self) -> str:
        """As a user types it, with keys that only tests have."""
        return f"{self.host}?key={self.folder}/id&known_hosts={self.folder}/known_hosts"

    def cut_connections(self) -> int:
        """End every session, as a network does that goes away; how many there were."""
        listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True)
        sessions = [int(one) for one in listed.stdout.split()]
        for session in sessions:
            os.kill(session, 9)
        return len(sessions)


@contextmanager
def sshd(folder: Path, more: str = "") -> Iterator[Board]:
    """An sshd of this user's own, with its own keys, and more settings."""
    if SSHD is None:
        pytest.skip("no sshd; Debian: apt-get install openssh-server")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # sshd gives up its rights there
    for name in ("hostkey", "id"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    port = free_port()
    (folder / "sshd.conf").write_text(SSHD_SETTINGS.format(port=port, folder=folder) + more)
    kind, key = (folder / "hostkey.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {kind} {key}\n")
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen([SSHD, "-D", "-e", "-f", folder / "sshd.conf"], stderr=log)
    try:
        listening(port, process)
        yield Board(getpass.getuser(), port, folder, process)
    finally:
        process.kill()
        process.wait()


def certified(folder: Path, valid: str) -> str:
    """Settings of an sshd with a second host key; whom the file `authority` trusts signed it for a time."""
    quiet = ["ssh-keygen", "-q"]
    for name, kind in (("certified", "ecdsa"), ("signer", "ed25519")):
        subprocess.run([*quiet, "-t", kind, "-N", "", "-f", str(folder / name)], check=True)
    sign = ["-s", str(folder / "signer"), "-h", "-I", "board", "-n", "127.0.0.1", "-V", valid]
    subprocess.run([*quiet, *sign, str(folder / "certified.pub")], check=True)
    (folder / "authority").write_text(f"@cert-authority * {(folder / 'signer.pub').read_text()}")
    return f"HostKey {folder}/certified\nHostCertificate {folder}/certified-cert.pub\n"


@dataclass(frozen=True, slots=True)
class Phone:
    """An adb server with one phone, reachable at a port of this machine."""

    serial: str
    server_port: int
    folder: Path
    process: subprocess.Popen[bytes]

    @property
    def address(self) -> str:
        return f"adb:{self.serial}?port={self.server_port}"

    def cut_connections(self) -> int:
        """Kill adbd, which is started again at once, as a phone does; how many processes there were."""
        command = ["ps", "-A", "-ww", "-o", "pid=,ppid=,args="]
        listed = subprocess.run(command, capture_output=True, text=True)
        rows = [line.split(None, 2) for line in listed.stdout.splitlines()]
        parents = {int(process): int(parent) for process, parent, _ in rows}
        daemons = [int(process) for process, _, program in rows if program.endswith("/adbd")]
        found = [one for one in daemons if self.process.pid in _ancestors(one, parents)]
        for one in found:
            os.kill(one, 9)
        return len(found)

    def stop(self) -> None:
        """Kill adbd, which stays away until `start`."""
        (self.folder / "away").touch()
        self.cut_connections()

    def start(self) -> None:
        """Let adbd be started again."""
        (self.folder / "away").unlink(missing_ok=True)


def _ancestors(process: int, parents: dict[int, int]) -> Iterator[int]:
    while process := parents.get(process, 0):
        yield process


@contextmanager
def adbd(folder: Path, start: str = "", setup: str = "") -> Iterator[Phone]:
    """A real adbd. It listens on all interfaces and asks for nothing, so its network is its own.

    `start` is the line that starts another one than this machine's, at port 6666, `setup` what goes before.
    """
    start = start or started(adbd_program())
    if shutil.which("adb") is None:
        pytest.skip("no adb; Debian: apt-get install adb")
    if subprocess.run(["unshare", "-Urn", "true"], capture_output=True, check=False).returncode:
        pytest.skip("this kernel gives no private network namespace (unshare -Urn)")
    gate = folder / "gate"
    script = Path(__file__).with_name("forward.py")
    inside = f"""
        ip link set lo up
        {setup}
        while sleep 0.1; do [ -e {folder}/away ] || {start}; done &
        for i in $(seq 100); do adb connect 127.0.0.1:6666 | grep -q '^connected' && break; sleep 0.1; done
        exec {sys.executable} {script} unix:{gate} tcp:5037"""
    environment = {**os.environ, "HOME": str(folder), "TMPDIR": str(folder)}
    with (folder / "adbd.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "-Urnmpf", "--mount-proc", "--kill-child", "bash", "-c", inside],
            stdout=log, stderr=log, env=environment,
        )  # fmt: skip
    port = free_port()
    bridge = subprocess.Popen([sys.executable, str(script), f"tcp:{port}", f"unix:{gate}"])
    try:
        deadline = time.monotonic() + 60
        while not gate.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.skip(f"adbd does not start here: {(folder / 'adbd.log').read_text()[-300:]}")
            time.sleep(0.05)
        listening(port, bridge)
        yield Phone("127.0.0.1:6666", port, folder, process)
    finally:
        for one in (bridge, process):
            one.kill()
            one.wait()


def started(program: Path) -> str:
    """The line that starts an adbd of this machine's own architecture."""
    return f"ADBD_PORT=6666 LD_LIBRARY_PATH={':'.join(map(str, library_folders(program)))} {program}"


def adbd_program() -> Path:
    """Debian's adbd, unpacked beside the system; fetched once where apt can."""
    root = CACHE / "adbd"
    program = root / "usr" / "lib" / "android-sdk" / "platform-tools" / "adbd"
    if not program.exists():
        sources = Path("/etc/apt/sources.list.d/debian.sources")
        try:
            unpack_backports(root, sources.read_text(), ADBD_PACKAGES.split(), ["libprotobuf32"])
        except (OSError, subprocess.SubprocessError, IndexError, StopIteration) as error:
            pytest.skip(f"no adbd, and Debian's package cannot be fetched: {error}")
    return program


def unpack_backports(
    root: Path, sources: str, newer: list[str], stable: list[str], architecture: str = ""
) -> None:
    """Fetch from backports of the machine's own mirror."""
    release = next(line for line in Path("/etc/os-release").read_text().splitlines() if "CODENAME" in line)
    name = release.partition("=")[2]
    wanted = [f"{one}/{name}-backports" for one in newer] + stable
    unpack_packages(root, sources, [name, f"{name}-backports"], wanted, architecture)


def unpack_packages(
    root: Path, sources: str, suites: list[str], wanted: list[str], architecture: str = ""
) -> None:
    """Fetch from the machine's own mirror, with package lists apart from the system's."""
    mirror = next(line.split()[1] for line in sources.splitlines() if line.startswith("URIs:"))
    state = root.with_name(f"{root.name}-packages")
    for part in ("lists/partial", "archives/partial"):
        (state / part).mkdir(parents=True, exist_ok=True)
    (state / "status").touch()
    key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    lines = [f"deb {key} {mirror} {suite} main" for suite in suites]
    (state / "sources.list").write_text("\n".join(lines) + "\n")
    settings = {
        "Dir::State::Lists": state / "lists", "Dir::State::Status": state / "status",
        "Dir::Cache": state, "Dir::Etc::SourceList": state / "sources.list", "Dir::Etc::SourceParts": "-",
        "APT::Sandbox::User": "root", "Debug::NoLocking": "true",
    }  # fmt: skip
    if architecture:
        settings |= {"APT::Architecture": architecture, "APT::Architectures": architecture}
    (state / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    environment = {**os.environ, "APT_CONFIG": str(state / "apt.conf")}
    for command in (["apt-get", "-q", "update"], ["apt-get", "-q", "download", *wanted]):
        subprocess.run(
            command, cwd=state / "archives", env=environment, check=True, capture_output=True, timeout=120
        )
    for package in (state / "archives").glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, root], check=True)


def library_folders(program: Path) -> list[Path]:
    root = program.parents[4]
    return sorted({path.parent for path in root.rglob("*.so*")})


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def listening(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until something answers at a port."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens at port {port}")
