"""How ESP-IDF's HTTP server answers a request (`httpd_parse.c`, `httpd_uri.c`, `httpd_txrx.c`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rig.boards.virtual import websocket
from rig.boards.virtual.cpu import call
from rig.boards.virtual.http import BLOCK, ERRORS, METHODS, HeadReader, Refusal, Request
from rig.boards.virtual.lwip import EAGAIN, WAIT, SocketError

if TYPE_CHECKING:
    from rig.boards.virtual.httpd import Httpd, Session


async def serve(server: Httpd, session: Session) -> bool:
    """Read a request and answer it. False: delete the session."""
    head = HeadReader()
    request: Request | Refusal | None = None
    while request is None:
        block, session.pending = session.pending, b""
        try:
            block = block or await session.host.recv(BLOCK, WAIT)
        except SocketError as error:
            server.sock_err("recv", error)
            if error.errno == EAGAIN:
                await _refuse(server, session, Refusal(408))
            return False
        if not block:
            return False
        request = head.feed(block)
    session.pending = head.rest
    if isinstance(request, Refusal):
        return await _refuse(server, session, request)
    if not await _route(server, session, request):
        return False
    return await _purge(server, session, request.content_length)


async def _route(server: Httpd, session: Session, request: Request) -> bool:
    if request.path != server.handlers.path:
        server.warn("httpd_uri", f"httpd_uri: URI '{request.uri}' not found")
        return await _refuse(server, session, Refusal(404))
    if request.method != "GET":
        number = METHODS.index(request.method)
        text = f"httpd_uri: Method '{number}' not allowed for URI '{request.uri}'"
        server.warn("httpd_uri", text)
        return await _refuse(server, session, Refusal(405))
    if request.is_upgrade:
        if not await _handshake(server, session, request):
            return False
        session.handshake_done = True
    with call("sendspin::SendspinWsServer::websocket_handler"):
        server.handlers.on_upgrade(session.fd)
    return True


async def _handshake(server: Httpd, session: Session, request: Request) -> bool:
    where = "httpd_ws_respond_server_handshake"
    version, key = (request.headers.get(f"sec-websocket-{name}") for name in ("version", "key"))
    if version is None or len(version) > 2:
        server.warn("httpd_ws", f'{where}: "Sec-WebSocket-Version" is not found')
        return False
    if version != "13":
        server.warn("httpd_ws", f'{where}: "Sec-WebSocket-Version" is not "13", it is: {version}')
        return False
    if key is None or len(key) > 27:
        server.warn("httpd_ws", f"{where}: Cannot find client key")
        return False
    if protocol := request.headers.get("sec-websocket-protocol"):
        why = "not supported, URI do not support any subprotocols"
        server.warn("httpd_ws", f"Sec-WebSocket-Protocol {protocol[:48]} {why}")
    answer = (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Accept: {websocket.accept_key(key)}\r\n\r\n"
    )
    if await server.send(session.host, answer.encode()):
        return True
    server.warn("httpd_ws", f"{where}: Failed to send the response")
    return False


async def _refuse(server: Httpd, session: Session, refusal: Refusal) -> bool:
    for line in refusal.log:
        server.warn("httpd_parse", line)
    name, text = ERRORS[refusal.status]
    status = f"{refusal.status} {name}"
    server.warn("httpd_txrx", f"httpd_resp_send_err: {status} - {text}")
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/html\r\nContent-Length: {len(text)}\r\n\r\n"
    for part in (head, text):
        if not await server.send(session.host, part.encode()):
            break
    return False


async def _purge(server: Httpd, session: Session, size: int) -> bool:
    """Read off the body that nobody asked for (`httpd_req_delete`)."""
    while size > 0:
        part, session.pending = session.pending[:size], session.pending[size:]
        try:
            part = part or await session.host.recv(min(size, 32), WAIT)
        except SocketError as error:
            server.sock_err("recv", error)
            return False
        if not part:
            return False
        size -= len(part)
    return True
