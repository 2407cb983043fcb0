"""Logs as files: the fast path reads what the slow one reads, whatever the bytes."""

from __future__ import annotations

import importlib.util
import io
import random
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.console.crash import CrashEvent, CrashReader, Finished
from rig.triage import read_log

GURU = "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled."


def load_made() -> Any:
    """The crash generator of the reader's tests."""
    path = Path(__file__).parents[1] / "console" / "crash" / "made.py"
    if "made" not in sys.modules:
        spec = importlib.util.spec_from_file_location("made", path)
        assert spec is not None
        assert spec.loader is not None
        sys.modules["made"] = module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    return sys.modules["made"]


made = load_made()


class Pipe(io.RawIOBase):
    """A file that gives a few bytes at a time, as a pipe does."""

    def __init__(self, data: bytes, size: int) -> None:
        self._data, self._at, self._size = data, 0, size

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        part = self._data[self._at : self._at + self._size]
        self._at += len(part)
        return part


def slowly(data: bytes) -> list[CrashEvent]:
    """The events of a log, every line fed to the reader."""
    reader = CrashReader()
    events: list[CrashEvent] = []
    for n, line in enumerate(data.split(b"\n")[:-1], 1):
        events += reader.feed(n, line.decode("utf-8", "replace").rstrip("\r"))
    return [*events, *reader.flush()]


QUIET = st.lists(st.sampled_from(["I (5) wifi: ok", "", "x" * 200, "D (7) app: tick"]), max_size=60)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    crashes=st.lists(st.tuples(QUIET, made.CRASHES, made.BOOTS), max_size=3),
    end=QUIET,
    size=st.sampled_from([7, 300, 5000, 1 << 18]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_skipping_what_is_quiet_changes_no_event(
    crashes: list[Any], end: list[str], size: int, newline: str
) -> None:
    lines = [line for quiet, crash, boot in crashes for line in (*quiet, *crash.lines, *boot)]
    data = newline.join([*lines, *end, ""]).encode()
    assert list(read_log(Pipe(data, size))) == slowly(data)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        f"one\ntwo\n{GURU}\n".encode(),
        f"one\r\ntwo\r\n{GURU}\r\n".encode(),
        f"one\rtwo\r{GURU}\r".encode(),
        f"one\r\r\ntwo\r\r\n{GURU}".encode(),
        b"one \xff\xfe\ntwo \xb0C\n" + GURU.encode(),
        f"one\ntwo\n{GURU}\n".encode("utf-16"),
        b"\xfe\xff" + f"one\ntwo\n{GURU}\n".encode("utf-16-be"),
        b"one\x00\x00\ntwo\n\x00" + GURU.encode() + b"\x00\n",
    ],
)
def test_every_line_end_and_encoding_gives_the_same_line(data: bytes) -> None:
    (crash,) = [e.record for e in read_log(io.BytesIO(data)) if isinstance(e, Finished)]
    assert (crash.line, crash.reason) == (3, "LoadProhibited")


@pytest.mark.parametrize("data", [b"", b"\n", b"\r", b"\x00" * 100_000, bytes(range(256)) * 1000])
def test_what_is_no_log_holds_no_crash(data: bytes) -> None:
    assert not [e for e in read_log(io.BytesIO(data)) if isinstance(e, Finished)]


def test_a_crash_after_an_endless_line_is_found_at_its_line() -> None:
    data = b"x" * 3_000_000 + b"\n" + GURU.encode() + b"\n"
    (crash,) = [e.record for e in read_log(io.BytesIO(data)) if isinstance(e, Finished)]
    assert crash.line == 2


def test_a_crash_knows_the_lines_before_it_from_the_skipped_part() -> None:
    data = "".join(f"line {n}\n" for n in range(1000)) + GURU + "\n"
    (crash,) = [e.record for e in read_log(io.BytesIO(data.encode())) if isinstance(e, Finished)]
    assert crash.before == tuple(f"line {n}" for n in range(980, 1000))


