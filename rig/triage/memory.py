"""The crashes known so far: buckets by signature in one SQLite file.

Many writers at once (`rig run`, pytest workers, `rig triage`): the journal is write-ahead, and
what belongs together is stored in one transaction. The same crash of the same log is stored once,
however often that log is read. The schema migrates by `PRAGMA user_version`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from rig.errors import BenchError, RigError
from rig.history.crash import CrashRecord
from rig.triage.buckets import Bucket, Mark, Occurrence, Remembered
from rig.triage.decode import DecodedCrash, TaskStack
from rig.triage.home import database
from rig.triage.identity import holds_fix, occurrence_key
from rig.triage.signature import signature

BUSY = 10.0
"""Seconds to wait for another writer."""

_MIGRATIONS = (
    """
    CREATE TABLE bucket (
        id INTEGER PRIMARY KEY,
        signature TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        mark TEXT NOT NULL DEFAULT 'new',
        fixed_in TEXT,
        note TEXT,
        marked_at REAL
    );
    CREATE TABLE occurrence (
        id INTEGER PRIMARY KEY,
        bucket INTEGER NOT NULL REFERENCES bucket(id) ON DELETE CASCADE,
        key TEXT NOT NULL UNIQUE,
        seen REAL NOT NULL,
        source TEXT NOT NULL,
        line INTEGER NOT NULL,
        firmware TEXT,
        board TEXT,
        elf TEXT,
        regression INTEGER NOT NULL DEFAULT 0,
        frames TEXT NOT NULL,
        record TEXT NOT NULL
    );
    CREATE INDEX occurrence_bucket ON occurrence(bucket, seen);
    """,
    """
    ALTER TABLE occurrence ADD COLUMN tasks TEXT NOT NULL DEFAULT '[]';
    """,
)
"""By version: what brings a database from version n to n + 1. Never change one; add one."""


class Memory:
    """The crash database. A context manager; make one for each thread.

    Raises `RigError` (with what to do) when it is locked, broken, or newer than this rig.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path or database()
        # What a transaction has seen: nobody else writes while it lasts.
        self._buckets: dict[str, sqlite3.Row] = {}
        self._counts: dict[int, int] = {}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None)
            self._db.row_factory = sqlite3.Row
        except (OSError, sqlite3.Error) as error:
            raise self._trouble(error) from error
        try:
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._db.execute("PRAGMA foreign_keys = ON")
            self._migrate()
        except sqlite3.Error as error:
            self._db.close()
            raise self._trouble(error) from error
        except RigError:
            self._db.close()
            raise

    def _migrate(self) -> None:
        version = self._version()
        if version > len(_MIGRATIONS):
            raise RigError(
                f"{self.path} is of version {version}, this rig knows {len(_MIGRATIONS)}",
                hint="a newer rig wrote it: update this one, or set SENDSPIN_RIG_HOME elsewhere",
            )
        if version == len(_MIGRATIONS):
            return
        self._db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have migrated it while this one waited for the lock.
            for number in range(self._version(), len(_MIGRATIONS)):
                for statement in _MIGRATIONS[number].split(";"):
                    if statement.strip():
                        self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number + 1}")
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self._db.execute("ROLLBACK")
            raise

    def _version(self) -> int:
        return int(self._db.execute("PRAGMA user_version").fetchone()[0])

    def _trouble(self, error: Exception) -> RigError:
        text = str(error)
        if "locked" in text or "busy" in text:
            return RigError(
                f"the crash database {self.path} is locked by another process",
                hint="wait for it, or end it: nothing was stored for this crash",
            )
        if "malformed" in text or "not a database" in text:
            return RigError(
                f"the crash database {self.path} is broken: {text}",
                hint=f"move it away (mv {self.path} {self.path}.broken): a new one is made",
            )
        return RigError(
            f"cannot use the crash database {self.path}: {text}",
            hint="set SENDSPIN_RIG_HOME to a folder that you may write to",
        )

    def remember(
        self,
        crash: DecodedCrash,
        *,
        source: str,
        log: str = "",
        board: str | None = None,
        firmware: str | None = None,
        seen: float | None = None,
        name: str | None = None,
    ) -> Remembered:
        """Store a crash; storing it again changes nothing.

        `source` is for people: a file's name, a run. `log` identifies the log (a run's id, a hash
        of a file's beginning): the crash with the same text at the same line of the same log is
        the same crash. `seen` is in seconds since the epoch, now by default; `name` is the crash's
        signature where it is known already.
        """
        record = crash.record
        name = name or signature(crash)
        firmware = firmware or record.firmware
        at = time.time() if seen is None else seen
        key = occurrence_key(record, log)
        with self.together():
            return self._store(crash, name, source, key, board, firmware, at)

    @contextmanager
    def together(self) -> Iterator[None]:
        """One transaction around many `remember` calls: all are stored, or none."""
        if self._db.in_transaction:
            yield
            return
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._buckets.clear()
            self._counts.clear()
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                # Ctrl-C may come when it has been committed.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self._trouble(error) from error

    def _store(
        self,
        crash: DecodedCrash,
        name: str,
        source: str,
        key: str,
        board: str | None,
        firmware: str | None,
        at: float,
    ) -> Remembered:
        frames = [str(frame) for frame in crash.frames]
        known = self._buckets.get(name)
        if known is not None:
            # Most crashes of a log are one of few kinds, and new: one statement.
            back = self._insert(known, crash, frames, source, key, board, firmware, at)
            if back is not None:
                return self._remembered(known, back=back)
        old = self._db.execute(
            "SELECT b.*, o.id AS occurrence, o.regression, o.frames FROM occurrence o"
            " JOIN bucket b ON b.id = o.bucket WHERE o.key = ?",
            (key,),
        ).fetchone()
        if old is not None and (
            old["signature"] == name
            or known_functions(frames) < known_functions(msgspec.json.decode(old["frames"]))
        ):
            # The second time without its ELF: what was known of it stays.
            return self._remembered(old, back=bool(old["regression"]), repeated=True)
        bucket = known
        made = 0
        if bucket is None:
            made = self._db.execute(
                "INSERT INTO bucket(signature, kind) VALUES (?, ?) ON CONFLICT DO NOTHING",
                (name, crash.record.kind),
            ).rowcount
            row = self._db.execute("SELECT * FROM bucket WHERE signature = ?", (name,)).fetchone()
            bucket = self._buckets[name] = row
        if old is not None:
            # Decoded better than last time (its ELF came): it moves, it is not counted twice.
            self._db.execute("DELETE FROM occurrence WHERE id = ?", (old["occurrence"],))
            if not self._count(old["id"]) and old["mark"] == "new":
                self._db.execute("DELETE FROM bucket WHERE id = ?", (old["id"],))
                self._buckets.pop(old["signature"], None)
            self._counts.clear()
        back = bool(self._insert(bucket, crash, frames, source, key, board, firmware, at))
        return self._remembered(bucket, back=back, made=bool(made))

    def _insert(
        self,
        bucket: sqlite3.Row,
        crash: DecodedCrash,
        frames: Sequence[str],
        source: str,
        key: str,
        board: str | None,
        firmware: str | None,
        at: float,
    ) -> bool | None:
        """Store an occurrence: whether it is a regression, or None where it is known already."""
        record = crash.record
        back = bucket["mark"] == "fixed" and holds_fix(firmware, bucket["fixed_in"])
        kept = replace(record, core_dump=()) if record.core_dump else record
        stored = self._db.execute(
            "INSERT INTO occurrence(bucket, key, seen, source, line, firmware, board, elf,"
            " regression, frames, record, tasks) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
            " ON CONFLICT(key) DO NOTHING",
            (
                bucket["id"], key, at, source, record.line, firmware, board, record.elf_sha256,
                int(back), msgspec.json.encode(frames).decode(),
                msgspec.json.encode(kept).decode(),
                msgspec.json.encode(crash.tasks).decode() if crash.tasks else "[]",
            ),
        ).rowcount  # fmt: skip
        return back if stored else None

    def _remembered(
        self, bucket: sqlite3.Row, *, back: bool, made: bool = False, repeated: bool = False
    ) -> Remembered:
        number = bucket["id"]
        count = self._counts.get(number)
        count = self._count(number) if count is None else count + (not repeated)
        self._counts[number] = count
        return Remembered(number, bucket["signature"], made, repeated, bucket["mark"], back, count)

    def _count(self, bucket: int) -> int:
        row = self._db.execute("SELECT count(*) FROM occurrence WHERE bucket = ?", (bucket,))
        return int(row.fetchone()[0])

    def buckets(
        self,
        *,
        since: float | None = None,
        firmware: str | None = None,
        bucket: int | None = None,
    ) -> list[Bucket]:
        """Buckets, the newest first: with a crash after `since` (seconds since the epoch), of a
        firmware whose version begins with `firmware`, or the one with number `bucket`.
        """
        try:
            rows = self._db.execute(
                "SELECT b.*, count(*) AS count, min(o.seen) AS first, max(o.seen) AS last,"
                " sum(o.regression) AS regressions,"
                " json_group_array(DISTINCT o.firmware) AS firmwares,"
                " json_group_array(DISTINCT o.board) AS boards"
                " FROM bucket b JOIN occurrence o ON o.bucket = b.id"
                " WHERE (:bucket IS NULL OR b.id = :bucket) GROUP BY b.id"
                " HAVING (:since IS NULL OR max(o.seen) >= :since)"
                " AND (:firmware IS NULL"
                " OR sum(substr(o.firmware, 1, length(:firmware)) = :firmware))"
                " ORDER BY last DESC, b.id DESC",
                {"bucket": bucket, "since": since, "firmware": firmware},
            ).fetchall()
        except sqlite3.Error as error:
            raise self._trouble(error) from error
        return [
            Bucket(
                row["id"], row["signature"], row["kind"], row["mark"], row["fixed_in"], row["note"],
                row["count"], row["first"], row["last"], _names(row["firmwares"]),
                _names(row["boards"]), row["regressions"],
            )
            for row in rows
        ]  # fmt: skip

    def occurrences(self, bucket: int, *, limit: int = 1000) -> list[Occurrence]:
        """The crashes of a bucket, the newest first."""
        try:
            rows = self._db.execute(
                "SELECT * FROM occurrence WHERE bucket = ? ORDER BY seen DESC, id DESC LIMIT ?",
                (bucket, limit),
            ).fetchall()
        except sqlite3.Error as error:
            raise self._trouble(error) from error
        return [
            Occurrence(
                row["id"], row["seen"], row["source"], row["line"], row["firmware"], row["board"],
                row["elf"], bool(row["regression"]),
                tuple(msgspec.json.decode(row["frames"], type=list[str])),
                msgspec.json.decode(row["record"], type=CrashRecord),
                tuple(msgspec.json.decode(row["tasks"], type=list[TaskStack])),
            )
            for row in rows
        ]  # fmt: skip

    def mark(
        self, bucket: int, mark: Mark, *, fixed_in: str | None = None, note: str | None = None
    ) -> None:
        """Mark a bucket known, expected or fixed (since which firmware), or new again.

        Raises `BenchError` when there is no such bucket.
        """
        try:
            changed = self._db.execute(
                "UPDATE bucket SET mark = ?, fixed_in = ?, note = coalesce(?, note), marked_at = ?"
                " WHERE id = ?",
                (mark, fixed_in, note, time.time(), bucket),
            ).rowcount
        except sqlite3.Error as error:
            raise self._trouble(error) from error
        if not changed:
            raise BenchError(
                f"there is no crash bucket {bucket}", hint="`rig crashes` lists those there are"
            )

    def close(self) -> None:
        """Close the file; idempotent."""
        self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _value: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def remember(
    crash: DecodedCrash,
    *,
    source: str,
    log: str = "",
    board: str | None = None,
    firmware: str | None = None,
) -> Remembered:
    """Store one crash in the user's crash database. See `Memory.remember`."""
    with Memory() as memory:
        return memory.remember(crash, source=source, log=log, board=board, firmware=firmware)


def known_functions(frames: Iterable[str]) -> int:
    """How many of some frames, as they are stored, name a function."""
    return sum(" " in frame and not frame.endswith(" ?") for frame in frames)


def _names(array: str) -> tuple[str, ...]:
    return tuple(sorted(name for name in msgspec.json.decode(array, type=list[str | None]) if name))
