"""HTTP requests as ESP-IDF's `httpd_parse.c` reads them: in blocks, into a buffer of fixed size.

Pure: bytes in, a request or a refusal out. What a refusal logs and answers are the server's words.
"""

from __future__ import annotations

from dataclasses import dataclass

BLOCK = 128
"""`PARSER_BLOCK_SIZE`: how many bytes a read asks for."""
MAX_URI = 512
MAX_HEADERS = 1024
"""`CONFIG_HTTPD_MAX_URI_LEN` and `CONFIG_HTTPD_MAX_REQ_HDR_LEN`."""

ERRORS = {
    400: ("Bad Request", "Bad request syntax"),
    404: ("Not Found", "Nothing matches the given URI"),
    405: ("Method Not Allowed", "Specified method is invalid for this resource"),
    408: ("Request Timeout", "Server closed this connection"),
    414: ("URI Too Long", "URI is too long"),
    431: ("Request Header Fields Too Large", "Header fields are too long"),
    505: ("Version Not Supported", "HTTP version not supported by server"),
}
METHODS = ("DELETE", "GET", "HEAD", "POST", "PUT", "CONNECT", "OPTIONS", "TRACE")
"""http_parser's methods by their number (those that matter here)."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request's head; header names are in lower case."""

    method: str
    uri: str
    headers: dict[str, str]

    @property
    def path(self) -> str:
        """The URI without its query."""
        return self.uri.partition("?")[0]

    @property
    def is_upgrade(self) -> bool:
        """Whether http_parser takes it for an upgrade (of whatever kind)."""
        tokens = self.headers.get("connection", "").lower().replace(" ", "").split(",")
        return "upgrade" in self.headers and "upgrade" in tokens

    @property
    def content_length(self) -> int:
        """Bytes of body that follow."""
        text = self.headers.get("content-length", "0")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that is answered with an error; `log` is what `httpd_parse` warns of."""

    status: int
    log: tuple[str, ...] = ()


class HeadReader:
    """Collects blocks until the head is complete."""

    def __init__(self) -> None:
        self._data = b""
        self.rest = b""
        """What followed the head in the last block."""

    def feed(self, block: bytes) -> Request | Refusal | None:
        """The request, why it is refused, or None: there is more to read."""
        self._data += block
        line, newline, after = self._data.partition(b"\n")
        if not _plausible(line):
            size = len(block)
            return Refusal(400, (f"parse_block: incomplete (0/{size}) with parser error = 16",))
        if len(line) > MAX_URI:
            text = f"cb_url: URI length ({len(line)}) greater than supported ({MAX_URI})"
            return Refusal(414, (text, "parse_block: parsing failed"))
        ends = [(at, size) for end, size in _ENDS if (at := self._data.find(end)) >= 0]
        if not ends:
            if newline and len(after) >= MAX_HEADERS:
                return Refusal(431, ("parse_block: request URI/header too long",))
            return None
        at, size = min(ends)
        self.rest = self._data[at + size :]
        return _parse(self._data[:at])


_ENDS = ((b"\r\n\r\n", 4), (b"\n\n", 2))


def _plausible(line: bytes) -> bool:
    """Whether a request can still begin so."""
    word = line.split(b" ", 1)
    known = [method.encode() for method in METHODS]
    if len(word) > 1:
        return word[0] in known
    return any(method.startswith(line) for method in known)


def _parse(head: bytes) -> Request | Refusal:
    first, *lines = head.decode("latin-1").replace("\r", "").split("\n")
    words = first.split(" ")
    bad = Refusal(400, (f"parse_block: incomplete (0/{len(first)}) with parser error = 21",))
    if len(words) != 3 or not words[1].startswith(("/", "*", "http")):
        return bad
    major, _, minor = words[2].removeprefix("HTTP/").partition(".")
    if not words[2].startswith("HTTP/") or not (major.isdigit() and minor.isdigit()):
        return bad
    if major != "1" and minor != "1":  # sic: the real one refuses only when both differ
        text = f"verify_url: unsupported HTTP version = {major}.{minor}"
        return Refusal(505, (text, "parse_block: parsing failed"))
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or not name or " " in name:
            return Refusal(
                400, (f"parse_block: incomplete (0/{len(line)}) with parser error = 24",)
            )
        headers.setdefault(name.lower(), value.strip())
    request = Request(words[0], words[1], headers)
    if request.is_upgrade and (refusal := _upgrade_refused(request)):
        return refusal
    return request


def _upgrade_refused(request: Request) -> Refusal | None:
    value = request.headers["upgrade"]
    failed = "parse_block: parsing failed"
    if len(value) > len("websocket"):
        text = 'cb_headers_complete: Upgrade header does not match the length of "websocket"'
        return Refusal(400, (text, failed))
    if value.lower() != "websocket":
        return Refusal(400, (f"cb_headers_complete: Upgrade header found but it's {value}", failed))
    return None
