from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.air.protocol import (
    COMMANDS,
    LONGEST_LINE,
    Drop,
    Flow,
    Request,
    SynFlood,
    decode_answer,
    decode_request,
    encode,
)


def test_a_command_comes_back_as_it_was_sent() -> None:
    request = Request(7, Drop(board="kitchen", flow=Flow(40000, 8928), share=0.2, seconds=30))
    assert decode_request(encode(request)) == request


@pytest.mark.parametrize(
    "text",
    [
        '{"id":1,"command":{"do":"shell","line":"reboot"}}',
        '{"id":1,"command":{"do":"drop","board":"b","seconds":1,"address":"8.8.8.8"}}',
        '{"id":1,"command":{"do":"drop","board":"b"}}',
        '{"id":1,"command":{"do":"drop","board":"b","seconds":3601}}',
        '{"id":1,"command":{"do":"drop","board":"b","seconds":1,"share":1.01}}',
        '{"id":1,"command":{"do":"drop","board":"../x","seconds":1}}',
        '{"id":1,"command":{"do":"capture","board":"b","seconds":1,"file":"../x.pcap"}}',
        '{"id":1,"command":{"do":"syn-flood","board":"b","port":80,"count":65,"seconds":1}}',
        '{"id":1,"command":{"do":"begin","run":"a;b","journal":"/","boards":[]}}',
        '{"id":1}',
        "[]",
        "",
        "\x00",
    ],
)
def test_what_is_not_on_the_list_or_out_of_its_bounds_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        decode_request(text.encode())


def test_a_line_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="more than"):
        decode_request(b" " * (LONGEST_LINE + 1))


def test_deep_nesting_is_refused() -> None:
    with pytest.raises(ValueError):
        decode_request(b"[" * 60_000)


def test_a_flood_is_bounded_by_its_type() -> None:
    limits = msgspec.json.schema(SynFlood)["$defs"]["SynFlood"]["properties"]
    assert limits["count"]["maximum"] == 64
    assert limits["per_second"]["maximum"] == 50


def test_every_fault_that_lasts_says_how_long() -> None:
    once = {"begin", "count", "heal", "status", "forge", "ask", "deauth"}
    lasting = [cls for cls in COMMANDS if cls.__struct_config__.tag not in once]
    assert all("seconds" in cls.__struct_fields__ for cls in lasting)
    assert len(lasting) == len(COMMANDS) - len(once)


@given(st.binary(max_size=300))
def test_noise_never_does_more_than_raise_value_error(noise: bytes) -> None:
    for decode in (decode_request, decode_answer):
        try:
            decode(noise)
        except ValueError:
            pass


_json = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner),
    max_leaves=10,
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from([cls.__struct_config__.tag for cls in COMMANDS]),
    st.dictionaries(st.sampled_from(["board", "seconds", "flow", "way", "count", "x"]), _json),
)
def test_whatever_is_decoded_is_one_of_the_list(tag: str, fields: dict[str, object]) -> None:
    line = msgspec.json.encode({"id": 1, "command": {"do": tag, **fields}})
    try:
        request = decode_request(line)
    except ValueError:
        return
    assert isinstance(request.command, COMMANDS)
