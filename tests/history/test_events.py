"""Every event type goes to disk and comes back as it was."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.history import EVENT_TYPES, Entry, Event
from rig.history.events import Frame, Unknown
from rig.history.store import decode, encode
from rig.protocol.payload import parse_message

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NUMBERS = st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
OBJECT = st.dictionaries(TEXT, JSON, max_size=3)
st.register_type_strategy(str, TEXT)
st.register_type_strategy(float, st.floats(allow_nan=False, allow_infinity=False))


WRITTEN = [cls for cls in EVENT_TYPES.values() if cls is not Unknown]
"""`Unknown` is how other rigs' events look to this one; it is never written."""


def events(cls: type[Event]) -> st.SearchStrategy[Event]:
    """Events of one type, with anything in every field that its annotation allows."""
    free = {
        name: OBJECT | st.none() if type(None) in get_args(hint) else OBJECT
        for name, hint in get_type_hints(cls).items()
        if dict[str, Any] in (hint, *get_args(hint))
    }
    return st.builds(cls, **free)


@pytest.mark.parametrize("cls", WRITTEN, ids=lambda cls: cls.tag)
@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), n=st.integers(1, 10**9))
def test_an_event_survives_the_way_to_disk_and_back(
    cls: type[Event], data: st.DataObject, n: int
) -> None:
    event = data.draw(events(cls))
    assert decode(encode(Entry(n, event))) == Entry(n, event)


@given(
    TEXT.filter(lambda text: text not in EVENT_TYPES), st.integers(), st.dictionaries(TEXT, JSON)
)
def test_an_unknown_event_keeps_all_its_fields(tag: str, t: int, fields: dict[str, Any]) -> None:
    fields = {key: value for key, value in fields.items() if key not in ("n", "event", "t")}
    line = msgspec.json.encode({"n": 3, "event": tag, "t": t, **fields})
    assert decode(line) == Entry(3, Unknown(t=t, kind=tag, fields=fields))


@given(st.binary(max_size=200))
def test_any_bytes_are_an_event_or_a_value_error(line: bytes) -> None:
    try:
        entry = decode(line)
    except (ValueError, RecursionError):
        return
    assert isinstance(entry.n, int)


@pytest.mark.parametrize(
    "payload",
    [
        b'{"a":' * 999 + b"1" + b"}" * 999,
        b'{"a":' + b"[" * 998 + b"]" * 998 + b"}",
        b'{"a":' + b"9" * 4300 + b"}",
        b'{"a":1e308}',
        b'{"\\u0000":"\\uffff"}',
    ],
)
def test_the_worst_message_a_device_may_send_can_be_read_back(payload: bytes) -> None:
    event = Frame(
        t=1, conn=1, sender="device", opcode="text", size=len(payload), **parse_message(payload)
    )
    assert decode(encode(Entry(1, event))).event == event


def test_every_event_has_a_name_of_its_own() -> None:
    assert all(cls.tag == tag for tag, cls in EVENT_TYPES.items())
    assert EVENT_TYPES["connection_opened"].__name__ == "ConnectionOpened"
