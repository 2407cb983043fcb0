"""The noise channel's server side, against aiosendspin's own responder."""

from __future__ import annotations

import json

import pytest
from aiosendspin.noise.constants import SENTINEL_PSK
from aiosendspin.noise.keys import Identity, b64url_decode, b64url_encode, psk_id_for
from aiosendspin.noise.session import NoiseCipherSuite, NoiseSession
from hypothesis import given
from hypothesis import strategies as st

from rig.protocol.sealed import (
    FRAGMENT_ID,
    MESSAGE_BOUND,
    SENTINEL,
    SUITES,
    SealError,
    ServerChannel,
    init_wrong,
    unb64url,
)


def device_init(identity: Identity, suite: str = SUITES[0]) -> bytes:
    payload = {"client_id": identity.peer_id, "version": 1, "suite": suite}
    return json.dumps({"type": "client/init", "payload": payload}, indent=1).encode()


class Device:
    """aiosendspin's responder, brought to transport mode with `channel`."""

    def __init__(self, channel: ServerChannel, suite: str = SUITES[0]) -> None:
        identity = Identity.generate()
        init = device_init(identity, suite)
        server_init, handshake = channel.challenge(init)
        self.server_id = json.loads(server_init)["payload"]["server_id"]
        self.session = NoiseSession.as_responder(
            suite=NoiseCipherSuite(suite),
            local_static_priv=identity.private_bytes,
            remote_static_pub=b64url_decode(self.server_id),
            prologue=init + server_init,
        )
        first = b64url_decode(json.loads(handshake)["payload"]["data"])
        self.inner = json.loads(self.session.read_message(first))
        self.session.mix_psk(SENTINEL_PSK)
        self.answer = {"data": b64url_encode(self.session.write_message(b"{}"))}


@pytest.mark.parametrize("suite", SUITES)
def test_the_handshake_and_both_directions_work_with_an_independent_device(suite):
    channel = ServerChannel("rig-1")
    device = Device(channel, suite)
    assert device.server_id == channel.server_id
    assert device.inner == {"psk_id": psk_id_for(SENTINEL), "psk_category": "sn"}
    assert not channel.ready
    channel.accept(device.answer)
    assert channel.ready
    (sealed,) = channel.seal(b'{"type":"server/hello"}')
    assert device.session.decrypt(sealed) == b'\0{"type":"server/hello"}'
    opened = channel.open(device.session.encrypt(b"\0{}"))
    assert (opened.id, opened.data) == (0, b"{}")


def ready() -> tuple[ServerChannel, Device]:
    channel = ServerChannel("rig-1")
    device = Device(channel)
    channel.accept(device.answer)
    return channel, device


def test_one_name_is_one_server_and_another_name_another():
    assert ServerChannel("a").server_id == ServerChannel("a").server_id
    assert ServerChannel("a").server_id != ServerChannel("b").server_id


def test_a_long_message_goes_in_fragments_that_are_put_together_again():
    channel, device = ready()
    message = bytes(range(256)) * 700
    plain = [device.session.decrypt(frame) for frame in channel.seal(message, message_id=4)]
    assert [part[:2] for part in plain] == [b"\x01\x02", b"\x01\x00", b"\x01\x01"]
    assert plain[0][2] == 4
    assert plain[0][3:] + plain[1][2:] + plain[2][2:] == message
    opened = [channel.open(device.session.encrypt(part)) for part in plain]
    assert opened[:2] == [None, None]
    assert (opened[2].id, opened[2].data) == (4, message)


@pytest.mark.parametrize(
    "parts",
    [
        [bytes((FRAGMENT_ID, 0)) + b"x"],
        [bytes((FRAGMENT_ID, 2, 0)), bytes((FRAGMENT_ID, 2, 0))],
        [bytes((FRAGMENT_ID, 2, 0)), b"\0{}"],
        [bytes((FRAGMENT_ID, 2, FRAGMENT_ID))],
        [bytes((FRAGMENT_ID, 4))],
        [bytes((FRAGMENT_ID,))],
        [b""],
    ],
)
def test_fragments_out_of_order_are_an_error(parts):
    channel, device = ready()
    for part in parts[:-1]:
        channel.open(device.session.encrypt(part))
    last = device.session.encrypt(parts[-1])
    with pytest.raises(SealError):
        channel.open(last)


def test_a_message_of_endless_fragments_is_an_error_not_memory():
    channel, device = ready()
    channel.open(device.session.encrypt(bytes((FRAGMENT_ID, 2, 0))))
    part = bytes((FRAGMENT_ID, 0)) + bytes(60_000)
    for _ in range(MESSAGE_BOUND // 60_000):
        channel.open(device.session.encrypt(part))
    last = device.session.encrypt(part)
    with pytest.raises(SealError, match="more than"):
        channel.open(last)


def test_a_seal_of_another_connection_does_not_open():
    channel, _ = ready()
    _, other = ready()
    with pytest.raises(SealError, match="does not open"):
        channel.open(other.session.encrypt(b"\0{}"))


def test_a_repeated_seal_does_not_open():
    channel, device = ready()
    sealed = device.session.encrypt(b"\0{}")
    channel.open(sealed)
    with pytest.raises(SealError):
        channel.open(sealed)


@pytest.mark.parametrize("payload", [None, 7, {}, {"data": 7}, {"data": "!"}, {"data": "AAAA"}])
def test_a_handshake_that_is_none_is_an_error(payload):
    channel = ServerChannel("rig-1")
    Device(channel)
    with pytest.raises(SealError):
        channel.accept(payload)
    assert not channel.ready


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"version": 2}, "unsupported_version"),
        ({"version": True}, "malformed"),
        ({"version": None}, "malformed"),
        ({"suite": "25519_Rot13_SHA1"}, "unsupported_suite"),
        ({"suite": 7}, "malformed"),
        ({"client_id": "aa:bb"}, "malformed"),
        ({"client_id": "A" * 42 + "B"}, "malformed"),
        ({"client_id": "A" * 43}, "malformed"),
    ],
)
def test_a_client_init_that_cannot_be_answered_says_why_as_server_error_does(change, reason):
    payload = json.loads(device_init(Identity.generate()))["payload"] | change
    text = json.dumps({"type": "client/init", "payload": payload}).encode()
    with pytest.raises(SealError) as error:
        ServerChannel("rig-1").challenge(text)
    assert error.value.reason == reason


@given(st.binary(max_size=200))
def test_no_bytes_as_a_client_init_do_more_than_raise_a_seal_error(data):
    with pytest.raises(SealError):
        ServerChannel("rig-1").challenge(data)


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_any_payload_of_a_client_init_is_judged(value):
    assert init_wrong(value) is not None
    assert init_wrong({"version": 1, "suite": SUITES[0], "client_id": value}) is not None


def test_base64url_is_canonical_or_nothing():
    assert unb64url("AAE") == b"\0\1"
    assert unb64url("AAE", 3) is None
    for text in ("AAF", "AAE=", "A", "AA+/", "ÄÄ", 7, None):
        assert unb64url(text) is None, text
