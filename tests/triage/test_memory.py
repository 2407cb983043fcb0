"""The crash database: counts once, many writers, marks, regressions, clear words when broken."""

from __future__ import annotations

import multiprocessing
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from rig.errors import BenchError, RigError
from rig.history.crash import CrashRecord
from rig.triage import DecodedCrash, Frame, Memory, remember
from rig.triage import memory as memory_module
from rig.triage.identity import holds_fix, log_identity, occurrence_key


def crash(function: str = "foo", line: int = 1, **fields: object) -> DecodedCrash:
    record = CrashRecord(kind="panic", line=line, reason="LoadProhibited", text=("Guru", function))
    return DecodedCrash(
        replace(record, **fields),  # type: ignore[arg-type]
        (Frame("0x400d1234", function, "a.c", 7),),
    )


def test_the_same_crash_of_the_same_log_counts_once() -> None:
    with Memory() as memory:
        first = memory.remember(crash(), source="a.log", log="x")
        again = memory.remember(crash(), source="copy.log", log="x")
    assert (first.new_bucket, first.repeated, first.count) == (True, False, 1)
    assert (again.new_bucket, again.repeated, again.count) == (False, True, 1)


def test_the_same_text_in_another_log_or_at_another_line_counts_again() -> None:
    with Memory() as memory:
        memory.remember(crash(), source="a.log", log="x")
        memory.remember(crash(line=90), source="a.log", log="x")
        assert memory.remember(crash(), source="b.log", log="y").count == 3


def test_another_function_is_another_bucket() -> None:
    with Memory() as memory:
        one = memory.remember(crash("foo"), source="a", log="x")
        two = memory.remember(crash("bar", line=2), source="a", log="x")
        assert one.bucket != two.bucket
        assert len(memory.buckets()) == 2


def test_memory_lasts() -> None:
    remember(crash(firmware="v0.6.1"), source="run 7", log="7", board="desk")
    with Memory() as memory:
        (bucket,) = memory.buckets()
        (seen,) = memory.occurrences(bucket.id)
    assert bucket.firmwares == ("v0.6.1",)
    assert bucket.boards == ("desk",)
    assert seen.record == crash(firmware="v0.6.1").record
    assert seen.frames == ("0x400d1234 foo at a.c:7",)


def test_a_fixed_crash_that_comes_back_is_a_regression() -> None:
    with Memory() as memory:
        bucket = memory.remember(crash(firmware="v0.6.1"), source="a", log="a").bucket
        memory.mark(bucket, "fixed", fixed_in="v0.6.2")
        old = memory.remember(crash(firmware="v0.6.1"), source="b", log="b")
        back = memory.remember(crash(firmware="v0.7.0"), source="c", log="c")
        assert (old.regression, back.regression) == (False, True)
        assert memory.buckets()[0].regressions == 1


def test_a_mark_on_no_bucket_is_refused() -> None:
    with Memory() as memory, pytest.raises(BenchError, match="no crash bucket 99"):
        memory.mark(99, "known")


def test_a_crash_decoded_better_later_moves_and_counts_once() -> None:
    plain = DecodedCrash(crash().record)
    with Memory() as memory:
        first = memory.remember(plain, source="a", log="x")
        later = memory.remember(crash(), source="a", log="x")
        assert first.signature != later.signature
        assert [(b.signature, b.count) for b in memory.buckets()] == [(later.signature, 1)]


def test_a_crash_read_again_without_its_elf_stays_where_it_was() -> None:
    with Memory() as memory:
        first = memory.remember(crash(), source="a", log="x")
        later = memory.remember(DecodedCrash(crash().record), source="a", log="x")
        assert (later.bucket, later.signature, later.repeated) == (
            first.bucket,
            first.signature,
            True,
        )
        assert [(b.signature, b.count) for b in memory.buckets()] == [(first.signature, 1)]


def test_a_database_from_before_core_dumps_is_brought_up_to_date(home: Path) -> None:
    home.mkdir()
    with sqlite3.connect(home / "crashes.sqlite") as old:
        old.executescript(memory_module._MIGRATIONS[0])
        old.execute("PRAGMA user_version = 1")
        old.execute("INSERT INTO bucket(signature, kind) VALUES ('bad load | f', 'panic')")
        old.execute(
            "INSERT INTO occurrence(bucket, key, seen, source, line, frames, record)"
            " VALUES (1, 'k', 1.0, 'a.log', 3, '[]', '{\"kind\": \"panic\", \"line\": 3}')"
        )
    with Memory() as memory:
        (occurrence,) = memory.occurrences(1)
    assert (occurrence.record.line, occurrence.tasks) == (3, ())