class Endless(io.RawIOBase):
    """So many copies of a text, made as they are read."""

    def __init__(self, text: bytes, copies: int) -> None:
        self._text, self._left = text, copies

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        count = min(self._left, max(1, size // len(self._text)))
        self._left -= count
        return self._text * count


def test_memory_does_not_grow_with_the_log() -> None:
    text = ("I (5) wifi: ok\n" * 200 + GURU + "\nBacktrace: 0x400d0000:0x3ffb0000\n"
            "rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\n").encode()  # fmt: skip

    def peak(copies: int) -> int:
        tracemalloc.start()
        count = sum(1 for _ in read_log(Endless(text, copies)))  # type: ignore[arg-type]
        assert count == 3 * copies
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(100)  # warm
    assert peak(3000) < 2 * peak(300) + 1_000_000


SCRAPS = [b"\n", b"\r", b"\x00", b"0x", b"(", b"Backtrace:", b"rst:0x", b"\\r\\n", "’".encode()]


def mutated(rng: random.Random, data: bytearray) -> bytes:
    """A log after a few accidents: bytes changed, lost, doubled, lines torn and swapped."""
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.randint(1, 200))
        match rng.randrange(6):
            case 0:
                data[at:end] = b""
            case 1:
                data[at:at] = data[at:end]
            case 2:
                data[at:end] = rng.randbytes(end - at)
            case 3:
                data[at:at] = rng.choice(
                    [b"\n", b"\r", b"\x00", b"0x", b"(", b"Backtrace:", b"rst:0x"]
                )
            case 4:
                other = rng.randrange(len(data) + 1)
                data[at:at] = data[other : other + 80]
            case _:
                data[at:end] = data[at:end].swapcase()
    return bytes(data)


def survive(count: int, seed: int) -> None:
    rng = random.Random(seed)
    corpus = [made_log(n) for n in range(40)]
    for _ in range(count):
        data = mutated(rng, bytearray(rng.choice(corpus)))
        began = finished = 0
        for event in read_log(io.BytesIO(data)):
            if isinstance(event, Finished):
                finished += 1
                assert event.record.kinds
                assert len(event.record.text) <= 4096
            began += type(event).__name__ == "Began"
        assert began == finished


def made_log(seed: int) -> bytes:
    """A log with a crash of one of the generator's forms, the same for the same seed."""
    from hypothesis import Phase

    found: list[Any] = []

    @settings(max_examples=seed % 7 + 2, phases=[Phase.generate], database=None, derandomize=True,
              deadline=None, suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(crash=made.CRASHES, boot=made.BOOTS, before=made.LOGS)
    def keep(crash: Any, boot: list[str], before: list[str]) -> None:
        found.append("\n".join([*boot, *before, *crash.lines, *boot, ""]).encode())

    keep()
    return found[seed % len(found)]


@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_known_without_its_mark(code: str) -> None:
    log = f"I (3) app: ready\r\n{GURU}\r\n".encode(code)
    (crash,) = [e.record for e in read_log(io.BytesIO(log)) if isinstance(e, Finished)]
    assert (crash.line, crash.reason) == (2, "LoadProhibited")


def test_spaces_as_web_pages_keep_them_are_spaces() -> None:
    log = "abort()\xa0was\xa0called\xa0at PC 0x400d1234\xa0on core\xa00\n".encode()
    (crash,) = [e.record for e in read_log(io.BytesIO(log)) if isinstance(e, Finished)]
    assert (crash.kind, crash.pc, crash.core) == ("abort", "0x400d1234", 0)


def test_mutated_logs_raise_nothing() -> None:
    survive(1500, seed=1)


def test_long_lines_are_not_remembered() -> None:
    from rig.console.crash import bodies, boots, heads, prepare, reader, text

    def kept() -> int:
        """Lines held in caches that hold thousands."""
        caches = [
            found
            for module in (bodies, boots, heads, prepare, reader, text)
            for found in vars(module).values()
            if hasattr(found, "cache_info") and found.cache_info().maxsize > 1024
        ]
        assert caches
        return sum(cache.cache_info().currsize for cache in caches)

    before = kept()
    for number in range(20):
        words = f"n{number}" * 1500
        log = f"{words}\nGuru Meditation Error: Core  0 panic'ed ({words}). \nrst:0xc ({words})\n"
        for _ in read_log(io.BytesIO(log.encode())):
            pass
    assert kept() == before


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_million_mutated_logs_raise_nothing_and_memory_stays_flat() -> None:
    survive(2000, seed=2)
    tracemalloc.start()
    survive(2000, seed=3)
    _, early = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    survive(994_000, seed=4)
    tracemalloc.start()
    survive(2000, seed=5)
    _, late = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert late < 2 * early + 1_000_000
