"""The protocol's names and rules, by wire generation.

Sources: the Sendspin specification (legacy text and 1.0.0-rc1) and sendspin-cpp v0.5.0 to v0.9.x.
`legacy` is plain JSON with client/hello first; `noise` opens with client/init and seals the rest.
"""

from __future__ import annotations

from typing import Final, Literal

Generation = Literal["legacy", "noise"]

OPENING: Final[dict[Generation, str]] = {"legacy": "client/hello", "noise": "client/init"}
"""The device's first message on a connection."""

GREETING: Final = "client/hello"
SERVER_GREETING: Final = "server/hello"
GOODBYE: Final = "client/goodbye"
"""May come at any time, even first and alone: it says which connection is not wanted."""

DEVICE_MESSAGES: Final[dict[Generation, frozenset[str]]] = {
    "legacy": frozenset(
        {
            "client/hello",
            "client/time",
            "client/state",
            "client/command",
            "client/goodbye",
            "stream/request-format",
        }
    ),
    "noise": frozenset(
        {
            "client/init",
            "noise/handshake",
            "client/hello",
            "client/time",
            "client/state",
            "client/command",
            "client/goodbye",
            "stream/request-format",
        }
    ),
}
"""Messages that a device may send at all."""

SERVER_MESSAGES: Final[dict[Generation, frozenset[str]]] = {
    "legacy": frozenset(
        {
            "server/hello",
            "server/time",
            "server/state",
            "server/command",
            "server/error",
            "group/update",
            "stream/start",
            "stream/clear",
            "stream/end",
        }
    ),
    "noise": frozenset(
        {
            "server/init",
            "server/error",
            "noise/handshake",
            "server/hello",
            "server/activate",
            "server/time",
            "server/state",
            "server/command",
            "group/update",
            "stream/start",
            "stream/clear",
            "stream/end",
        }
    ),
}
"""Messages that a server may send at all."""

CLEAR_IN_NOISE: Final = frozenset({"client/init", "server/init", "server/error", "noise/handshake"})
"""In the noise generation only these cross as clear text (and before transport mode only)."""

GOODBYE_REASONS: Final[dict[Generation, frozenset[str]]] = {
    "legacy": frozenset({"another_server", "shutdown", "restart", "user_request"}),
    "noise": frozenset(
        {
            "another_server",
            "shutdown",
            "restart",
            "user_request",
            "unauthorized",
            "pairing_required",
            "concurrent_attempt",
            "unpaired",
        }
    ),
}
"""Known `reason` values of client/goodbye."""

CONNECTION_REASONS: Final = frozenset({"discovery", "playback"})
"""`connection_reason` of a legacy server/hello."""

AUDIO_ID: Final = 4
ARTWORK_IDS: Final = range(8, 12)
VISUALIZER_IDS: Final = range(16, 21)
"""First byte of a server's binary message; a big-endian int64 timestamp in us follows."""

CLOSE_CODES_NEVER_SENT: Final = frozenset({1004, 1005, 1006, 1015})
"""RFC 6455, 7.4.1: reserved, must not be set in a Close frame."""


def generation_of(first_message: str | None) -> Generation | None:
    """The wire generation that a device's opening message belongs to; None: neither."""
    for generation, opening in OPENING.items():
        if first_message == opening:
            return generation
    return None


def close_code_is_valid(code: int) -> bool:
    """Whether an endpoint may put `code` in a Close frame (RFC 6455, 7.4.2)."""
    if code in CLOSE_CODES_NEVER_SENT:
        return False
    return 1000 <= code <= 1014 or 3000 <= code <= 4999
