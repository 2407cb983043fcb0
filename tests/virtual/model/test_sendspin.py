"""The Sendspin client's model: what a well-behaved server sees, version by version."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from rig.boards.virtual.sendspin import messages

Boot = Callable[[str], Any]
Connect = Callable[..., Any]

ALL = pytest.mark.parametrize("version", ["v0.5.0", "pr57", "v0.6.1", "v0.7.0"])


@ALL
def test_the_boot_log_names_the_version_and_the_port(boot: Boot, version: str) -> None:
    device = boot(version)
    device.wait_log(f"app_init: App version:      {version}")
    limit = 4 if version == "v0.7.0" else 2
    device.wait_log(f"sendspin.ws_server: Starting server on port: 8928 (max connections: {limit})")


@ALL
def test_hello_then_state_then_time(boot: Boot, peer: Connect, version: str) -> None:
    server = peer(boot(version)).establish()
    server.wait("client/time")
    assert server.types[:3] == ["client/hello", "client/state", "client/time"]
    hello = server.frames[0]["payload"]
    assert hello["supported_roles"] == ["player@v1", "controller@v1", "metadata@v1"]
    assert hello["client_id"] == "7e:df:a1:00:00:01"
    assert ("mac_address" in hello["device_info"]) == (version == "v0.7.0")


@ALL
def test_the_hello_comes_at_once_or_after_100_ms(boot: Boot, peer: Connect, version: str) -> None:
    server = peer(boot(version)).upgrade()
    server.wait_status()
    began = time.monotonic()
    server.wait("client/hello")
    took = time.monotonic() - began
    assert (took >= 0.09) == (version != "v0.7.0")


@ALL
def test_the_client_id_is_the_same_on_every_connection(
    boot: Boot, peer: Connect, version: str
) -> None:
    device = boot(version)
    first = peer(device, "A").establish()
    second = peer(device, "B").establish("playback")
    ids = {each.frames[0]["payload"]["client_id"] for each in (first, second)}
    assert len(ids) == 1


@ALL
def test_time_comes_in_bursts_of_eight_one_at_a_time(
    boot: Boot, peer: Connect, version: str
) -> None:
    server = peer(boot(version)).establish()
    for count in range(1, 9):
        while server.types.count("client/time") < count:
            server.read(0.02)
        assert server.types.count("client/time") == count
        sent = server.frames[-1]["payload"]["client_transmitted"]
        server.say("server/time", client_transmitted=sent, server_received=5, server_transmitted=6)
    server.read(0.2)
    times = [f["payload"]["client_transmitted"] for f in server.frames if "time" in f["type"]]
    assert len(times) == 8
    assert times == sorted(set(times))


@ALL
def test_a_volume_command_is_answered_by_a_state_that_shows_it(
    boot: Boot, peer: Connect, version: str
) -> None:
    server = peer(boot(version)).establish()
    server.frames.clear()
    server.say("server/command", player={"command": "volume", "volume": 33})
    assert server.wait("client/state")["payload"]["player"]["volume"] == 33


@ALL
def test_talk_queues_that_many_states(boot: Boot, peer: Connect, version: str) -> None:
    device = boot(version)
    server = peer(device).establish()
    server.wait("client/time")
    before = server.types.count("client/state")
    device.type("talk 5")
    device.wait_log("I (")
    device.wait_log("talk: queueing 5 client/state")
    server.read(0.3)
    assert server.types.count("client/state") == before + 5


@pytest.mark.parametrize(
    "line", ["talk", "talk 0", "talk x", "talk 9999", "talk -1", "sing", "talk ١"]
)
def test_what_the_console_does_not_know_is_an_error_line(boot: Boot, line: str) -> None:
    device = boot("v0.7.0")
    device.type(line)
    device.wait_log(f"talk: unknown command '{line}'; there is: talk N (1 to 1000)")
    device.type("talk 1")
    device.wait_log("talk: queueing 1 client/state")


@ALL
@pytest.mark.parametrize(
    ("current", "new", "switches"),
    [("discovery", "playback", True), ("playback", "discovery", False),
     ("playback", "playback", True), ("discovery", "discovery", False)],
)  # fmt: skip
def test_the_hand_off_table(
    boot: Boot, peer: Connect, version: str, current: str, new: str, switches: bool
) -> None:
    device = boot(version)
    old = peer(device, "A").establish(current)
    other = peer(device, "B").upgrade()
    other.wait("client/hello")
    other.hello(new)
    loser = old if switches else other
    goodbye = loser.wait("client/goodbye")
    assert goodbye["payload"]["reason"] == "another_server"
    loser.wait_end()
    assert loser.types[-1] == "client/goodbye"
    if version == "v0.7.0" and not switches:
        assert "client/state" not in loser.types


def test_the_server_last_seen_playing_wins_over_reboots(boot: Boot, peer: Connect) -> None:
    device = boot("v0.7.0")
    played = peer(device, "A").establish()
    played.say("group/update", playback_state="playing", group_id="g", group_name="n")
    device.wait_log(f"Persisted last played server: A (hash: 0x{messages.fnv1('A'):08X})")
    assert device.store["sendspin", "last_server"] == messages.fnv1("A")
    other = peer(device, "B").upgrade()
    other.wait("client/hello")
    other.hello()
    device.wait_log("Current server matches last played server, keeping")
    other.wait("client/goodbye")


def test_a_third_unproven_peer_gets_a_goodbye_alone(boot: Boot, peer: Connect) -> None:
    device = boot("v0.7.0")
    first, second = peer(device, "A").upgrade(), peer(device, "B").upgrade()
    first.wait("client/hello")
    second.wait("client/hello")
    third = peer(device, "C").upgrade()
    third.wait_end()
    assert third.types == ["client/goodbye"]
    device.wait_log("Nursery full of live connections, rejecting new connection")


def test_tcp_without_an_upgrade_is_closed_at_five_seconds(boot: Boot, peer: Connect) -> None:
    device = boot("v0.7.0")
    began = time.monotonic()
    silent = peer(device)
    silent.wait_end(8)
    assert 4.8 < time.monotonic() - began < 7
    device.wait_log("Session did not complete a WebSocket upgrade within 5 s, closing")


@pytest.mark.long
def test_who_never_answers_hello_is_dropped_at_thirty_seconds(boot: Boot, peer: Connect) -> None:
    device = boot("v0.7.0")
    began = time.monotonic()
    silent = peer(device).upgrade()
    silent.wait_end(40)
    assert 29.5 < time.monotonic() - began < 33
    assert silent.types == ["client/hello", "client/goodbye"]
    device.wait_log("Nursery connection stalled at HELLO_SENT (>30 s), dropping")


@ALL
@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"{", "Failed to parse JSON message"),
        (b"[" * 5000, "Failed to parse JSON message"),
        (b"7", "Failed to parse JSON message"),
        (b'{"type":"server/dance"}', "Unhandled server message type: server/dance"),
        (b'{"type":"server/hello","payload":{"name":1}}', "Invalid server/hello message"),
        (b'{"type":"server/hello","payload":7}', "Invalid server/hello message"),
        (b'{"type":"server/time","payload":{"client_transmitted":"x"}}', "Invalid server/time"),
    ],
)
def test_nonsense_is_logged_and_survived(
    boot: Boot, peer: Connect, frame: Callable[..., bytes], version: str, text: bytes, line: str
) -> None:
    device = boot(version)
    server = peer(device).establish()
    server.send(frame(1, text))
    device.wait_log(line)
    server.send(frame(9, b"x"))
    server.wait("opcode 10")
