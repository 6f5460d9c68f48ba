"""Transport `adb`: a phone at the user's adb server, by USB or over the network."""

from __future__ import annotations

import contextlib
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from edgeprune.core.completed import Completed, last_lines, shown
from edgeprune.core.errors import ConnectionLost, DeviceError
from edgeprune.core.link import linked
from edgeprune.core.protocols import Link
from edgeprune.core.shell_line import ending, shell_line, told

if TYPE_CHECKING:
    from adbutils import AdbClient, AdbConnection

# Packets of adb's second shell protocol: a kind, a length, the bytes.
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)
_HEADER = struct.Struct("<BI")
_PACKET = 32 << 10
_CONNECT_S = 15.0
_GREETING_S = 5.0  # for a phone to become `device` once it is connected to
_STATES = {
    "unauthorized": (
        "does not trust this computer yet",
        "unlock the phone and allow USB debugging on its screen",
    ),
    "offline": ("is offline", "plug it in again, or `adb reconnect`; `adb devices` must say `device`"),
    "authorizing": ("is asking its user", "allow USB debugging on the phone's screen"),
    "no permissions": (
        "may not be opened by this user",
        "add udev rules for the phone, or join group plugdev",
    ),
}


@dataclass(frozen=True)
class Adb:
    """`--at adb:SERIAL` as `adb devices` lists it, or `--at adb:192.168.1.30:5555`."""

    serial: str
    server: str = "127.0.0.1"
    port: int | None = None

    def connect(self) -> AbstractContextManager[Link]:
        """A link through the adb server, which must run already: none is started behind the user's back."""
        return self._connected()

    @contextmanager
    def _connected(self) -> Iterator[Link]:
        with linked(_Shell(self)) as link:
            yield link


@dataclass
class _Shell:
    """Every command is a connection of its own to the adb server, which holds the one to the phone."""

    transport: Adb
    _client: AdbClient | None = field(default=None, init=False)

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        serial, started = self.transport.serial, time.monotonic()
        conversation = _Conversation(deadline=started + timeout)
        try:
            with self._opened(shell_line(command, cwd)) as channel:
                conversation.hold(channel.conn, stdin)
        except TimeoutError as error:
            raise DeviceError(
                f"adb:{serial}: `{shown(command)}` was not done after {timeout:g} s{self._end(conversation)}",
                hint="is the device busy? the command was ended there",
            ) from error
        except OSError as error:
            self._client = None
            raise ConnectionLost(f"adb:{serial}: the connection broke ({error})") from error
        except KeyboardInterrupt:
            self._end(conversation)
            raise
        if conversation.exit_code is None:
            self._client = None
            raise ConnectionLost(f"adb:{serial}: the connection broke (the device went away)")
        out = told(bytes(conversation.out))[1]
        seconds = time.monotonic() - started
        return Completed(tuple(command), conversation.exit_code, out, bytes(conversation.err), seconds)

    @contextmanager
    def _opened(self, line: str) -> Iterator[AdbConnection]:
        """A channel on which the line runs."""
        from adbutils import AdbError

        client = self._client or _client(self.transport)
        self._client = client
        try:
            with client.make_connection(timeout=_CONNECT_S) as channel:
                channel.send_command(f"host:transport:{self.transport.serial}")
                channel.check_okay()
                request = f"shell,v2,raw:{line}".encode()
                channel.conn.sendall(f"{len(request):04x}".encode() + request)
                channel.check_okay()
                yield channel
        except AdbError as error:
            self._client = None
            # adbutils says so of a server that closed without a word.
            why = "the device went away" if str(error).startswith("Unknown data") else str(error)
            raise ConnectionLost(f"adb:{self.transport.serial}: the connection broke ({why})") from error

    def _end(self, conversation: _Conversation) -> str:
        """End a command and all that it started; the last lines it printed."""
        number, rest = told(bytes(conversation.out))
        if number is not None:
            with (
                contextlib.suppress(OSError, DeviceError),
                self._opened(shell_line(ending(number), None)) as channel,
            ):
                _Conversation(deadline=time.monotonic() + 10).hold(channel.conn, b"")
        lines = last_lines(bytes(conversation.err)) or last_lines(rest)
        return f"; it said: {lines}" if lines else ""


