"""A device that keeps every rule of the protocol but the one it is told to break.

    scripted.py PORT [--generation legacy|noise] [--breaks NAME] [--log debug|info|none]

Written for the tests, with nothing of the rig in it: asyncio's sockets, a WebSocket of a page, and
aiosendspin's noise. It behaves as sendspin-cpp v0.7.0 or later does.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

MAC = "7e:df:a1:00:00:99"
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
ROOM = 4
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
SENTINEL = hashlib.sha256(b"sendspin-sentinel-psk-v1").digest()
SUITE = "25519_ChaChaPoly_SHA256"

BREAKS = {
    "state-first": "opening_first",
    "early-frame": "nothing_before_upgrade",
    "never-greets": "greeted_in_time",
    "talks-before-greeted": "silent_before_server_hello",
    "second-hello": "opened_once",
    "new-id": "client_id_stable",
    "time-first": "state_first",
    "poor-state": "state_first",
    "told-loser": "loser_not_told",
    "clock-stands": "uptime_never_falls",
    "clock-falls": "uptime_never_falls",
    "two-questions": "time_bursts",
    "nine-questions": "time_bursts",
    "hasty-burst": "time_bursts",
    "foreign-frame": "no_foreign_frame",
    "odd-goodbye": "goodbye_reason_known",
    "talks-after-goodbye": "goodbye_last",
    "stays-after-goodbye": "goodbye_last",
    "keeps-idle-server": "handoff_table",
    "drops-playing-server": "handoff_table",
    "serves-two": "one_server_at_a_time",
    "wrong-pong": "pings_answered",
    "ignores-close": "close_answered",
    "masks": "frames_framed_right",
    "wrong-opcode": "frames_framed_right",
    "ignores-volume": "commands_shown",
    "never-reaps": "unproven_reaped",
    "keeps-silent-tcp": "unproven_reaped",
}
"""What it can break, and the rig's check of it."""
NOISE_BREAKS = {
    "talks-before-greeted": "noise_opening_order",
    "second-init": "opened_once",
    "odd-init": "noise_opening_order",
    "early-seal": "noise_opening_order",
    "wrong-seal": "noise_seals_open",
    "silent-handshake": "noise_answered",
    "leaves-handshake": "noise_end_explained",
    "wrong-reason": "handoff_table",
}
"""The same in the noise generation, where it differs."""


def frame(opcode: int, data: bytes, *, mask: bool = False) -> bytes:
    size = len(data)
    bit = 0x80 if mask else 0
    head = bytes((0x80 | opcode, bit | size)) if size < 126 else None
    head = head or bytes((0x80 | opcode, bit | 126)) + size.to_bytes(2, "big")
    return head + (bytes(4) if mask else b"") + data


