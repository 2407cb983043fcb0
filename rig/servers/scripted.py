"""The scripted server: dials the device as often as told, each time as another server."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from rig.errors import ServerError
from rig.servers.connection import Connection
from rig.servers.line import Path

__all__ = ["Connection", "ScriptedServer"]


class ScriptedServer:
    """Opens connections over `path` (a `rig.link.Link`); an async context manager.

    Every connection is a server of its own for the device: another id, name and clock epoch.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is dialled yet."""
        self.path = path
        self.connections: list[Connection] = []
        """Connections that are open."""

    async def connect(
        self,
        *,
        server_id: str | None = None,
        name: str | None = None,
        connection_reason: str = "discovery",
        epoch_us: int | None = None,
        answer_hello: bool = False,
        answer_time: bool = True,
        timeout: float = 5.0,
        receive_buffer: int | None = None,
        local_port: int | None = None,
    ) -> Connection:
        """Open a TCP connection; nothing is sent on it.

        The answers are as in `Connection`; `receive_buffer` and `local_port` as in `Link.dial`.
        Raises `ServerError` when the device does not accept within `timeout` seconds.
        """
        line = await self.path.dial(
            server_id=server_id,
            epoch_us=epoch_us,
            timeout=timeout,
            receive_buffer=receive_buffer,
            local_port=local_port,
        )
        connection = Connection(
            line,
            self.path.request(),
            name=f"Rig {line.conn}" if name is None else name,
            connection_reason=connection_reason,
            answer_hello=answer_hello,
            answer_time=answer_time,
        )
        self.connections = [each for each in self.connections if not each.closed]
        self.connections.append(connection)
        return connection

    async def open(
        self,
        *,
        server_id: str | None = None,
        connection_reason: str = "discovery",
        answer_time: bool = True,
        timeout: float = 5.0,
    ) -> Connection:
        """Connect, upgrade, wait for the device's hello and greet it: a connection in use.

        Raises `ServerError` when the device does not play its part in time.
        """
        connection = await self.connect(
            server_id=server_id,
            connection_reason=connection_reason,
            answer_hello=True,
            answer_time=answer_time,
            timeout=timeout,
        )
        status = await connection.upgrade(timeout)
        if status != 101:
            connection.close()
            found = "gave none" if status is None else f"answered {status}"
            raise ServerError(
                f"connection {connection.conn}: expected the upgrade answer 101 within "
                f"{timeout:g} s, the device {found}",
                hint="is the path of its Sendspin endpoint right, are its sessions used up?",
            )
        if await connection.wait_hello(timeout) is None:
            connection.close()
            raise ServerError(
                f"connection {connection.conn}: no opening message within {timeout:g} s",
                hint="the device accepted the upgrade and kept silent: see its serial log",
            )
        if not await connection.introduce(timeout):
            connection.close()
            raise ServerError(
                f"connection {connection.conn}: no client/hello within {timeout:g} s of the noise "
                "handshake",
                hint="`rig wire` shows how far the opening came; see also its serial log",
            )
        return connection

    async def aclose(self) -> None:
        """Close every connection."""
        for connection in self.connections:
            connection.close()
        self.connections.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.aclose()
