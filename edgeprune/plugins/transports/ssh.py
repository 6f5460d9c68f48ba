"""Transport `ssh`: a board on the network, through its sshd, as `~/.ssh/config` says."""

from __future__ import annotations

import asyncio
import getpass
import re
import shlex
import time
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

from edgeprune.core.completed import Completed, last_lines, shown
from edgeprune.core.errors import ConnectionLost, DeviceError, EdgepruneError, RequestError
from edgeprune.core.link import linked
from edgeprune.core.protocols import Link
from edgeprune.core.shell_line import ending, shell_line, told

if TYPE_CHECKING:
    from asyncssh import SSHClientConnection, SSHClientProcess

_Answer = TypeVar("_Answer")
_KEEPALIVE_S = 15
_CERTIFICATES = {"Certificate expired": "has expired", "Certificate not yet valid": "is not valid yet"}
"""What asyncssh says of host certificates that a trusted authority signed, and how it goes on here."""


@dataclass(frozen=True)
class Ssh:
    """`--at pi@192.168.1.20`, `--at pi@board:2222`, `--at ssh:NAME` of ~/.ssh/config; `?key=FILE`.

    Keys come from the agent and the usual files, jump hosts, users and ports from ~/.ssh/config, and host
    keys must stand in ~/.ssh/known_hosts: none is accepted silently.
    """

    host: str
    key: Path | None = None
    known_hosts: Path | None = None
    config: Path | None = None
    connect_s: float = 20.0

    def connect(self) -> AbstractContextManager[Link]:
        """A link through one connection, which is made again where it breaks."""
        return self._connected()

    @contextmanager
    def _connected(self) -> Iterator[Link]:
        shell = _Shell(self)
        try:
            with linked(shell) as link:
                yield link
        finally:
            shell.close()

    def parts(self) -> tuple[str | None, str, int | None]:
        """User, host and port; None where ~/.ssh/config or ssh's own defaults decide."""
        found = re.fullmatch(r"(?:([^@]+)@)?(\[[^\]]+\]|[^:\s]+)(?::(\d{1,5}))?", self.host)
        if not found or self.host.startswith("-"):
            raise RequestError(
                f"'{self.host}' is no address of a host", hint="write pi@192.168.1.20 or pi@host:2222"
            )
        return found[1], found[2].strip("[]"), int(found[3]) if found[3] else None


