"""Every row of the table in `facts/esp-http-server.md`, on every version, out of the model's rules.

The stimuli keep their own schedule: `STEP` seconds apart, several turns of the main loop.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

ALL = ("v0.5.0", "pr57", "v0.6.1", "v0.7.0")
STEP = 0.05
BYTE = b"\x81"
"""The first byte of a frame, and no more: the server task waits in `recv`."""


def pause(seconds: float = STEP) -> None:
    """The stimulus's schedule."""
    time.sleep(seconds)


def repeated(quick: int, full: int) -> pytest.MarkDecorator:
    """Repetitions in one boot: a few, and in long mode those of the facts."""
    return pytest.mark.parametrize("times", [quick, pytest.param(full, marks=pytest.mark.long)])


def versions(**outcomes: str) -> pytest.MarkDecorator:
    """The row's outcome for each version (`v0_5_0="..."`)."""
    rows = [(name.replace("_", ".").replace("v.", "v"), what) for name, what in outcomes.items()]
    return pytest.mark.parametrize(("version", "outcome"), rows)


def what_happened(device: Any, newcomer: Any, seconds: float = 0.4) -> str:
    """What came of the device and the last connection: the words of the table."""
    newcomer.read(seconds)
    if device.panicked():
        return "use after free"
    if newcomer.early:
        stray = f"{newcomer.early[0]['type']} before the 101"
        first = newcomer.types[:1]
        return stray if first in ([], ["client/hello"]) else f"{stray}, then {first[0]}"
    if not newcomer.types:
        return "never greeted"
    return "clean" if newcomer.types[0] == "client/hello" else f"first {newcomer.types[0]}"


@repeated(2, 20)
@pytest.mark.parametrize("version", ALL)
def test_a_graceful_close_leaves_the_device_clean(
    boot: Callable[..., Any],
    peer: Callable[..., Any],
    frame: Callable[..., bytes],
    version: str,
    times: int,
) -> None:
    device = boot(version)
    for number in range(times):
        server = peer(device, f"S{number}").establish()
        server.send(frame(8, b"\x03\xe8"))
        server.wait("opcode 8")
        server.wait_end()
        pause()  # a turn of the main loop: before #57 whoever beats it is not greeted
    assert device.panics == []


@repeated(2, 10)
@pytest.mark.parametrize("version", ALL)
def test_a_hand_off_in_order_greets_the_new_and_says_goodbye_to_the_old(
    boot: Callable[..., Any], peer: Callable[..., Any], version: str, times: int
) -> None:
    device = boot(version)
    old = peer(device, "S0").establish("playback")
    for number in range(1, times + 1):
        new = peer(device, f"S{number}").establish("playback")
        goodbye = old.wait("client/goodbye")
        assert goodbye["payload"] == {"reason": "another_server"}
        old.wait_end()
        assert new.types[:2] == ["client/hello", "client/state"]
        assert not new.early
        old = new
        pause()  # a turn of the main loop: up to v0.6.1 closings are noted by number alone
    assert device.panics == []


@repeated(2, 20)
@pytest.mark.parametrize("before_hello", [False, True])
@versions(v0_5_0="never greeted", pr57="clean", v0_6_1="clean", v0_7_0="clean")
def test_a_reset_and_an_instant_reconnect(
    boot: Callable[..., Any],
    peer: Callable[..., Any],
    version: str,
    outcome: str,
    before_hello: bool,
    times: int,
) -> None:
    device = boot(version)
    seen = []
    for _ in range(times):
        server = peer(device, "A")
        if before_hello:
            server.upgrade().wait_status()
        else:
            server.establish()
        server.reset()
        newcomer = peer(device, "C").upgrade()
        seen.append(what_happened(device, newcomer, 0.25))
        newcomer.sock.close()
        pause()
    if outcome == "clean":
        assert seen == ["clean"] * times
    else:  # measured: 13 to 19 of 20; who loses the race against the main loop is greeted
        assert set(seen) <= {"clean", outcome}
        assert outcome in seen or times < 10
    assert device.panics == []


def aimed(device: Any, peer: Callable[..., Any], talk: int = 0, step: float = STEP) -> str:
    """The aimed recipe: two stalls, so that the left-over work of A runs when C lives on its fd."""
    a, b = peer(device, "A").upgrade(), peer(device, "B")
    a.wait("client/hello")
    b.upgrade().wait("client/hello")
    pause(step)
    a.hello(then=BYTE)
    pause(step)
    if talk:
        device.type(f"talk {talk}")
        pause(step)
    b.send(BYTE)
    pause(step)
    c = peer(device, "C").upgrade()
    pause(step)
    a.reset()
    pause(step)
    b.reset()
    outcome = what_happened(device, c)
    c.sock.close()
    pause()
    return outcome


@repeated(1, 10)
@versions(
    v0_5_0="use after free", pr57="client/time before the 101", v0_6_1="clean", v0_7_0="clean"
)
def test_the_aimed_recipe(
    boot: Callable[..., Any], peer: Callable[..., Any], version: str, outcome: str, times: int
) -> None:
    device = boot(version)
    for number in range(times):
        assert aimed(device, peer) == outcome
        if outcome == "use after free":
            panic = "\n".join(device.wait_panic(number + 1))
            assert "panic'ed (Load access fault)" in panic