@dataclass
class _Conversation:
    """Standard input given and outputs gathered, packet by packet, until the exit code or the deadline."""

    deadline: float
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    exit_code: int | None = None

    def hold(self, channel: socket.socket, stdin: bytes) -> None:
        """Talk until the command ended or the channel closed; raises TimeoutError."""
        import selectors

        waiting, unsent = bytearray(), memoryview(_packets(stdin))
        channel.setblocking(False)
        with selectors.DefaultSelector() as selector:
            selector.register(channel, selectors.EVENT_READ | selectors.EVENT_WRITE)
            while self.exit_code is None:
                left = self.deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                for _, events in selector.select(left):
                    if events & selectors.EVENT_WRITE:
                        unsent = unsent[channel.send(unsent[:_PACKET]) :]
                        if not unsent:
                            selector.modify(channel, selectors.EVENT_READ)
                    if events & selectors.EVENT_READ:
                        received = channel.recv(_PACKET)
                        if not received:
                            return
                        waiting += received
                        self._take(waiting)

    def _take(self, waiting: bytearray) -> None:
        """Take whole packets off the front of what was received."""
        while len(waiting) >= _HEADER.size:
            kind, size = _HEADER.unpack_from(waiting)
            if len(waiting) < _HEADER.size + size:
                return
            content = bytes(waiting[_HEADER.size : _HEADER.size + size])
            del waiting[: _HEADER.size + size]
            if kind == _STDOUT:
                self.out += content
            elif kind == _STDERR:
                self.err += content
            elif kind == _EXIT:
                self.exit_code = content[0]


def _packets(stdin: bytes) -> bytes:
    pieces = [stdin[start : start + _PACKET] for start in range(0, len(stdin), _PACKET)]
    return b"".join(_HEADER.pack(_STDIN, len(piece)) + piece for piece in pieces) + _HEADER.pack(
        _CLOSE_STDIN, 0
    )


def _states(client: AdbClient) -> dict[str, str]:
    return {one.serial: one.state for one in client.list()}


def _connected_anew(client: AdbClient, serial: str) -> dict[str, str]:
    """A phone of the network that went away and came back: the server itself looks every ten seconds only.

    Raises
    ------
    ConnectionLost
        Nothing answers there.
    """
    client.disconnect(serial)
    said = client.connect(serial, timeout=_CONNECT_S)
    if "connected" not in said.partition(" to ")[0]:
        raise ConnectionLost(
            f"adb:{serial}: cannot be reached ({said})",
            hint="is it on, in this network, and its debugging over the network on? "
            f"try `adb connect {serial}`",
        )
    deadline = time.monotonic() + _GREETING_S
    while (states := _states(client)).get(serial) == "offline" and time.monotonic() < deadline:
        time.sleep(0.1)
    return states


def _client(transport: Adb) -> AdbClient:
    """The adb server's client, once the phone answers; whatever stands in the way is one line."""
    from adbutils import AdbClient, AdbError

    client = AdbClient(host=transport.server, port=transport.port, socket_timeout=_CONNECT_S)
    try:
        # adbutils would start a server of its own where none answers.
        socket.create_connection((client.host, client.port), timeout=3).close()
    except OSError as error:
        raise DeviceError(
            f"no adb server answers at {client.host}:{client.port}",
            hint="start it: `adb start-server` (Debian: apt-get install adb)",
        ) from error
    serial = transport.serial
    try:
        states = _states(client)
        if ":" in serial and states.get(serial, "offline") == "offline":
            states = _connected_anew(client, serial)
    except (AdbError, OSError) as error:
        raise DeviceError(
            f"adb:{serial}: the adb server fails ({error})", hint="`adb kill-server`, then again"
        ) from error
    if serial not in states:
        listed = ", ".join(sorted(states)) or "none"
        raise DeviceError(
            f"adb:{serial}: no such device at the adb server",
            hint=f"`adb devices` lists: {listed}; is USB debugging on, or `adb connect {serial}` possible?",
        )
    if states[serial] != "device":
        why, hint = _STATES.get(
            states[serial], (f"is in state '{states[serial]}'", "`adb devices` must say `device`")
        )
        raise DeviceError(f"adb:{serial}: it {why}", hint=hint)
    return client
