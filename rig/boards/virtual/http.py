"""How ESP-IDF's HTTP server reads and answers requests.

`httpd_parse.c`, `httpd_uri.c`, `httpd_txrx.c`. `read_head` is pure: bytes in, a request or a
refusal out, in the server's own words. No library on purpose: one refuses what the real server
takes (no Host, an old version).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wsproto.utilities import generate_accept_token

from rig.boards.virtual.cpu import call
from rig.boards.virtual.lwip import EAGAIN, SocketError

if TYPE_CHECKING:
    from rig.boards.virtual.httpd import Httpd, Session

BLOCK = 128
"""`PARSER_BLOCK_SIZE`: how many bytes a read asks for."""
MAX_URI = 512
MAX_HEADERS = 1024
"""`CONFIG_HTTPD_MAX_URI_LEN` and `CONFIG_HTTPD_MAX_REQ_HDR_LEN`."""
METHODS = ("DELETE", "GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS", "TRACE")
"""http_parser's methods by their number (those that matter here)."""

_ERRORS = {
    400: ("Bad Request", "Bad request syntax"),
    404: ("Not Found", "Nothing matches the given URI"),
    405: ("Method Not Allowed", "Specified method is invalid for this resource"),
    408: ("Request Timeout", "Server closed this connection"),
    414: ("URI Too Long", "URI is too long"),
    431: ("Request Header Fields Too Large", "Header fields are too long"),
    505: ("Version Not Supported", "HTTP version not supported by server"),
}
_END = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(r"([A-Z]+) ((?:/|\*|http)\S*) HTTP/(\d+)\.(\d+)")
_FAILED = "parse_block: parsing failed"


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head, `size` bytes; header names are in lower case."""

    method: str
    uri: str
    headers: dict[str, str]
    size: int

    @property
    def is_upgrade(self) -> bool:
        """Whether http_parser takes it for an upgrade (of whatever kind)."""
        tokens = self.headers.get("connection", "").lower().replace(" ", "").split(",")
        return "upgrade" in self.headers and "upgrade" in tokens


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered with an error; `log` is what `httpd_parse` warns of."""

    status: int
    log: tuple[str, ...] = ()


def read_head(data: bytes) -> Request | Refusal | None:
    """The request that `data` begins with, why it is refused, or None: there is more to read."""
    line, _, headers = data.partition(b"\n")
    method, space, _ = line.partition(b" ")
    known = [each.encode() for each in METHODS]
    if not (method in known if space else any(each.startswith(line) for each in known)):
        return _incomplete(len(data), 16)
    if len(line) > MAX_URI:
        text = f"cb_url: URI length ({len(line)}) greater than supported ({MAX_URI})"
        return Refusal(414, (text, _FAILED))
    end = _END.search(data)
    if end is not None:
        return _parse(data[: end.start()], end.end())
    if len(headers) >= MAX_HEADERS:
        return Refusal(431, ("parse_block: request URI/header too long",))
    return None


def _incomplete(size: int, error: int) -> Refusal:
    return Refusal(400, (f"parse_block: incomplete (0/{size}) with parser error = {error}",))


def _parse(head: bytes, size: int) -> Request | Refusal:
    first, *lines = head.decode("latin-1").replace("\r", "").split("\n")
    words = _REQUEST_LINE.fullmatch(first)
    if words is None:
        return _incomplete(len(first), 21)
    method, uri, major, minor = words.groups()
    if major != "1" and minor != "1":  # sic: the real one refuses only when both differ
        text = f"verify_url: unsupported HTTP version = {major}.{minor}"
        return Refusal(505, (text, _FAILED))
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or " " in name:
            return _incomplete(len(line), 24)
        headers.setdefault(name.lower(), value.strip())
    request = Request(method, uri, headers, size)
    kind = headers.get("upgrade", "")
    if not request.is_upgrade or kind.lower() == "websocket":
        return request
    why = f"Upgrade header found but it's {kind}"
    if len(kind) > len("websocket"):
        why = 'Upgrade header does not match the length of "websocket"'
    return Refusal(400, (f"cb_headers_complete: {why}", _FAILED))


async def serve(server: Httpd, session: Session) -> bool:
    """Read a request and answer it. False: delete the session."""
    data = b""
    request: Request | Refusal | None = None
    while request is None:
        try:
            block = await session.recv(BLOCK)
        except SocketError as error:
            server.sock_err("recv", error)
            if error.errno == EAGAIN:
                await _refuse(server, session, Refusal(408))
            return False
        if not block:
            return False
        data += block
        request = read_head(data)
    if isinstance(request, Refusal):
        return await _refuse(server, session, request)
    session.pending = data[request.size :] + session.pending
    return await _route(server, session, request)


async def _route(server: Httpd, session: Session, request: Request) -> bool:
    if request.uri.partition("?")[0] != server.handlers.path:
        server.warn("httpd_uri", f"httpd_uri: URI '{request.uri}' not found")
        return await _refuse(server, session, Refusal(404))
    if request.method != "GET":
        number = METHODS.index(request.method)
        text = f"httpd_uri: Method '{number}' not allowed for URI '{request.uri}'"
        server.warn("httpd_uri", text)
        return await _refuse(server, session, Refusal(405))
    if request.is_upgrade:
        if why := await _handshake(server, session, request.headers):
            server.warn("httpd_ws", f"httpd_ws_respond_server_handshake: {why}")
            return False
        session.handshake_done = True
    with call("sendspin::SendspinWsServer::websocket_handler"):
        server.handlers.on_upgrade(session.fd)
    return True


async def _handshake(server: Httpd, session: Session, headers: dict[str, str]) -> str | None:
    """Answer an upgrade; what went wrong, if anything."""
    version, key = (headers.get(f"sec-websocket-{name}") for name in ("version", "key"))
    if version is None or len(version) > 2:
        return '"Sec-WebSocket-Version" is not found'
    if version != "13":
        return f'"Sec-WebSocket-Version" is not "13", it is: {version}'
    if key is None or len(key) > 27:
        return "Cannot find client key"
    if protocol := headers.get("sec-websocket-protocol"):
        why = "not supported, URI do not support any subprotocols"
        server.warn("httpd_ws", f"Sec-WebSocket-Protocol {protocol[:48]} {why}")
    accept = generate_accept_token(key.encode("latin-1")).decode()
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    sent = await server.send(session.open_socket, answer.encode())
    return None if sent else "Failed to send the response"


async def _refuse(server: Httpd, session: Session, refusal: Refusal) -> bool:
    for line in refusal.log:
        server.warn("httpd_parse", line)
    name, text = _ERRORS[refusal.status]
    status = f"{refusal.status} {name}"
    server.warn("httpd_txrx", f"httpd_resp_send_err: {status} - {text}")
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(text)}\r\n\r\n"
    if await server.send(session.open_socket, head.encode()):
        await server.send(session.open_socket, text.encode())
    return False