class Connection:
    def __init__(self, device: Device, reader: Any, writer: Any) -> None:
        self.device, self.reader, self.writer = device, reader, writer
        self.reason: str | None = None
        self.server_id = ""
        self.noise: Any = None
        self.identity = device.identity
        self.sealed = self.hello_sent = self.over = False
        self.asked = 0
        self.told = False
        self.volume, self.muted = 50, False
        self.fd = next(n for n in range(57, 80) if n not in {c.fd for c in device.open})

    def breaks(self, name: str) -> bool:
        return self.device.breaks == name

    # -- what is said

    def raw(self, opcode: int, data: bytes, **how: Any) -> None:
        if not self.writer.is_closing():
            self.writer.write(frame(opcode, data, mask=self.breaks("masks"), **how))

    def clear(self, kind: str, **payload: Any) -> bytes:
        text = json.dumps({"type": kind, "payload": payload}).encode()
        self.raw(TEXT, text)
        return text

    def say(self, kind: str, **payload: Any) -> None:
        text = json.dumps({"type": kind, "payload": payload}).encode()
        odd = self.breaks("wrong-opcode") and kind == "client/state"
        if self.sealed:
            self.raw(BINARY, self.noise.encrypt(b"\0" + text))
        else:
            self.raw(TEXT, text)
        if odd:
            self.raw(TEXT if self.sealed else BINARY, text)

    def hello(self) -> None:
        self.hello_sent = True
        support: dict[str, Any] = {"supported_formats": [], "buffer_capacity": 1000}
        told = {
            "name": "scripted",
            "supported_roles": ["player@v1"],
            "device_info": {"mac_address": MAC},
            "player@v1_support": support,
        }
        if self.device.noise:
            told |= {"unpaired_access": {"enabled": True}, "supported_pair_methods": {}}
        else:
            support["supported_commands"] = ["volume", "mute"]
            new = self.breaks("new-id")
            told |= {"client_id": f"{MAC}/{self.device.count}" if new else MAC, "version": 1}
        self.say("client/hello", **told)

    def state(self) -> None:
        player: dict[str, Any] = {"volume": self.volume, "muted": self.muted}
        if self.breaks("poor-state") and not self.told:
            del player["volume"]
        self.told = True
        if self.device.noise:
            player |= {"output_delay_ms": 0, "supported_commands": ["volume", "mute"]}
            self.say("client/state", available=True, player=player)
        else:
            self.say("client/state", state="synchronized", player=player)

    def ask(self) -> None:
        self.asked += 1
        self.say("client/time", client_transmitted=self.device.clock(self))

    def goodbye(self, reason: str) -> None:
        if self.breaks("told-loser") and self.device.current is not self:
            self.state()
        self.say("client/goodbye", reason="bored" if self.breaks("odd-goodbye") else reason)
        if self.breaks("talks-after-goodbye"):
            self.ask()
        self.reason = None
        if not self.breaks("stays-after-goodbye"):
            self.end()

    def end(self) -> None:
        self.over = True
        self.writer.close()

    # -- its life

    async def live(self) -> None:
        try:
            await asyncio.wait_for(self.open(), None if self.breaks("keeps-silent-tcp") else 5)
        except TimeoutError:
            self.end()
        else:
            await self.serve()

    async def open(self) -> None:
        head = await self.reader.readuntil(b"\r\n\r\n")
        if self.breaks("early-frame"):
            self.raw(TEXT, b'{"type":"client/time","payload":{"client_transmitted":1}}')
        key = next(x for x in head.split(b"\r\n") if x.lower().startswith(b"sec-websocket-key"))
        digest = hashlib.sha1(key.split(b":")[1].strip() + GUID.encode()).digest()
        self.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n"
        )
        self.device.log("D", "ws_server", f"WebSocket upgrade complete on socket {self.fd}, deliv")

    async def serve(self) -> None:
        self.device.count += 1
        if self.breaks("never-greets"):
            await asyncio.sleep(60)
        if self.breaks("state-first"):
            self.clear("client/state", state="synchronized", player={"volume": 1, "muted": False})
        if self.device.noise:
            await self.shake()
        else:
            self.hello()
            if self.breaks("talks-before-greeted"):
                self.state()
        reaper = asyncio.create_task(self.reap())
        try:
            while not self.over:
                await self.hear(*await self.read())
        finally:
            reaper.cancel()

    async def reap(self) -> None:
        await asyncio.sleep(30)
        if self.reason is None and not self.breaks("never-reaps"):
            self.goodbye("another_server")

    async def read(self) -> tuple[int, bytes]:
        first, size = await self.reader.readexactly(2)
        size &= 0x7F
        if size > 125:
            wide = 2 if size == 126 else 8
            size = int.from_bytes(await self.reader.readexactly(wide), "big")
        mask = await self.reader.readexactly(4)
        data = await self.reader.readexactly(size)
        return first & 15, bytes(byte ^ mask[n % 4] for n, byte in enumerate(data))

    async def shake(self) -> None:
        from aiosendspin.noise.keys import Identity, b64url_decode, b64url_encode
        from aiosendspin.noise.session import NoiseCipherSuite, NoiseSession

        me = Identity.generate() if self.breaks("new-id") else self.identity
        told = {"client_id": me.peer_id, "version": 1, "suite": SUITE}
        if self.breaks("odd-init"):
            told["suite"] = "25519_Rot13_SHA256"
        if self.breaks("early-seal"):
            init = self.clear("client/init", **told)
            self.raw(BINARY, bytes(40))
        else:
            init = self.clear("client/init", **told)
        if self.breaks("second-init"):
            self.clear("client/init", **told)
        server = await self.text()
        self.server_id = json.loads(server)["payload"].get("server_id", "")
        first = json.loads(await self.text())
        if self.breaks("leaves-handshake"):
            self.end()
            raise ConnectionError
        if self.breaks("silent-handshake"):
            await asyncio.sleep(60)
        session = NoiseSession.as_responder(
            suite=NoiseCipherSuite(SUITE),
            local_static_priv=me.private_bytes,
            remote_static_pub=b64url_decode(self.server_id),
            prologue=init + server,
        )
        session.read_message(b64url_decode(first["payload"]["data"]))
        session.mix_psk(SENTINEL)
        self.clear("noise/handshake", data=b64url_encode(session.write_message(b"{}")))
        self.noise, self.sealed = session, True

    async def text(self) -> bytes:
        while True:
            opcode, data = await self.read()
            if opcode == TEXT:
                return data
            await self.hear(opcode, data)
            if self.over:
                raise ConnectionError

    async def hear(self, opcode: int, data: bytes) -> None:
        if opcode == PING:
            self.raw(PONG, b"wrong" if self.breaks("wrong-pong") else data)
        elif opcode == CLOSE and not self.breaks("ignores-close"):
            self.raw(CLOSE, data[:2])
            self.end()
        elif opcode in (TEXT, BINARY):
            if self.sealed:
                data = self.noise.decrypt(data)[1:]
            self.message(json.loads(data))

    def message(self, told: dict[str, Any]) -> None:
        payload = told["payload"]
        match told["type"]:
            case "server/hello" if self.device.noise:
                self.hello()
                if self.breaks("talks-before-greeted"):
                    self.state()
                if self.breaks("second-hello"):
                    self.hello()
            case "server/hello":
                self.server_id = payload["server_id"]
                self.proven(payload["connection_reason"])
            case "server/activate":
                self.proven("playback" if payload["activities"] else "discovery")
            case "server/time" if self.device.current is self:
                if self.breaks("hasty-burst") and self.asked == 8:
                    asyncio.get_running_loop().call_later(0.3, self.ask)
                elif self.asked % 8 or self.breaks("nine-questions"):
                    self.ask()
            case "server/command" if "player" in payload and not self.breaks("ignores-volume"):
                self.volume = payload["player"].get("volume", self.volume)
                self.muted = payload["player"].get("mute", self.muted)
                self.state()
            case _:
                pass

    def proven(self, reason: str) -> None:
        """Admission: playback takes over, idle newcomers do not."""
        device, self.reason = self.device, reason
        current = device.current
        switch = reason == "playback"
        if self.breaks("keeps-idle-server"):
            switch = False
        if self.breaks("drops-playing-server"):
            switch = True
        if current is not None and not current.over and current is not self:
            if self.breaks("serves-two"):
                self.state()
                return
            if not switch:
                reason = "concurrent_attempt" if device.noise else "another_server"
                self.goodbye("another_server" if self.breaks("wrong-reason") else reason)
                return
            current.goodbye("another_server")
        device.current = self
        device.tell_handshake(self)
        if self.breaks("time-first"):
            self.ask()
        self.state()
        if self.breaks("wrong-seal"):
            self.raw(BINARY, bytes(60))
        if self.breaks("second-hello") and not device.noise:
            self.hello()
        if self.breaks("foreign-frame") and device.past:
            self.say("client/command", controller={"for": device.past[-1]})
        device.past.append(self.server_id)
        if not self.breaks("time-first"):
            self.ask()
        if self.breaks("two-questions"):
            self.ask()