def test_buckets_are_chosen_by_time_and_firmware() -> None:
    with Memory() as memory:
        memory.remember(crash("old", firmware="v0.5.0"), source="a", log="a", seen=1000.0)
        memory.remember(crash("new", firmware="v0.6.1"), source="b", log="b", seen=2000.0)
        assert [b.signature for b in memory.buckets(since=1500)] == ["bad load | new"]
        assert [b.signature for b in memory.buckets(firmware="v0.5")] == ["bad load | old"]
        assert memory.buckets(firmware="v9") == []


def test_crashes_remembered_together_are_all_kept_or_none() -> None:
    def interrupted(memory: Memory) -> None:
        with memory.together():
            memory.remember(crash(), source="a", log="x")
            raise KeyboardInterrupt

    with Memory() as memory:
        with pytest.raises(KeyboardInterrupt):
            interrupted(memory)
        assert memory.buckets() == []


def write(number: int) -> None:
    """A writer of its own process: 20 crashes of two kinds."""
    with Memory() as memory:
        for n in range(20):
            memory.remember(crash(f"f{n % 2}", line=n), source=str(number), log=str(number))


def test_ctrl_c_just_after_all_was_stored_stays_ctrl_c(home: Path) -> None:
    with Memory() as memory:

        def interrupted() -> None:
            with memory.together():
                memory.remember(crash(), source="a.log", log="x")
                memory._db.execute("COMMIT")
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert [bucket.count for bucket in memory.buckets()] == [1]


def test_a_kind_that_is_stored_and_read_again_is_counted_right() -> None:
    lines = [1, 2, 3, 2, 1, 4]
    with Memory() as memory, memory.together():
        told = [memory.remember(crash(line=line), source="a", log="x") for line in lines]
    assert [known.count for known in told] == [1, 2, 3, 3, 3, 4]
    assert [known.repeated for known in told] == [False, False, False, True, True, False]


def test_many_writers_lose_nothing() -> None:
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        pool.map(write, range(3))
    with Memory() as memory:
        assert sorted(bucket.count for bucket in memory.buckets()) == [30, 30]


def test_a_locked_database_says_so(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "BUSY", 0.01)
    with Memory() as memory:
        other = sqlite3.connect(memory.path, isolation_level=None)
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RigError, match="is locked by another process"):
            memory.remember(crash(), source="a", log="x")
        other.close()


def test_a_broken_database_says_what_to_do(home: Path) -> None:
    home.mkdir(parents=True)
    (home / "crashes.sqlite").write_bytes(b"no database at all " * 100)
    with pytest.raises(RigError, match="is broken") as caught:
        Memory()
    assert "mv " in str(caught.value)


def test_a_database_of_a_newer_rig_is_left_alone(home: Path) -> None:
    with Memory() as memory:
        sqlite3.connect(memory.path).execute("PRAGMA user_version = 99").connection.close()
    with pytest.raises(RigError, match="version 99"):
        Memory()


def test_a_database_where_none_can_be_made_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SENDSPIN_RIG_HOME", str(tmp_path / "file"))
    with pytest.raises(RigError, match="cannot use the crash database"):
        Memory()


def test_the_journal_is_write_ahead(home: Path) -> None:
    with Memory() as memory:
        mode = sqlite3.connect(memory.path).execute("PRAGMA journal_mode").fetchone()
    assert mode == ("wal",)


@pytest.mark.parametrize(
    ("firmware", "fixed_in", "holds"),
    [
        ("v0.6.1", "v0.6.2", False),
        ("v0.6.2", "v0.6.2", True),
        ("0.10.0", "v0.9", True),
        ("v0.6.2-3-gabcdef", "v0.6.2", True),
        ("v0.6.1-dirty", "v0.6.2", False),
        (None, "v0.6.2", True),
        ("v0.6.1", None, True),
        ("main", "v0.6.2", True),
    ],
)
def test_whether_a_firmware_should_hold_a_fix(
    firmware: str | None, fixed_in: str | None, holds: bool
) -> None:
    assert holds_fix(firmware, fixed_in) is holds


def test_a_log_that_grows_stays_the_same_log() -> None:
    head = b"x" * 5000
    assert log_identity(head) == log_identity(head + b"more")
    assert occurrence_key(crash().record, "a") != occurrence_key(crash().record, "b")
