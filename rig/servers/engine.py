"""aiosendspin's server as a part of the rig: made, run in a context of its own, and heard.

It is an optional part (`pip install 'sendspin-rig[reference]'`), so it is imported on first use.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, is_dataclass
from types import ModuleType
from typing import Any, Final

from rig.errors import BenchError
from rig.history import Event, now_ns
from rig.history.events import Sender, ServerWarned
from rig.servers.unsealed import Heard, Unsealed, listen_in

TEXT_BOUND: Final = 500
"""Characters kept of a warning: it may quote what the device sent."""
REDIRECT_BOUND: Final = 200
"""Characters kept of where a device redirects to."""
CLOSE_S: Final = 2.0
"""How long a server may take to close: it waits for a Close of the device, which may be silent."""
_COMPLIANCE: Final = "non-compliant client"
"""What aiosendspin's compliance warnings begin with (`noncompliance_subject`)."""

_KEEP_KEYS: Final = ("noise.keys", "noise.trust_store")
"""Modules whose classes hold keys."""

_speaking: contextvars.ContextVar[Engine | None] = contextvars.ContextVar("speaking", default=None)


def aiosendspin(module: str) -> ModuleType:
    """A module of aiosendspin. Raises `BenchError` where it is not installed."""
    from importlib import import_module

    try:
        loaded = import_module(f"aiosendspin.{module}")
    except ImportError as error:
        raise BenchError(
            f"the reference server needs aiosendspin with its server part: {error}",
            hint="pip install 'sendspin-rig[reference]', or use the scripted server",
        ) from error
    if module in _KEEP_KEYS:
        for each in vars(loaded).values():
            if isinstance(each, type) and each.__module__ == loaded.__name__ and is_dataclass(each):
                each.__repr__ = _no_keys  # type: ignore[method-assign]
    return loaded


def _no_keys(self: object) -> str:
    """Instead of a dataclass's own `repr`, which has the private key in it: a test's report shows
    local variables (`pytest -l`)."""
    return f"<{type(self).__name__}>"


def check_installed() -> None:
    """Raises `BenchError` where aiosendspin or its server part is missing."""
    for module in ("server.server", "noise.keys"):
        aiosendspin(module)


def dialling() -> Any:
    """An `aiohttp.ClientSession` that a server dials devices with; whoever asked closes it.

    It follows no redirect: a device would send the server to any host, past the link.
    """
    import aiohttp

    async def refuse(_session: Any, _context: Any, params: Any) -> None:
        where = str(params.response.headers.get("Location", "nowhere"))[:REDIRECT_BOUND]
        raise aiohttp.ClientError(
            f"it answered the upgrade with {params.response.status}, to {where!r}: "
            "a redirect is not followed"
        )

    trace = aiohttp.TraceConfig()
    trace.on_request_redirect.append(refuse)
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, force_close=True),
        timeout=aiohttp.ClientTimeout(total=None),
        trace_configs=[trace],
    )


async def hang_up(session: Any) -> None:
    """Close what `dialling` gave, within `CLOSE_S`.

    Its sockets wait until all is sent, which a device that reads nothing never lets happen; the
    link, which they lead to, ends them when it is closed.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_S):
            await session.close()


@dataclass(slots=True)
class Clock:
    """A server's clock in us: `epoch_us` at monotonic `born_ns`, as the link records it."""

    epoch_us: int
    born_ns: int = 0

    def now_us(self) -> int:
        """What it shows now."""
        return self.epoch_us + (now_ns() - self.born_ns) // 1_000