class Device:
    """The whole device. `listen` returns its port."""

    def __init__(
        self,
        *,
        generation: str = "legacy",
        breaks: str = "",
        log: str = "none",
        write: Callable[[str], object] = lambda _line: None,
    ) -> None:
        self.noise = generation == "noise"
        self.breaks = breaks
        self.open: list[Connection] = []
        self.past: list[str] = []
        self.current: Connection | None = None
        self.count = self.told = 0
        self.began = time.monotonic()
        self.identity: Any = None
        self._levels = {"debug": "DI", "info": "I", "none": ""}[log]
        self._write = write
        self._server: asyncio.Server | None = None
        if self.noise:
            from aiosendspin.noise.keys import Identity

            self.identity = Identity.generate()

    def log(self, level: str, tag: str, text: str) -> None:
        if level in self._levels:
            ms = int((time.monotonic() - self.began) * 1000)
            self._write(f"{level} ({ms}) sendspin.{tag}: {text}")

    def tell_handshake(self, conn: Connection) -> None:
        self.told += 1
        if self.breaks == "half-the-log" and self.told % 2:
            return
        text = f"server_id={conn.server_id}, connection_reason={conn.reason}"
        if self.noise:
            self.log("I", "conn_mgr", f"Connection admitted: server_id={conn.server_id}")
        else:
            self.log("I", "conn_mgr", f"Connection handshake complete: {text}")

    def clock(self, conn: Connection) -> int:
        if self.breaks == "clock-stands":
            return 20_000_000
        now = 600_000_000 + int((time.monotonic() - self.began) * 1e6)
        return now - 60_000_000 * self.count if self.breaks == "clock-falls" else now

    async def _accept(self, reader: Any, writer: Any) -> None:
        self.open = [conn for conn in self.open if not conn.over]
        if len(self.open) >= ROOM:
            writer.close()
            return
        conn = Connection(self, reader, writer)
        self.open.append(conn)
        self.log("D", "ws_server", f"New client connection on socket {conn.fd}")
        try:
            await conn.live()
        except (OSError, EOFError, asyncio.IncompleteReadError):
            pass
        finally:
            conn.over = True
            if self.current is conn:
                self.current = None
            writer.close()
            self.log("D", "ws_server", f"Client closed connection on socket {conn.fd}")

    async def listen(self, port: int = 0) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for conn in self.open:
            conn.end()


async def _main(given: argparse.Namespace) -> None:
    def write(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    device = Device(generation=given.generation, breaks=given.breaks, log=given.log, write=write)
    await device.listen(given.port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--generation", choices=("legacy", "noise"), default="legacy")
    parser.add_argument("--breaks", default="")
    parser.add_argument("--log", choices=("debug", "info", "none"), default="none")
    asyncio.run(_main(parser.parse_args()))
