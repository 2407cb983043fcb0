"""Plain and async tests on the board under test, as a user of the plug-in writes them."""

import pytest

from rig.checks import Verdict

pytestmark = pytest.mark.hil


def test_a_connection_is_greeted(server, history):
    connection = server.connect()
    assert connection.upgrade() == 101
    hello = connection.wait_hello(5.0)
    assert hello is not None
    assert hello.message["payload"]["client_id"]
    assert history.check("opening_first").verdict is Verdict.PASS


async def test_a_ping_is_answered_with_its_own_payload(server, history):
    connection = await server.connect()
    assert await connection.upgrade() == 101
    assert await connection.wait_hello(5.0) is not None
    connection.ping(b"rig")
    pong = await connection.expect_frame("pong", 2.0)
    assert pong is not None
    assert pong.head == b"rig".hex()