class _Warnings(logging.Handler):
    """Makes events of what aiosendspin logs, each for the engine in whose context it is."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._engines = 0

    def emit(self, record: logging.LogRecord) -> None:
        engine = _speaking.get()
        if engine is not None:
            engine.warned(record.getMessage())

    def attach(self) -> None:
        if not self._engines:
            logging.getLogger("aiosendspin").addHandler(self)
        self._engines += 1

    def detach(self) -> None:
        self._engines -= 1
        if not self._engines:
            logging.getLogger("aiosendspin").removeHandler(self)


_warnings = _Warnings()


def _trusting(memory: Any, trusted: Collection[str]) -> Any:
    """A pairing store in memory that lets the `trusted` in unpaired.

    Approval through the server comes after the device is in, and has it activated twice: first
    without a role. Who is not of the noise generation must not be in it: aiosendspin then refuses
    the clear text as a downgrade.
    """
    trust = aiosendspin("noise.trust_store").TrustedUnpairedClient

    class Trusting(memory):  # type: ignore[misc]
        async def trusted_unpaired(self, client_id: str) -> Any:
            if client_id in trusted:
                return trust(client_id)
            return await super().trusted_unpaired(client_id)

    return Trusting()


def _listener() -> Heard | None:
    engine = _speaking.get()
    return engine.heard if engine is not None and engine.unsealed else None


class Engine:
    """One server of aiosendspin, with an identity of its own: to a device it is one server.

    Legacy devices (client/hello first, unencrypted) are served where `allow_unencrypted`. `conns`
    names the connections that it may be talking about just now.
    """

    def __init__(
        self,
        record: Callable[[Event], int],
        *,
        name: str,
        allow_unencrypted: bool = True,
        identity: Any = None,
        store: Any = None,
        session: Any = None,
    ) -> None:
        """Nothing runs yet. Raises `BenchError` where aiosendspin is not installed.

        `identity` and `store` are aiosendspin's; new ones by default. `session` is one to dial with
        (`dialling`), which stays open.
        """
        keys = aiosendspin("noise.keys")
        self._module = aiosendspin("server.server")
        stores = aiosendspin("noise.trust_store")
        self.name = name
        self.allow_unencrypted = allow_unencrypted
        self.conns: Callable[[], tuple[int, ...]] = tuple
        self.trusted: set[str] = set()
        """Devices that it lets in unpaired from their first message on, unless given a `store`."""
        self._record = record
        self.identity = identity or keys.Identity.generate()
        self._store = store or _trusting(stores.InMemoryServerPairingStore, self.trusted)
        self._session = session
        self._own_session: Any = None
        self.server_id: str = self.identity.peer_id
        self.server: Any = None
        """The `SendspinServer`, once started."""
        self._runner: Any = None
        self.unsealed: list[Unsealed] = []
        """Its connections whose plaintext is recorded."""
        self.last_warning: str | None = None
        self._context = contextvars.copy_context()
        self._context.run(_speaking.set, self)

    def start(self, clock: Clock) -> None:
        """Make the server. It neither listens nor dials by itself."""
        _warnings.attach()
        listen_in(aiosendspin("noise.session").NoiseSession, _listener)
        if self._session is None:
            self._own_session = dialling()
        self.server = self._module.SendspinServer(
            asyncio.get_running_loop(),
            self.identity,
            self.name,
            client_session=self._session or self._own_session,
            pairing_store=self._store,
            allow_unencrypted=self.allow_unencrypted,
            clock=clock,
        )

    def heard(self, sender: Sender, plaintext: bytes, ciphertext: bytes) -> None:
        """It sealed or opened something, on one of its connections."""
        for each in self.unsealed:
            each.heard(sender, plaintext, ciphertext)

    async def listen(self) -> int:
        """Listen on 127.0.0.1 for a device that dials: the port. Not announced anywhere."""
        from aiohttp import web

        app = web.Application()
        app.router.add_get("/{path:.*}", self._dialled)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_S)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return int(self._runner.addresses[0][1])

    async def _dialled(self, request: Any) -> Any:
        return await self.task(self.server.on_client_connect(request))

    async def close(self) -> None:
        """Close it and its connections, within `CLOSE_S`."""
        if self.server is None:
            return
        server, self.server = self.server, None
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_S):
                    await server.close()
                    if self._runner is not None:
                        await self._runner.cleanup()
        finally:
            _warnings.detach()
            if self._own_session is not None:
                await hang_up(self._own_session)

    def task[T](self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` so that what is logged in it is this server's."""
        return asyncio.get_running_loop().create_task(work, context=self._context)

    def call[T](self, function: Callable[..., T], *args: Any, **named: Any) -> T:
        """Call `function` so that what is logged in it, and in what it starts, is this server's."""
        if _speaking.get() is self:
            return function(*args, **named)
        return self._context.run(function, *args, **named)

    def warned(self, text: str) -> None:
        """Record what it logged."""
        self.last_warning = text[:TEXT_BOUND]
        conns = self.conns()
        self._record(
            ServerWarned(
                t=now_ns(),
                server_id=self.server_id,
                text=text[:TEXT_BOUND],
                compliance=text.startswith(_COMPLIANCE),
                conn=conns[0] if len(conns) == 1 else None,
            )
        )
