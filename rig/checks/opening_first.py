"""Hello-first, on the wire: nothing before the upgrade answer, the opening message before all."""

from rig.checks.connections import GOODBYE, OPENINGS, Conversation, conversations, words
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, failed, inconclusive, passed
from rig.history.events import EarlyBytes, Frame


@check(
    "opening_first",
    title="the device's first message is its opening message, or a goodbye alone",
    source="invariant 1: Sendspin spec, Communication; sendspin-cpp #60",
)
def opening_first(history: Judged) -> Outcome:
    """On every upgraded connection: client/hello (noise: client/init) before any other data."""
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for talk in conversations(history):
        if talk.upgraded is None or talk.first is None:
            continue
        judged += 1
        frame = talk.first.event
        kind = frame.type if isinstance(frame, Frame) else None
        if kind in OPENINGS:
            continue
        if kind == GOODBYE:
            later = talk.after_goodbye
            if later is None or (isinstance(later.event, Frame) and later.event.type == GOODBYE):
                continue  # said again, as where two refusals meet on one socket: not an opening
            message = f"connection {talk.conn}: a goodbye first, then {words(later)}"
            broken.append((message, (talk.upgraded, talk.first.n, later.n)))
        else:
            message = f"connection {talk.conn}: the first frame was {words(talk.first)}"
            broken.append((message, (talk.upgraded, talk.first.n)))
    if broken:
        message, evidence = broken[0]
        return failed(message, *evidence, findings=len(broken))
    if not judged:
        return inconclusive("no upgraded connection carried a message from the device")
    return passed(f"{judged} connections, each opened properly")


def _stray(talk: Conversation) -> tuple[str, tuple[int, ...]] | None:
    first = talk.early[0]
    event = first.event
    surplus_refused = (
        isinstance(event, EarlyBytes)
        and event.type == GOODBYE
        and len(talk.early) == 1
        and talk.device_data == 0  # the 101 may still follow, a message may not
    )
    if surplus_refused:
        return None
    message = f"connection {talk.conn}: {words(first)} came before the upgrade was answered"
    return message, tuple(entry.n for entry in talk.early)


@check(
    "nothing_before_upgrade",
    title="the device says nothing on a connection before its upgrade answer",
    source="RFC 6455 section 4.2.2; sendspin-cpp #57, #79. The lone goodbye that refuses a surplus "
    "peer is allowed (esp-http-server facts)",
)
def nothing_before_upgrade(history: Judged) -> Outcome:
    """No byte from the device ahead of its HTTP answer, but a lone goodbye that refuses a peer."""
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for talk in conversations(history):
        judged += talk.upgraded is not None or bool(talk.early)
        if talk.early and (stray := _stray(talk)) is not None:
            broken.append(stray)
    if broken:
        message, evidence = broken[0]
        return failed(message, *evidence, findings=len(broken))
    if not judged:
        return inconclusive("no connection got as far as an upgrade")
    return passed(f"{judged} connections, none spoken to early")
