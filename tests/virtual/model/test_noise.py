"""The model of v0.9.3: the noise generation, as a server of that generation sees it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from aiosendspin.noise.constants import SENTINEL_PSK
from aiosendspin.noise.keys import Identity, b64url_decode, b64url_encode, psk_id_for
from aiosendspin.noise.session import NoiseCipherSuite, NoiseSession

VERSION = "v0.9.3"
ROLES = ["player@v1"]

Boot = Callable[[str], Any]


class Server:
    """A server's connection to it: aiosendspin's initiator over the peer without manners."""

    def __init__(self, peer: Any, frame: Any) -> None:
        self.peer = peer
        self.identity = Identity.generate()
        self.inside: list[dict[str, Any]] = []
        self._frame = frame
        self._session: Any = None
        self._read = 0

    @property
    def types(self) -> list[str]:
        return [message["type"] for message in self.inside]

    def clear(self, kind: str, **payload: Any) -> bytes:
        text = json.dumps({"type": kind, "payload": payload}).encode()
        self.peer.send(self._frame(1, text))
        return text

    def challenge(self, *, psk: bytes = SENTINEL_PSK, category: str = "sn") -> None:
        self.peer.upgrade()
        init = self.peer.wait("client/init")
        text = json.dumps(init, separators=(",", ":")).encode()
        server = self.clear("server/init", server_id=self.identity.peer_id, version=1)
        self._session = NoiseSession.as_initiator(
            suite=NoiseCipherSuite(init["payload"]["suite"]),
            local_static_priv=self.identity.private_bytes,
            remote_static_pub=b64url_decode(init["payload"]["client_id"]),
            prologue=text + server,
            psk=SENTINEL_PSK,
        )
        inner = {"psk_id": psk_id_for(psk), "psk_category": category}
        first = self._session.write_message(json.dumps(inner).encode())
        self.clear("noise/handshake", data=b64url_encode(first))

    def introduce(self, **how: Any) -> Server:
        """Up to the client/hello."""
        self.challenge(**how)
        answer = self.peer.wait("noise/handshake")["payload"]["data"]
        assert self._session.read_message(b64url_decode(answer)) == b"{}"
        self.say("server/hello", name="Test")
        self.wait("client/hello")
        return self

    def serve(self, *activities: str, roles: list[str] = ROLES) -> Server:
        self.introduce()
        self.activate(*activities, roles=roles)
        self.wait("client/state")
        return self

    def activate(self, *activities: str, roles: list[str] = ROLES) -> None:
        self.say("server/activate", activities=list(activities), active_roles=roles)

    def say(self, kind: str, **payload: Any) -> None:
        text = json.dumps({"type": kind, "payload": payload}).encode()
        self.seal(b"\0" + text)

    def seal(self, plain: bytes) -> None:
        self.peer.send(self._frame(2, self._session.encrypt(plain)))

    def _open(self) -> None:
        for frame in self.peer.frames[self._read :]:
            if frame["type"] == "opcode 2":
                plain = self._session.decrypt(frame["data"])
                assert plain[0] == 0
                self.inside.append(json.loads(plain[1:]))
        self._read = len(self.peer.frames)

    def wait(self, kind: str, seconds: float = 5) -> dict[str, Any]:
        deadline = time.monotonic() + seconds
        while kind not in self.types and not self.peer.ended and time.monotonic() < deadline:
            self.peer.read(0.02)
            self._open()
        assert kind in self.types, f"only {self.types} {self.peer.types}"
        return next(message for message in self.inside if message["type"] == kind)

    def forget(self, kind: str) -> None:
        self.inside = [message for message in self.inside if message["type"] != kind]

    def answer_times(self, count: int) -> None:
        for number in range(1, count + 1):
            while self.types.count("client/time") < number:
                self.peer.read(0.02)
                self._open()
            sent = [m for m in self.inside if m["type"] == "client/time"][-1]["payload"]
            now = time.monotonic_ns() // 1000
            self.say("server/time", server_received=now, server_transmitted=now, **sent)

    def wait_end(self, seconds: float = 5) -> None:
        self.peer.wait_end(seconds)
        self._open()


@pytest.fixture
def device(boot: Boot) -> Any:
    return boot(VERSION)


@pytest.fixture
def server(device: Any, peer: Any, frame: Any) -> Callable[..., Server]:
    return lambda: Server(peer(device), frame)


def test_the_opening_is_in_the_specifications_order(server: Any) -> None:
    one = server().serve()
    clear = [kind for kind in one.peer.types if kind != "opcode 2"]
    assert clear == ["client/init", "noise/handshake"]
    assert one.types[:2] == ["client/hello", "client/state"]
    hello = one.inside[0]["payload"]
    assert hello["supported_roles"] == ["player@v1", "controller@v1", "metadata@v1"]
    assert hello["unpaired_access"] == {"enabled": True}
    assert "client_id" not in hello


def test_it_says_nothing_before_the_activation(server: Any) -> None:
    one = server().introduce()
    one.peer.read(0.3)
    one._open()
    assert one.types == ["client/hello"]


def test_the_state_is_complete_and_available_once_its_clock_has_converged(server: Any) -> None:
    one = server().serve()
    first = one.inside[1]["payload"]
    assert first["available"] is False
    assert first["player"] == {
        "volume": 50, "muted": False, "output_delay_ms": 0, "required_lead_time_ms": 200,
        "min_buffer_ms": 200, "supported_commands": ["volume", "mute"],
    }  # fmt: skip
    one.forget("client/state")
    one.answer_times(8)
    assert one.wait("client/state")["payload"]["available"] is True


def test_its_identity_is_the_same_on_every_connection(server: Any) -> None:
    one, two = server().serve(), server().introduce()
    ids = {each.peer.wait("client/init")["payload"]["client_id"] for each in (one, two)}
    assert len(ids) == 1


def test_a_credential_that_it_does_not_know_is_answered_under_the_sentinel(server: Any) -> None:
    server().introduce(psk=b"p" * 32, category="lt")


@pytest.mark.parametrize(
    ("current", "new", "switches"),
    [((), ("playback",), True), (("playback",), (), False),
     (("playback",), ("playback",), True), ((), (), False)],
)  # fmt: skip
def test_the_admission_table(server: Any, current: Any, new: Any, switches: bool) -> None:
    old = server().serve(*current)
    other = server().introduce()
    other.activate(*new)
    loser = old if switches else other
    goodbye = loser.wait("client/goodbye")["payload"]["reason"]
    assert goodbye == ("another_server" if switches else "concurrent_attempt")
    loser.wait_end()
    assert loser.types[-1] == "client/goodbye"
    if not switches:
        assert "client/state" not in loser.types


def test_the_server_that_last_played_takes_over_from_an_idle_one(device: Any, server: Any) -> None:
    played = server().serve("playback")
    device.wait_log(f"Persisted last played server: {played.identity.peer_id}")
    played.peer.reset()
    device.wait_log("Current connection lost")
    idle = server().serve()
    again = server()
    again.identity = played.identity
    again.introduce()
    again.activate()
    assert idle.wait("client/goodbye")["payload"]["reason"] == "another_server"


@pytest.mark.parametrize("activity", ["management", {}])
def test_what_is_not_admissible_is_sent_away(server: Any, activity: Any) -> None:
    one = server().introduce()
    one.activate(activity)
    assert one.wait("client/goodbye")["payload"]["reason"] == "unauthorized"
    one.wait_end()


def test_pairing_by_a_method_it_lacks_is_aborted_and_the_connection_stays(server: Any) -> None:
    one = server().introduce()
    one.say("server/activate", activities=["pairing"], pairing={"method": "pairing_psk"})
    assert one.wait("pair/abort")["payload"]["reason"] == "method_not_supported"
    one.activate()
    one.wait("client/state")


def test_a_volume_command_shows_in_a_sealed_state(server: Any) -> None:
    one = server().serve()
    one.inside.clear()
    one.say("server/command", player={"command": "volume", "volume": 33})
    assert one.wait("client/state")["payload"]["player"]["volume"] == 33


def silent(server: Server) -> None:
    """It ended, and nothing sealed or clear was said about it."""
    before = list(server.peer.types)
    server.wait_end()
    assert server.peer.types == before


@pytest.mark.parametrize(
    "payload", [{"version": 2}, {"server_id": "short"}, {"server_id": None}, {"version": "1"}]
)
def test_a_wrong_server_init_ends_it_without_a_word(server: Any, payload: Any) -> None:
    one = server()
    one.peer.upgrade().wait("client/init")
    one.clear("server/init", **{"server_id": one.identity.peer_id, "version": 1} | payload)
    silent(one)


@pytest.mark.parametrize("data", ["", "AAAA", "!"])
def test_a_wrong_first_handshake_ends_it_without_a_word(server: Any, data: str) -> None:
    one = server()
    one.peer.upgrade().wait("client/init")
    one.clear("server/init", server_id=one.identity.peer_id, version=1)
    one.clear("noise/handshake", data=data)
    silent(one)


def test_a_seal_that_does_not_open_ends_it_without_a_word(server: Any, frame: Any) -> None:
    one = server().introduce()
    one.peer.send(frame(2, b"x" * 40))
    silent(one)


def test_clear_text_after_the_handshake_ends_it_without_a_word(server: Any) -> None:
    one = server().introduce()
    one.clear("server/activate", activities=[], active_roles=[])
    silent(one)


def test_a_fragmented_message_is_put_together(server: Any) -> None:
    one = server().serve()
    one.inside.clear()
    text = b'{"type":"server/command","payload":{"player":{"command":"mute","mute":true}}}'
    one.seal(b"\x01\x02\x00" + text[:20])
    one.seal(b"\x01\x01" + text[20:])
    assert one.wait("client/state")["payload"]["player"]["muted"] is True


def test_fragments_out_of_order_end_it(server: Any) -> None:
    one = server().introduce()
    one.seal(b"\x01\x01x")
    one.wait_end()


def audio(due_us: int, size: int, *, noise: bool) -> bytes:
    return b"\x04" + due_us.to_bytes(8, "big") + (bytes(4) if noise else b"") + bytes(size)


def test_the_player_counts_what_it_played_what_came_late_and_what_had_no_room(
    device: Any, server: Any
) -> None:
    one = server().serve("playback")
    one.forget("client/state")
    one.answer_times(8)
    one.wait("client/state")
    one.say("stream/start", player={"codec": "pcm"})
    now = time.monotonic_ns() // 1000
    one.seal(audio(now - 1_000_000, 100, noise=True))
    one.seal(audio(now + 100_000, 60_000, noise=True))
    one.seal(audio(now + 110_000, 60_000, noise=True))
    one.seal(audio(now + 60_000_000, 500, noise=True))
    one.peer.read(0.3)
    one.say("stream/end", roles=["player"])
    device.wait_log("sendspin.player: 1 chunks played, 1 late, 1 without room, 500 bytes unplayed")


@pytest.mark.parametrize("version", ["v0.5.0", "v0.7.0"])
def test_a_legacy_version_accepts_a_stream(boot: Boot, peer: Any, frame: Any, version: str) -> None:
    device = boot(version)
    one = peer(device).establish("playback")
    one.say("stream/start", player={"codec": "pcm"})
    one.send(frame(2, audio(1 << 60, 700, noise=False)))
    one.say("stream/clear", roles=["player"])
    one.send(frame(2, audio(1 << 60, 300, noise=False)))
    one.say("stream/end")
    device.wait_log("sendspin.player: 0 chunks played, 0 late, 0 without room, 300 bytes unplayed")


@pytest.mark.long
def test_who_never_activates_is_dropped_at_thirty_seconds(device: Any, server: Any) -> None:
    began = time.monotonic()
    one = server().introduce()
    one.wait_end(40)
    assert 29.5 < time.monotonic() - began < 33
    assert one.types == ["client/hello", "client/goodbye"]
    device.wait_log("Nursery connection stalled at HELLO_SENT (>30 s), dropping")


@pytest.mark.long
def test_who_never_shakes_hands_is_dropped_without_a_word(device: Any, server: Any) -> None:
    one = server()
    one.peer.upgrade().wait("client/init")
    one.wait_end(40)
    assert one.peer.types == ["client/init"]
    device.wait_log("Nursery connection stalled at NOISE_PENDING (>30 s), dropping")
