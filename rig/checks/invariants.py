"""The protocol's nineteen invariants: which checks judge each, and for whom it holds.

The numbers are those of the project's facts on Sendspin devices. Where behaviour legitimately
changed with a generation or a version of sendspin-cpp, the table says what holds when; how a
version shows itself in a history is in `behaviour`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Invariant:
    """One invariant. `legacy` and `noise` say what it comes to in each wire generation."""

    number: int
    words: str
    checks: tuple[str, ...]
    legacy: str
    noise: str
    source: str


_SPEC = "Sendspin spec 1.0.0-rc1"
INVARIANTS = (
    Invariant(
        1,
        "the opening message comes first, or a goodbye alone",
        ("opening_first", "nothing_before_upgrade", "opening_first_serial", "greeted_in_time"),
        "client/hello, every version; a lone goodbye may come even before the 101 before v0.7.0",
        "client/init; in the clear also before it nothing may come, not even a seal",
        f"{_SPEC}, Communication; sendspin-cpp #57, #60, #79",
    ),
    Invariant(
        2,
        "silence until the server lets the device in, but for a goodbye",
        ("silent_before_server_hello", "noise_opening_order", "noise_answered"),
        "between client/hello and server/hello; gated since #60",
        "client/init, noise/handshake, client/hello, each at its step, then server/activate. That "
        "client/hello waits for server/hello is not judged: sendspin-cpp 0.9.x sends it at once",
        f"{_SPEC}, messaging.md, Communication; sendspin-cpp #60",
    ),
    Invariant(
        3,
        "one opening message a connection",
        ("opened_once",),
        "client/hello; one hello timer a connection since #60",
        "client/init, and the client/hello inside the seal",
        "sendspin-cpp #60",
    ),
    Invariant(
        4,
        "one client id over all reconnects",
        ("client_id_stable",),
        "client/hello's client_id",
        "client/init's client_id, the static key",
        f"{_SPEC}, client/hello and client/init",
    ),
    Invariant(
        5,
        "the first message after the greeting is a complete client/state",
        ("state_first",),
        "after server/hello; before v0.7.0 a client/time may win the race once",
        "after the first server/activate that gives a role; with `available`",
        f"{_SPEC}, client/state",
    ),
    Invariant(
        6,
        "a hand-off's loser gets a goodbye and no client/state",
        ("loser_not_told",),
        "from v0.7.0 on (prove, then admit); before it a loser got both",
        "every version",
        f"sendspin-cpp v0.7.0 connection_manager.cpp; {_SPEC}, Multiple servers",
    ),
    Invariant(
        7,
        "client_transmitted strictly rises within a boot",
        ("uptime_never_falls",),
        "every version",
        "every version, where the rig's own server recorded what is sealed",
        "esp_timer",
    ),
    Invariant(
        8,
        "one client/time outstanding, bursts of 8, 10 s between",
        ("time_bursts",),
        "devices that ask in bursts (sendspin-cpp, every version)",
        "as legacy",
        "sendspin-cpp time_burst.cpp; the specification asks for often enough only",
    ),
    Invariant(
        9,
        "no frame belongs to another connection",
        ("no_foreign_frame", "one_server_at_a_time", "noise_seals_open", "noise_end_explained"),
        "ids, clocks and pings of another connection; since #57 and #60",
        "a stray seal does not open, and ends the connection without a word",
        "sendspin-cpp #57, #60; facts sendspin-noise",
    ),
    Invariant(
        10,
        "a goodbye's reason is a known one",
        ("goodbye_reason_known",),
        "another_server, shutdown, restart, user_request",
        "those, and unauthorized, pairing_required, concurrent_attempt, unpaired",
        f"{_SPEC}, client/goodbye",
    ),
    Invariant(
        11,
        "a goodbye is the last message, and the end follows",
        ("goodbye_last",),
        "every version; sendspin-cpp ends without a WebSocket Close",
        "every version",
        f"{_SPEC}, client/goodbye",
    ),
    Invariant(
        12,
        "the hand-off table",
        ("handoff_table",),
        "playback takes over; discovery does not take over from playback",
        "the same by rank of activity; displaced another_server, rejected concurrent_attempt",
        f"{_SPEC}, connection.md, Multiple servers",
    ),
    Invariant(
        13,
        "one established server at a time",
        ("one_server_at_a_time",),
        "every version",
        "every version (a pairing connection beside a playing one is never told the state)",
        f"{_SPEC}, connection.md, Multiple servers",
    ),
    Invariant(
        14,
        "who proves nothing is sent away",
        ("unproven_reaped",),
        "from v0.7.0 on: 5 s without an upgrade, 30 s without server/hello",
        "30 s without server/activate; the 5 s are sendspin-cpp's own",
        f"sendspin-cpp v0.7.0 ws_server.cpp, connection_manager.cpp; {_SPEC}, Multiple servers",
    ),
    Invariant(
        15,
        "a ping gets its pong, a Close its Close",
        ("pings_answered", "close_answered"),
        "every version; a device that only ends the connection at a Close is told of, not failed",
        "as legacy: control frames stay in the clear",
        "RFC 6455, 5.5",
    ),
    Invariant(
        16,
        "who dialled masks; legacy messages are text, noise ones sealed",
        ("frames_framed_right",),
        "all text",
        "clear text up to the handshake's second message, binary from there on",
        f"RFC 6455, 5.1; {_SPEC}, Communication",
    ),
    Invariant(
        17,
        "the server's media have a known id, a time stamp and an active stream",
        ("media_well_formed",),
        "9 bytes before the data",
        "13 before audio (send_ahead)",
        f"{_SPEC}, binary messages; judges the server",
    ),
    Invariant(
        18,
        "a command shows in a client/state",
        ("commands_shown",),
        "commands that client/hello lists",
        "commands that the latest client/state lists",
        f"{_SPEC}, server/command",
    ),
    Invariant(
        19,
        "uptime falling back is a reboot that the console tells of too",
        ("uptime_never_falls", "no_unasked_reboot"),
        "every version",
        "every version",
        "esp_timer; the ROM's boot banner",
    ),
)
"""All nineteen, in order."""


def numbers_of(check: str) -> tuple[int, ...]:
    """The invariants that a check judges."""
    return tuple(each.number for each in INVARIANTS if check in each.checks)
