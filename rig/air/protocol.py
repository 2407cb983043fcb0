"""What may be asked of the air helper: a closed, typed list; JSON, one message a line.

Sans-I/O. Every command is bounded by its type: in time, in rate, in count. A message that is not
of this list, has a field too many, or a value out of range, is refused before anything is done.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import msgspec
from msgspec import Meta, Struct

LONGEST_LINE = 1 << 16
"""Bytes of one message."""
MOST_EFFECTS = 32
"""Faults that a helper keeps up at once."""

Way = Literal["to_device", "to_server", "both"]
Side = Literal["device", "server"]
Forgery = Literal["rst", "fin", "duplicate", "out-of-window", "syn"]
Refusal = Literal["tcp-reset", "icmp-host", "icmp-port", "icmp-admin"]

Seconds = Annotated[float, Meta(gt=0, le=3600)]
Share = Annotated[float, Meta(ge=0, le=1)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Name = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}\Z")]
RunId = Annotated[str, Meta(pattern=r"\A[a-z0-9]{4,12}\Z")]
Text = Annotated[str, Meta(max_length=4096)]
Milliseconds = Annotated[float, Meta(ge=0, le=10_000)]
Mac = Annotated[str, Meta(pattern=r"\A([0-9a-f]{2}:){5}[0-9a-f]{2}\Z")]
Hotspot = Annotated[str, Meta(pattern=r"\A\w[^\x00-\x1f]{0,63}\Z")]
Megahertz = Annotated[int, Meta(ge=2400, le=7200)]
Interface = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{1,15}\Z")]


class BoardAddress(Struct, frozen=True, forbid_unknown_fields=True):
    """A board of the bench: the only thing that may be touched."""

    name: Name
    address: Text
    """IPv4, private, link-local or loopback."""
    port: Port | None = None
    """Where it listens: all that is touched of an address that is this host's own."""


class Flow(Struct, frozen=True, forbid_unknown_fields=True):
    """One TCP connection between this host and a board."""

    server_port: Port
    device_port: Port


class Command(Struct, frozen=True, kw_only=True, tag_field="do", forbid_unknown_fields=True):
    """The head of the list."""


class Begin(Command, frozen=True, kw_only=True, tag="begin"):
    """First and once: the run, its boards, where the journal and captures go. Then frozen."""

    run: RunId
    journal: Text
    boards: Annotated[tuple[BoardAddress, ...], Meta(max_length=64)]
    monitors: Annotated[tuple[Interface, ...], Meta(max_length=8)] = ()
    """Monitor interfaces that the bench names."""
    folder: Text | None = None
    """Where captures are written."""
    hostapd: Annotated[str, Meta(pattern=r"\A/[^\0]{1,100}\Z")] | None = None
    """The control socket of the access point that the bench names."""
    hotspot: Hotspot | None = None
    """Or its NetworkManager connection."""
    bssid: Mac | None = None
    """Its link address, where hostapd is not there to say it."""


class Drop(Command, frozen=True, kw_only=True, tag="drop"):
    """Lose a share of the packets, without a word to either side."""

    board: Name
    way: Way = "both"
    flow: Flow | None = None
    share: Share = 1.0
    seconds: Seconds


class Refuse(Command, frozen=True, kw_only=True, tag="refuse"):
    """Answer packets with a RST or an ICMP unreachable instead of delivering them."""

    board: Name
    way: Way = "both"
    flow: Flow | None = None
    answer: Refusal = "tcp-reset"
    seconds: Seconds


class Shrink(Command, frozen=True, kw_only=True, tag="shrink"):
    """Lose every IP packet longer than `size` bytes: a path MTU that nobody told of."""

    board: Name
    way: Way = "both"
    flow: Flow | None = None
    size: Annotated[int, Meta(ge=68, le=1500)]
    seconds: Seconds


class Rate(Command, frozen=True, kw_only=True, tag="rate"):
    """Let only `kbit` kbit/s through to the device (a token bucket; 1,500 bytes of burst)."""

    board: Name
    kbit: Annotated[float, Meta(ge=1, le=100_000)]
    seconds: Seconds


class Disturb(Command, frozen=True, kw_only=True, tag="disturb"):
    """Delay, lose, swap, double and damage packets, as netem does, by these shares."""

    board: Name
    way: Way = "both"
    flow: Flow | None = None
    delay_ms: Milliseconds = 0
    jitter_ms: Milliseconds = 0
    loss: Share = 0
    reorder: Share = 0
    """Share of packets that overtake those that wait (needs a delay)."""
    duplicate: Share = 0
    corrupt: Share = 0
    seed: Annotated[int, Meta(ge=0, le=2**31)] = 1
    seconds: Seconds


class KillSocket(Command, frozen=True, kw_only=True, tag="kill-socket"):
    """Destroy this host's socket of a connection, without a word to the device."""

    board: Name
    flow: Flow
    seconds: Seconds
    """How long what this host would answer the device's next segments is kept back."""


class Capture(Command, frozen=True, kw_only=True, tag="capture"):
    """Record a board's packets: each as a message, and all in a pcap file."""

    board: Name
    file: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\.pcap\Z")] | None = None
    packets: Annotated[int, Meta(ge=1, le=1_000_000)] = 200_000
    seconds: Seconds


class Forge(Command, frozen=True, kw_only=True, tag="forge"):
    """Send one segment of a living connection in the name of its other side."""

    board: Name
    flow: Flow
    what: Forgery
    to: Side = "device"


