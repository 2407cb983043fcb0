"""A device on loopback that misbehaves in one way on every connection.

    misbehaving.py PORT WAY

Written for the tests, with nothing of the rig in it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import sys
from typing import Any

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
WAYS = (
    "talks-first",
    "never-talks",
    "huge",
    "bad-utf8",
    "wrong-types",
    "unknown",
    "bad-close",
    "pings",
    "redirect",
    "no-http",
    "deep",
    "hello-flood",
    "close-at-once",
    "half-hello",
)
HELLO: dict[str, Any] = {
    "client_id": "bad",
    "name": "bad",
    "version": 1,
    "supported_roles": ["player@v1"],
    "player@v1_support": {
        "supported_formats": [
            {"codec": "pcm", "channels": 2, "sample_rate": 48000, "bit_depth": 16}
        ],
        "buffer_capacity": 1000000,
        "supported_commands": ["volume"],
    },
}
STATE = {"state": "synchronized", "player": {"volume": 50, "muted": False}}


def frame(opcode: int, data: bytes) -> bytes:
    size = len(data)
    if size < 126:
        return bytes((0x80 | opcode, size)) + data
    if size < 65_536:
        return bytes((0x80 | opcode, 126)) + size.to_bytes(2, "big") + data
    return bytes((0x80 | opcode, 127)) + size.to_bytes(8, "big") + data


def message(kind: object, payload: object) -> bytes:
    return frame(1, json.dumps({"type": kind, "payload": payload}).encode())


async def serve(way: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    if way == "redirect":
        writer.write(b"HTTP/1.1 302 Found\r\nLocation: ws://127.0.0.1:1/x\r\n\r\n")
        await writer.drain()
        return
    if way == "no-http":
        writer.write(b"\x00\xffSSH-2.0 nonsense\r\n\r\n" * 100)
        await reader.read()
        return
    key = next(
        line.split(b": ")[1] for line in head.split(b"\r\n") if b"-websocket-key" in line.lower()
    )
    accept = base64.b64encode(hashlib.sha1(key + GUID.encode()).digest()).decode()
    writer.write(
        f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
    )
    await misbehave(way, writer)
    while await reader.read(65_536):
        pass


async def misbehave(way: str, writer: asyncio.StreamWriter) -> None:
    hello, state = message("client/hello", HELLO), message("client/state", STATE)
    if way == "talks-first":
        writer.write(state + message("client/time", {"client_transmitted": 1}) + hello)
    elif way == "half-hello":
        writer.write(hello[:20])
    elif way == "close-at-once":
        writer.write(frame(8, b"\x03\xe8"))
    elif way != "never-talks":
        writer.write(hello)
        await asyncio.sleep(0.3)
        writer.write(state)
    if way == "huge":
        writer.write(bytes((0x82, 127)) + (100_000_000).to_bytes(8, "big"))
        for _ in range(100):
            writer.write(bytes(1_000_000))
            await writer.drain()
    elif way == "bad-utf8":
        writer.write(frame(1, b'{"type":"client/state","payload":{"x":"\xff\xfe"}}') * 3)
    elif way == "wrong-types":
        for kind, payload in (
            ("client/state", 7),
            ("client/time", {"client_transmitted": "x"}),
            (7, {}),
            (None, None),
            ("client/command", {"controller": []}),
            ("client/goodbye", ["x"]),
            ("client/state", {"player": 1}),
        ):
            writer.write(message(kind, payload))
    elif way == "unknown":
        writer.write(message("client/dance", {"to": "music"}) * 50)
    elif way == "bad-close":
        writer.write(frame(8, (999).to_bytes(2, "big") + b"why"))
    elif way == "deep":
        writer.write(frame(1, b'{"type":' + b"[" * 60_000))
    elif way == "pings":
        while not writer.is_closing():
            writer.write(frame(9, b"x" * 125) * 100)
            await writer.drain()
    elif way == "hello-flood":
        for _ in range(300):
            writer.write(message("client/hello", HELLO))


async def main(port: int, way: str) -> None:
    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await serve(way, reader, writer)
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
