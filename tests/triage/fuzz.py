"""Mutated logs, from bytes to JSON: no exception, whole crashes. Anew with every run.

    python tests/triage/fuzz.py [--count 20000] [--seed N] [--minutes 9] [--seen FILE]
    python tests/triage/fuzz.py --seed N --only 4711      # one input of a run again

Input n of seed s is made from s and n alone. What fails is written to a file, and named. `--seen`
keeps the hashes of all inputs so far, so that several runs tell how many distinct ones they were.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import io
import random
import sys
import tempfile
import time
import traceback
from array import array
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings

from rig.console.crash import Began, Finished
from rig.triage import Decoder, read_log, signature
from rig.triage.jsonl import crash_fields
from rig.triage.session import Triaged

SCRAPS = [
    b"\n", b"\r", b"\x00", b"0x", b"(", b"Backtrace:", b"rst:0x", b"\\r\\n", "’".encode(), b"b'",
    b'{"log":"', b"\x1b[0;31m", b"&#xD800;", b"\xff\xfe", b"CORE DUMP START =",
    b"Guru Meditation Error: ", b"assert failed: ", b"abort() was called at PC ", b"\xa0",
    b"<br>", b"%s", b"`",
]  # fmt: skip
LABELLED = Path(__file__).parents[3] / "shared" / "crash-logs"


class InputFailed(Exception):
    """An input that failed: which, and where it was kept."""


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


@cache
def corpus() -> list[bytes]:
    """What is mutated: made logs of every form, and the labelled ones where they are."""
    found: list[bytes] = []
    made = load_made()

    @settings(max_examples=120, phases=[Phase.generate], database=None, derandomize=True,
              deadline=None, suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(crash=made.CRASHES, boot=made.BOOTS, before=made.LOGS)
    def keep(crash: Any, boot: list[str], before: list[str]) -> None:
        found.append("\n".join([*boot, *before, *crash.lines, *boot, ""]).encode())

    keep()
    labelled = [path.read_bytes() for path in sorted(LABELLED.glob("*.log"))]
    return [*found, *(data for data in labelled if len(data) < 8192)]


def mutated(seed: int, number: int) -> bytes:
    """A log after a few accidents: bytes changed, lost, doubled, lines torn, swapped and mixed."""
    rng = random.Random(f"{seed}:{number}")
    logs = corpus()
    data = bytearray(rng.choice(logs))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.randint(1, 200))
        match rng.randrange(8):
            case 0:
                data[at:end] = b""
            case 1:
                data[at:at] = data[at:end]
            case 2:
                data[at:end] = rng.randbytes(end - at)
            case 3:
                data[at:at] = rng.choice(SCRAPS)
            case 4:
                other = rng.randrange(len(data) + 1)
                data[at:at] = data[other : other + 80]
            case 5:
                other_log = rng.choice(logs)
                other = rng.randrange(len(other_log) + 1)
                data[at:end] = other_log[other : other + 200]
            case 6:
                data[at:at] = rng.choice(SCRAPS)
                data[end:end] = rng.choice(SCRAPS)
            case _:
                data[at:end] = data[at:end].swapcase()
    return bytes(data)


def check(data: bytes, decoder: Decoder) -> None:
    """Read, decode, sign and write one input. Raises what goes wrong."""
    began = finished = 0
    for event in read_log(io.BytesIO(data)):
        if isinstance(event, Finished):
            finished += 1
            assert event.record.kinds
            assert len(event.record.text) <= 4096
            crash = decoder.decode(event.record)
            msgspec.json.encode(crash_fields(Triaged(crash, signature(crash))))
        began += isinstance(event, Began)
    assert began == finished


def survive(count: int, seed: int, *, first: int = 0) -> Iterator[bytes]:
    """Check `count` inputs and give each back. Raises `InputFailed`, which names its file."""
    decoder = Decoder()
    for number in range(first, first + count):
        data = mutated(seed, number)
        try:
            check(data, decoder)
        except Exception as error:
            kept = Path(tempfile.gettempdir()) / f"rig-fuzz-{seed}-{number}.log"
            kept.write_bytes(data)
            raise InputFailed(
                f"seed {seed}, input {number}: {error!r}; kept in {kept}\n"
                f"again: python {Path(__file__).name} --seed {seed} --only {number}"
            ) from error
        yield data


def main() -> int:
    """One run for people."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    parser.add_argument("--only", type=int, help="the number of one input")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--seen", type=Path, help="a file of hashes, made or added to")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)  # noqa: T201 (a program of its own)
    count, first = (1, options.only) if options.only is not None else (options.count, 0)
    hashes = array(
        "Q", options.seen.read_bytes() if options.seen and options.seen.exists() else b""
    )
    seen, ran = set(hashes), 0
    end = time.monotonic() + 60 * options.minutes
    failed = 0
    try:
        for data in survive(count, options.seed, first=first):
            ran += 1
            seen.add(int.from_bytes(hashlib.blake2b(data, digest_size=8).digest()))
            if time.monotonic() > end:
                break
    except InputFailed:
        traceback.print_exc()
        failed = 1
    if options.seen:
        options.seen.write_bytes(array("Q", seen).tobytes())
    print(f"{ran} inputs, {len(seen)} distinct in all, {failed} failed")  # noqa: T201
    return failed


if __name__ == "__main__":
    sys.exit(main())
