"""Whatever JSON a device sends, no check breaks over it."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.checks import all_checks
from rig.checks.stretch import Recorded, run_check
from rig.history import events as ev
from rig.protocol.names import DEVICE_MESSAGES, SERVER_MESSAGES

FIELDS = (
    "client_id",
    "client_transmitted",
    "reason",
    "player",
    "player@v1_support",
    "supported_commands",
    "device_info",
    "server_id",
    "connection_reason",
    "name",
    "version",
    "active_roles",
    "command",
    "volume",
    "roles",
)
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
    ),
    max_leaves=8,
)
PAYLOADS = JUNK | st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, JUNK))
KINDS = st.sampled_from(sorted(set().union(*DEVICE_MESSAGES.values(), *SERVER_MESSAGES.values())))
FRAMES = st.tuples(
    st.sampled_from([1, 2]), st.sampled_from(["server", "device"]), KINDS | st.none(), PAYLOADS
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(FRAMES, max_size=12))
def test_no_check_breaks_over_what_a_message_holds(frames):
    events = []
    for conn in (1, 2):
        events.append(
            ev.ConnectionOpened(
                t=conn, conn=conn, board="b", server_id=f"s{conn}", epoch_us=conn, local="", peer=""
            )
        )
        events.append(ev.UpgradeAnswered(t=conn, conn=conn, status=101))
    for t, (conn, sender, kind, payload) in enumerate(frames, 3):
        events.append(
            ev.Frame(
                t=t * 10**9,
                conn=conn,
                sender=sender,
                opcode="text" if kind else "binary",
                size=5,
                head=None if kind else "0400",
                type=kind,
                message={"type": kind, "payload": payload} if kind else None,
            )
        )
    history = Recorded(events)
    broken = {
        name: outcome.message
        for name, check in all_checks().items()
        if (outcome := run_check(check, history)).broken
    }
    assert broken == {}