class Ask(Command, frozen=True, kw_only=True, tag="ask"):
    """Ask the device whether it knows a connection; what it answers is kept from this host.

    Counts: `answered`, and `reset` where the answer is a RST: it knows no such connection.
    """

    board: Name
    flow: Flow


class ArpHole(Command, frozen=True, kw_only=True, tag="arp-hole"):
    """Tell the device that this host is at a link address that nobody has."""

    board: Name
    seconds: Seconds


class LinkDown(Command, frozen=True, kw_only=True, tag="link-down"):
    """Take the link to a board down, and up again: only one that nobody else is behind."""

    board: Name
    seconds: Seconds


class SynFlood(Command, frozen=True, kw_only=True, tag="syn-flood"):
    """Open connections half: SYNs from this host whose answers are never answered."""

    board: Name
    port: Port
    count: Annotated[int, Meta(ge=1, le=64)] = 16
    per_second: Annotated[float, Meta(ge=1, le=50)] = 20
    seconds: Seconds


class RadioOff(Command, frozen=True, kw_only=True, tag="radio-off"):
    """Take the bench's access point off the air."""

    board: Name
    seconds: Seconds


class SendAway(Command, frozen=True, kw_only=True, tag="send-away"):
    """Have the access point deauthenticate or disassociate the board; then it may come back."""

    board: Name
    how: Literal["deauthenticate", "disassociate"] = "deauthenticate"
    reason: Annotated[int, Meta(ge=1, le=66)] = 7
    seconds: Seconds


class ChangeChannel(Command, frozen=True, kw_only=True, tag="change-channel"):
    """Have the access point announce another channel, move there, and come back in the end."""

    board: Name
    mhz: Megahertz
    seconds: Seconds


class Deauth(Command, frozen=True, kw_only=True, tag="deauth"):
    """Send the board 802.11 deauthentication frames in its access point's name, ten a second."""

    board: Name
    interface: Interface | None = None
    """None: the first monitor interface that the bench names."""
    reason: Annotated[int, Meta(ge=1, le=66)] = 7
    count: Annotated[int, Meta(ge=1, le=64)] = 8
    seconds: Seconds


class TxPower(Command, frozen=True, kw_only=True, tag="tx-power"):
    """Have the access point's radio send with so little power."""

    board: Name
    dbm: Annotated[float, Meta(ge=0, le=30)]
    seconds: Seconds


class Count(Command, frozen=True, kw_only=True, tag="count"):
    """Read the counters of a fault."""

    effect: int


class Heal(Command, frozen=True, kw_only=True, tag="heal"):
    """Take one fault back, or all of them."""

    effect: int | None = None


class Status(Command, frozen=True, kw_only=True, tag="status"):
    """What is up, and whether a socket of this host is."""


AnyCommand = (
    Begin
    | Drop
    | Refuse
    | Shrink
    | Rate
    | Disturb
    | KillSocket
    | Capture
    | Forge
    | Ask
    | ArpHole
    | LinkDown
    | SynFlood
    | RadioOff
    | SendAway
    | ChangeChannel
    | Deauth
    | TxPower
    | Count
    | Heal
    | Status
)
COMMANDS: tuple[type[Command], ...] = get_args(AnyCommand)


class Request(Struct, frozen=True, forbid_unknown_fields=True):
    """A command, with the number that its answer carries."""

    id: Annotated[int, Meta(ge=0, le=2**53)]
    command: AnyCommand


class Answer(Struct, frozen=True, kw_only=True, tag_field="is"):
    """The head of what the helper says."""


class Done(Answer, frozen=True, kw_only=True, tag="done"):
    """A command was carried out."""

    id: int
    effect: int | None = None
    """The number of a fault that lasts."""
    counts: dict[str, int] = {}
    note: str = ""


class Refused(Answer, frozen=True, kw_only=True, tag="refused"):
    """A command was not carried out, and changed nothing. `id` is None for what was no command."""

    id: int | None = None
    error: str
    hint: str | None = None


class Seen(Answer, frozen=True, kw_only=True, tag="seen"):
    """A TCP segment crossed. `t` is monotonic, in nanoseconds."""

    effect: int
    t: int
    source: str
    destination: str
    flags: str
    """Letters as tcpdump's order has them: F S R P A U E C."""
    seq: int
    ack: int
    length: int
    """Bytes of payload."""
    window: int
    retransmission: bool
    forged: bool = False
    """The helper itself made it."""


class Over(Answer, frozen=True, kw_only=True, tag="over"):
    """A fault came to its end by itself."""

    effect: int
    why: str
    counts: dict[str, int] = {}


AnyAnswer = Done | Refused | Seen | Over

_encoder = msgspec.json.Encoder()
_requests = msgspec.json.Decoder(Request)
_answers = msgspec.json.Decoder(AnyAnswer)


def encode(message: Request | Answer) -> bytes:
    """One line."""
    return _encoder.encode(message) + b"\n"


def decode_request(line: bytes) -> Request:
    """Read a request. Raises `ValueError` (msgspec's subclasses too) for what is none."""
    if len(line) > LONGEST_LINE:
        raise ValueError(f"a message of more than {LONGEST_LINE} bytes")
    try:
        return _requests.decode(line)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def decode_answer(line: bytes) -> AnyAnswer:
    """Read an answer. Raises `ValueError` for what is none."""
    answer: AnyAnswer = _answers.decode(line)
    return answer
