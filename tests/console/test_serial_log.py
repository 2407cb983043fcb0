"""The raw log on disk and its time stamps."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.console.serial_log import SerialLog, Stamp, index_path, log_path, read_index, time_of
from rig.errors import HistoryError


def test_every_byte_is_kept_with_the_time_it_was_read(tmp_path: Path) -> None:
    path = log_path(tmp_path, "kitchen")
    with SerialLog(path) as log:
        log.append(b"\x00\xffone", 100)
        log.append(b"two\r\n", 200)
    assert path.read_bytes() == b"\x00\xffonetwo\r\n"
    assert read_index(path) == [Stamp(0, 100), Stamp(5, 200)]


def test_an_offset_is_found_in_the_read_that_brought_it() -> None:
    stamps = [Stamp(0, 100), Stamp(5, 200), Stamp(9, 300)]
    assert [time_of(stamps, offset) for offset in (0, 4, 5, 8, 9, 99)] == [
        100,
        100,
        200,
        200,
        300,
        300,
    ]
    assert time_of([], 3) is None


def test_a_log_that_exists_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "serial-a.log"
    for t in (1, 2):
        with SerialLog(path) as log:
            log.append(b"abc", t)
    assert path.read_bytes() == b"abcabc"
    assert read_index(path) == [Stamp(0, 1), Stamp(3, 2)]


def test_a_torn_last_stamp_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "serial-a.log"
    with SerialLog(path) as log:
        log.append(b"abc", 1)
    with index_path(path).open("ab") as index:
        index.write(b"\x03\x00\x00")
    assert read_index(path) == [Stamp(0, 1)]


def test_a_boards_name_cannot_leave_the_folder(tmp_path: Path) -> None:
    assert log_path(tmp_path, "../virtual:2/x").parent == tmp_path


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match=r"serial-a\.log"):
        SerialLog(tmp_path / "file" / "serial-a.log")


def test_a_log_without_stamps_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match=r"serial-a\.log\.idx"):
        read_index(tmp_path / "serial-a.log")