@repeated(1, 10)
@versions(
    v0_5_0="use after free",
    pr57="client/time before the 101, then client/state",
    v0_6_1="clean",
    v0_7_0="clean",
)
def test_the_aimed_recipe_with_three_more_states(
    boot: Callable[..., Any], peer: Callable[..., Any], version: str, outcome: str, times: int
) -> None:
    device = boot(version)
    for number in range(times):
        assert aimed(device, peer, talk=3) == outcome
        if outcome == "use after free":
            device.wait_panic(number + 1)


@repeated(2, 10)
@pytest.mark.parametrize("version", ALL)
def test_the_swap_alone(
    boot: Callable[..., Any], peer: Callable[..., Any], version: str, times: int
) -> None:
    device = boot(version)
    seen = []
    for _ in range(times):
        a = peer(device, "A").upgrade()
        a.wait("client/hello")
        a.hello(then=BYTE)
        pause()
        c = peer(device, "C").upgrade()
        pause()
        a.reset()
        seen.append(what_happened(device, c))
        c.sock.close()
        pause()
    stray = [what.startswith("client/time before the 101") for what in seen]
    match version:
        case "v0.5.0":
            assert set(seen) <= {"use after free", "client/time before the 101"}
        case "pr57":
            assert all(stray)
        case "v0.6.1":  # a turn of the main loop may come in between: measured 8 to 9 of 10
            assert sum(stray) >= 0.7 * times
        case _:
            assert seen == ["clean"] * times


@repeated(1, 10)
@pytest.mark.parametrize(
    ("version", "gap", "first_greeted"),
    [
        (version, gap, version in ALL[2:] or gap > 0.1)
        for version in ALL
        for gap in (0.0, 0.05, 0.12)
    ],
)
def test_two_servers(
    boot: Callable[..., Any],
    peer: Callable[..., Any],
    version: str,
    gap: float,
    first_greeted: bool,
    times: int,
) -> None:
    device = boot(version)
    for _ in range(times):
        began = time.monotonic()
        first = peer(device, "A").upgrade()
        pause(gap)
        if gap > 0.1:  # past the hello delay: on a busy machine the model comes to it later
            first.wait("client/hello")
        second = peer(device, "B").upgrade()
        took = time.monotonic() - began
        second.wait("client/hello")
        first.read(0.1)
        if gap > 0.1 or took < gap + 0.03:  # else this machine was busy: another stimulus
            assert ("client/hello" in first.types) == first_greeted
        first.sock.close()
        second.sock.close()
        pause()


@repeated(2, 20)
@versions(
    v0_5_0="first client/command", pr57="first client/command", v0_6_1="clean", v0_7_0="clean"
)
def test_a_command_while_unproven(
    boot: Callable[..., Any], peer: Callable[..., Any], version: str, outcome: str, times: int
) -> None:
    device = boot(version)
    for _ in range(times):
        server = peer(device, "A").upgrade()
        server.wait_status()
        device.type("command play")
        assert what_happened(device, server, 0.2) == outcome
        assert "client/hello" in server.types
        server.sock.close()
        pause()


@repeated(1, 10)
@versions(v0_5_0="never greeted", pr57="never greeted", v0_6_1="never greeted", v0_7_0="clean")
def test_a_full_mailbox_when_the_hello_falls_due(
    boot: Callable[..., Any],
    peer: Callable[..., Any],
    frame: Callable[..., bytes],
    version: str,
    outcome: str,
    times: int,
) -> None:
    device = boot(version)
    for _ in range(times):
        a = peer(device, "A").establish()
        a.wait("client/time")
        b = peer(device, "B").upgrade()
        b.wait_status()
        pause(0.02)
        whole = frame(1, b'{"type":"server/state","payload":{}}')
        a.send(whole[:1])
        pause(0.01)
        device.type("talk 8")
        pause(0.15)
        a.send(whole[1:])
        assert what_happened(device, b, 0.8) == outcome
        a.sock.close()
        b.sock.close()
        pause()
    assert device.panics == []


@repeated(1, 5)
@versions(
    v0_5_0="use after free",
    pr57="client/state before the 101",
    v0_6_1="client/state before the 101",
    v0_7_0="clean",
)
def test_a_closed_window_with_states_queued(
    boot: Callable[..., Any], peer: Callable[..., Any], version: str, outcome: str, times: int
) -> None:
    device = boot(version)
    seen = []
    for _ in range(times):
        a = peer(device, "A", receive_buffer=2048).establish()
        for _ in range(120):
            device.type("talk 1")
            pause(0.01)
        a.reset()
        c = peer(device, "C").upgrade()
        seen.append(what_happened(device, c))
        c.sock.close()
        pause()
    if version == "v0.7.0":
        assert seen == ["clean"] * times
    elif version == "v0.5.0":
        assert any(what == outcome for what in seen) or seen[0].startswith("client/state before")
    else:
        assert any(what.startswith(outcome) for what in seen)


@pytest.mark.parametrize("version", ALL)
def test_half_a_frame_holds_the_task_until_its_rest_comes(
    boot: Callable[..., Any], peer: Callable[..., Any], frame: Callable[..., bytes], version: str
) -> None:
    device = boot(version)
    a = peer(device, "A").establish()
    ping = frame(9, b"still there?")
    a.send(ping[:1])
    b = peer(device, "B").upgrade()
    b.read(0.3)
    assert b.raw == b""
    a.send(ping[1:])
    assert a.wait("opcode 10")["data"] == b"still there?"
    assert b.wait_status() == 101
