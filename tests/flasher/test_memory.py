"""What is remembered of each board's flash: what is there, what was interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_flasher.image import SECTOR
from firmware_flasher.memory import Memory, Record, Span, guess, keep, span_of
from firmware_flasher.messages import Piece

MAC = "7c:df:a1:00:00:01"


def piece(offset: int, data: bytes) -> Piece:
    return Piece("speaker.bin", offset, data)


def sectors(*values: int) -> bytes:
    return b"".join(bytes([value]) * SECTOR for value in values)


@pytest.fixture
def memory(tmp_path: Path) -> Memory:
    return Memory(tmp_path / "memory")


def test_of_a_board_never_seen_nothing_is_known(memory: Memory) -> None:
    assert memory.last(MAC) == Record()


def test_what_was_begun_is_torn_until_it_is_finished(memory: Memory) -> None:
    app = piece(0x10000, sectors(1, 2))

    memory.begin(MAC, [span_of(app)], "speaker v1")
    begun = memory.last(MAC)
    memory.finish(MAC, [span_of(app)], [keep(app)], "speaker v1")
    finished = memory.last(MAC)

    assert (begun.label, begun.torn, begun.whole) == ("speaker v1", [Span(0x10000, 8192)], [])
    assert (finished.torn, finished.whole) == ([], [keep(app)])


def test_a_place_that_stays_torn_is_not_forgotten_for_another_that_is_written(
    memory: Memory,
) -> None:
    app, nvs = piece(0x10000, sectors(1, 2)), piece(0x9000, sectors(3))
    memory.begin(MAC, [span_of(app)], "speaker v1")

    memory.begin(MAC, [span_of(nvs)], "credentials")
    memory.finish(MAC, [span_of(nvs)], [keep(nvs)], "credentials")

    assert memory.last(MAC).torn == [span_of(app)]
    assert memory.last(MAC).whole == [keep(nvs)]


def test_what_lies_where_something_else_gets_written_is_forgotten(memory: Memory) -> None:
    app, other = piece(0x10000, sectors(1, 2)), piece(0x20000, sectors(3))
    memory.finish(MAC, [], [keep(app), keep(other)], "speaker v1")

    memory.begin(MAC, [Span(0x11FFF, 1)], "something")

    assert memory.last(MAC).whole == [keep(other)]


def test_boards_are_told_apart_by_their_mac(memory: Memory) -> None:
    memory.begin(MAC, [Span(0, 4096)], "speaker v1")

    assert memory.last("7c:df:a1:00:00:02") == Record()


def test_a_mac_that_is_none_names_no_file(memory: Memory, tmp_path: Path) -> None:
    memory.begin("../../etc/x", [Span(0, 4096)], "speaker v1")

    assert memory.last("../../etc/x") == Record()
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("content", [b"", b"{", b'{"torn": 5}', b"\xff\xfe", b"null"])
def test_a_broken_record_is_no_record(memory: Memory, tmp_path: Path, content: bytes) -> None:
    memory.begin(MAC, [Span(0, 4096)], "speaker v1")
    next((tmp_path / "memory").glob("*.json")).write_bytes(content)

    assert memory.last(MAC) == Record()


def test_no_byte_of_what_was_written_is_kept(memory: Memory, tmp_path: Path) -> None:
    secret = piece(0x9000, b"wpa-passphrase-".ljust(SECTOR, b"x"))

    memory.finish(MAC, [span_of(secret)], [keep(secret)], "credentials")

    kept = b"".join(path.read_bytes() for path in (tmp_path / "memory").iterdir())
    assert b"passphrase" not in kept
    assert len(kept) < 400


def test_the_stand_in_differs_in_the_sectors_that_changed_and_in_no_other() -> None:
    old, new = piece(0x10000, sectors(1, 2, 3)), piece(0x10000, sectors(1, 9, 3) + b"more")

    stand_in = guess([keep(old)], new)

    assert stand_in is not None
    assert len(stand_in) == len(new.data)
    assert stand_in[:SECTOR] == new.data[:SECTOR]
    assert stand_in[SECTOR : 2 * SECTOR] != new.data[SECTOR : 2 * SECTOR]
    assert stand_in[2 * SECTOR : 3 * SECTOR] == new.data[2 * SECTOR : 3 * SECTOR]
    assert stand_in[3 * SECTOR :] != b"more"


@pytest.mark.parametrize(
    ("old", "why"),
    [
        (piece(0x20000, sectors(1, 2)), "another place"),
        (piece(0x10000, sectors(1, 2)), "nothing changed: the chip's MD5 decides"),
        (piece(0x10000, sectors(8, 9)), "everything changed"),
    ],
)
def test_where_a_stand_in_helps_nobody_there_is_none(old: Piece, why: str) -> None:
    assert guess([keep(old)], piece(0x10000, sectors(1, 2))) is None, why


SPANS = st.lists(
    st.builds(Span, st.integers(0, 15).map(lambda at: at * SECTOR), st.integers(1, 5 * SECTOR)),
    max_size=6,
)


@given(torn=SPANS, done=SPANS)
def test_exactly_the_sectors_that_were_not_finished_stay_torn(
    tmp_path_factory: pytest.TempPathFactory, torn: list[Span], done: list[Span]
) -> None:
    def touched(spans: list[Span]) -> set[int]:
        return {at for one in spans for at in range(one.offset // SECTOR, -(-one.end // SECTOR))}

    memory = Memory(tmp_path_factory.mktemp("memory"))
    memory.begin(MAC, torn, "")
    memory.finish(MAC, done, [], "")

    assert touched(memory.last(MAC).torn) == touched(torn) - touched(done)
