"""Logs as files: the fast path reads what the slow one reads, whatever the bytes."""

from __future__ import annotations

import importlib.util
import io
import random
import sys
import tempfile
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.console.crash import CrashEvent, CrashReader, Finished
from rig.triage import read_log

GURU = "Guru Meditation Error: Core  0 panic'ed (LoadProhibited). Exception was unhandled."


def load(name: str) -> Any:
    """A module beside this file (tests are no package)."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = load("fuzz")
made = fuzz.load_made()


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


@pytest.mark.parametrize("code", ["utf-16-le", "utf-16-be"])
def test_utf_16_is_known_without_its_mark(code: str) -> None:
    log = f"I (3) app: ready\r\n{GURU}\r\n".encode(code)
    (crash,) = [e.record for e in read_log(io.BytesIO(log)) if isinstance(e, Finished)]
    assert (crash.line, crash.reason) == (2, "LoadProhibited")


@pytest.mark.parametrize("end", ["\n", ""])
def test_spaces_as_web_pages_keep_them_are_spaces(end: str) -> None:
    log = f"abort()\xa0was\xa0called\xa0at PC 0x400d1234\xa0on core\xa00{end}".encode()
    (crash,) = [e.record for e in read_log(io.BytesIO(log)) if isinstance(e, Finished)]
    assert (crash.kind, crash.pc, crash.core) == ("abort", "0x400d1234", 0)


def survive(count: int, seed: int) -> None:
    for _ in fuzz.survive(count, seed):
        pass


def test_mutated_logs_raise_nothing() -> None:
    survive(1500, seed=1)


def test_an_input_that_fails_is_kept_and_named_and_comes_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = fuzz.mutated(7, 3)

    def check(data: bytes, _decoder: object) -> None:
        assert data != bad

    monkeypatch.setattr(fuzz, "check", check)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(fuzz.InputFailed, match="--seed 7 --only 3"):
        survive(10, seed=7)
    assert (tmp_path / "rig-fuzz-7-3.log").read_bytes() == bad
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--seed", "7", "--only", "3"])
    assert fuzz.main() == 1
    monkeypatch.setattr(sys, "argv", ["fuzz.py", "--seed", "7", "--only", "4"])
    assert fuzz.main() == 0
    assert "1 inputs, 1 distinct" in capsys.readouterr().out


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
    # Another million with each run; what fails names its seed.
    seed = random.SystemRandom().getrandbits(32)

    def traced(number: int) -> int:
        tracemalloc.start()
        survive(2000, seed + number)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    survive(2000, seed)
    early = traced(1)
    survive(994_000, seed + 2)
    assert traced(3) < 2 * early + 1_000_000, f"seed {seed}"