class _Shell:
    """One connection, in an event loop that runs only while somebody waits for an answer."""

    def __init__(self, transport: Ssh) -> None:
        self._transport = transport
        self._loop = asyncio.new_event_loop()
        self._connection: SSHClientConnection | None = None

    def run(
        self,
        command: Sequence[str],
        *,
        timeout: float,
        stdin: bytes = b"",
        cwd: PurePosixPath | None = None,
    ) -> Completed:
        return self._wait(self._run(tuple(command), timeout, stdin, cwd))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.abort()
            with suppress(Exception):  # whatever a dead connection has to say at its end
                self._loop.run_until_complete(asyncio.wait_for(self._connection.wait_closed(), 2))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _wait(self, work: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Run to the end; asyncssh's errors become ours, and Ctrl-C ends what runs there first."""
        import asyncssh

        task = self._loop.create_task(work)
        try:
            return self._loop.run_until_complete(task)
        except KeyboardInterrupt:
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                self._loop.run_until_complete(task)
            raise
        except EdgepruneError:
            raise
        except (asyncssh.Error, OSError, EOFError) as error:
            self._connection = None
            raise ConnectionLost(f"{self._transport.host}: the connection broke ({_words(error)})") from error

    async def _run(
        self, command: tuple[str, ...], timeout: float, stdin: bytes, cwd: PurePosixPath | None
    ) -> Completed:
        connection = await self._connect()
        started = time.monotonic()
        process = await connection.create_process(shell_line(command, cwd), encoding=None)
        # A program that has ended already takes no input any more; its exit code says the rest.
        with suppress(BrokenPipeError):
            process.stdin.write(stdin)
            process.stdin.write_eof()
        try:
            out, err = await asyncio.wait_for(process.communicate(), timeout)
        except TimeoutError as error:
            printed = await self._end(connection, process)
            raise DeviceError(
                f"{self._transport.host}: `{shown(command)}` was not done after {timeout:g} s{printed}",
                hint="is the device busy? the command was ended there",
            ) from error
        except asyncio.CancelledError:
            await self._end(connection, process)
            raise
        code = process.returncode
        if code is None:  # the channel closed without an exit status: the device went away
            raise ConnectionResetError("the device went away")
        return Completed(
            command, code, told(bytes(out or b""))[1], bytes(err or b""), time.monotonic() - started
        )

    async def _end(self, connection: SSHClientConnection, process: SSHClientProcess[bytes]) -> str:
        """End a command and all that it started; the last lines it printed."""
        out, err = (bytes(part or b"") for part in process.collect_output())
        number, rest = told(out)
        process.close()
        if number is not None:
            with suppress(Exception):  # a connection that is gone cannot end anything
                await asyncio.wait_for(connection.run(shlex.join(ending(number)), check=False), 10)
        lines = last_lines(err) or last_lines(rest)
        return f"; it said: {lines}" if lines else ""

    async def _connect(self) -> SSHClientConnection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await _connect(self._transport)
        return self._connection


async def _connect(transport: Ssh) -> SSHClientConnection:
    """A checked connection; whatever stands in the way is one line and the next step."""
    import asyncssh

    user, host, port = transport.parts()
    options: dict[str, Any] = {"keepalive_interval": _KEEPALIVE_S, "connect_timeout": transport.connect_s}
    if user:
        options["username"] = user
    if port:
        options["port"] = port
    if transport.key:
        options["client_keys"] = [str(transport.key.expanduser())]
    if transport.known_hosts:
        options["known_hosts"] = str(transport.known_hosts.expanduser())
    if transport.config:
        options["config"] = [str(transport.config.expanduser())]
    where = f"{user}@{host}" if user else host
    option = f"-p {port} " if port else ""
    try:
        return await asyncssh.connect(host, **options)
    except asyncssh.HostKeyNotVerifiable as error:
        raise _mistimed(where, error) or _distrusted(transport, host, port, where, option) from error
    except asyncssh.PermissionDenied as error:
        raise DeviceError(
            f"{where}: it does not let {user or getpass.getuser()} in with any of the keys",
            hint=f"`ssh-copy-id {option}{where}` puts your key there; try `ssh {option}{where} true`",
        ) from error
    except (TimeoutError, asyncssh.Error, OSError) as error:
        raise ConnectionLost(
            f"{where}: cannot be reached{f' at port {port}' if port else ''} ({_words(error)})",
            hint=f"is it on, in this network, and sshd running there? try `ssh {option}{where} true`",
        ) from error
    except (ValueError, KeyError) as error:  # key files and configurations that cannot be read
        raise DeviceError(
            f"{where}: a key or ~/.ssh/config cannot be used ({_words(error)})",
            hint=f"try `ssh {option}{where} true`; keys with a passphrase must be in the agent (`ssh-add`)",
        ) from error


def _mistimed(where: str, error: Exception) -> DeviceError | None:
    """A host certificate of another time; None where something else is wrong."""
    why = next((words for sign, words in _CERTIFICATES.items() if str(error).startswith(sign)), None)
    return (
        None
        if why is None
        else DeviceError(
            f"{where}: its host certificate {why}",
            hint="have the board's host key signed anew; or is this machine's clock wrong? look at `date`",
        )
    )


def _distrusted(transport: Ssh, host: str, port: int | None, where: str, option: str) -> DeviceError:
    """Whether a host key is unknown, or another one than is known."""
    named = f"[{host}]:{port}" if port and port != 22 else host
    if _is_known(transport, host, port):
        return DeviceError(
            f"{where}: its host key is not the one in known_hosts: it was set up anew, or is another board",
            hint=f"only if you know why: `ssh-keygen -R '{named}'`, then `ssh {option}{where}` and compare",
        )
    return DeviceError(
        f"{where}: its host key is not known, and none is accepted unseen",
        hint=f"`ssh-keyscan {option}{host} | ssh-keygen -lf -` shows it; compare it with the board's "
        f"(`ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` there), then accept it once with "
        f"`ssh {option}{where}`",
    )


def _is_known(transport: Ssh, host: str, port: int | None) -> bool:
    import asyncssh

    path = (transport.known_hosts or Path("~/.ssh/known_hosts")).expanduser()
    try:
        found = asyncssh.match_known_hosts(str(path), host, "", port)
    except (OSError, ValueError):
        return False
    return any(found)


def _words(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
