"""How fast logs are triaged, against a bare regex loop over the same bytes in the same run.

    python benchmarks/triage_throughput.py [--megabytes 64] [--whole]

Prints MB/s of CPU time on one core for each kind of log, and how many times longer than the bare
loop that is; fails (exit 1) when any but `varied` is below 20 MB/s. With `--whole` it also writes
1 GB of `mix` in four files and times `rig triage` on it as a user would (wall clock, a process of
its own, remembered in a database of its own); fails above 30 s.

* `quiet`: a log without a crash
* `mix`: a panic with its registers, its backtrace and the boot after it every 2,000 lines
* `loop`: nothing but panics and boots, as a boot loop prints them
* `stack`: the same on RISC-V, with the stack memory that its panics print
* `varied`: `loop` with every address drawn anew, so that no line comes twice (no board prints that:
  it shows what a line costs that was never seen)
"""

from __future__ import annotations

import argparse
import io
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from rig.console.crash import Finished
from rig.triage import read_log

KINDS = ("quiet", "mix", "loop", "stack", "varied")
WANTED_MB_S = 20.0
WANTED_SECONDS = 30.0
ROUNDS = 7

LINE = re.compile(rb"Guru Meditation|abort\(\) was called|assert failed|Backtrace:|rst:0x")
QUIET = [
    "[12:08:33][D][sensor:094]: 'Power': Sending state 0.{n} W with 1 decimals of accuracy",
    "\x1b[0;32mI ({n}) MQTT_CLIENT: Sending MQTT CONNECT message, type: 1, id: 0000\x1b[0m",
    "D ({n}) event: running post WIFI_EVENT:3 with handler 0x4207fc44 on loop 0x3fcba5ac",
    "I ({n}) wifi:state: run -> init (0)",
]
CRASH = """\
Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.

Core  1 register dump:
PC      : 0x400d{n:04x}  PS      : 0x00060730  A0      : 0x800e0395  A1      : 0x3ffb2e28
A2      : 0x00000000  A3      : 0x00000039  A4      : 0x00000001  A5      : 0x00000000
A6      : 0x00004629  A7      : 0x420a72d0  A8      : 0x000003e8  A9      : 0x00000069
A10     : 0x11264811  A11     : 0x000e025b  A12     : 0x3c09b492  A13     : 0x00000062
A14     : 0x3c0a72f5  A15     : 0x3c0e9bec  SAR     : 0x0000000a  EXCCAUSE: 0x0000001c
EXCVADDR: 0x000003e8  LBEG    : 0x4007ad61  LEND    : 0x4005e7d9  LCOUNT  : 0xfffffffe

Backtrace: 0x400d{n:04x}:0x3ffb2e28 0x400e1e41:0x3ffb2e48 0x400d1234:0x3ffb2e68 0x4008bfc1:0x3ffb2e88

ELF file SHA256: ab81a733d

Rebooting...
ets Jul 29 2019 12:21:46

rst:0xc (SW_CPU_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)
configsip: 0, SPIWP:0xee
mode:DIO, clock div:2
load:0x3fff0030,len:7000
entry 0x40080650
"""  # noqa: E501 (as the chip prints it)

RISCV = """\
Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.

Core  0 register dump:
MEPC    : 0x4200{n:04x}  RA      : 0x4201cba4  SP      : 0x3fcf613c  GP      : 0x3fc97518
TP      : 0x3fc93138  T0      : 0x4000c012  T1      : 0x0000000f  T2      : 0x0000000e
S0/FP   : 0x00000000  S1      : 0x3fcffb18  A0      : 0x3fcffb18  A1      : 0x00000020
A2      : 0x00000000  A3      : 0x646d6a33  A4      : 0x646d6a33  A5      : 0x00000000
A6      : 0x40031b6e  A7      : 0x4001d77e  S2      : 0x00000001  S3      : 0x00000000
S4      : 0x4ff4221c  S5      : 0x400238d8  S6      : 0x00000000  S7      : 0x00000000
S8      : 0x00000000  S9      : 0x00000000  S10     : 0x00000000  S11     : 0x00000000
T3      : 0x482b5424  T4      : 0x002f1c58  T5      : 0x4ff69f0c  T6      : 0x00000000
MSTATUS : 0x00001881  MTVEC   : 0x40380001  MCAUSE  : 0x00000005  MTVAL   : 0x00000020
MHARTID : 0x00000000

Stack memory:
{stack}

ELF file SHA256: ab81a733d

Rebooting...
ESP-ROM:esp32c3-api1-20210207
Build:Feb  7 2021
rst:0x3 (RTC_SW_SYS_RST),boot:0xc (SPI_FAST_FLASH_BOOT)
Saved PC:0x40381c52
SPIWP:0xee
entry 0x403cc710
"""
ADDRESS = re.compile(r"0x[0-9a-f]{8}")


def crash(kind: str, number: int, rng: random.Random) -> str:
    """One crash, and the boot after it."""
    if kind != "stack":
        text = CRASH.format(n=number % 64)
        return (
            ADDRESS.sub(lambda _: f"0x{rng.getrandbits(32):08x}", text)
            if kind == "varied"
            else text
        )
    words = [f"0x{(number % 64) * 4096 + n:08x}" for n in range(256)]
    rows = [f"{0x3FC90000 + 4 * n:08x}: {' '.join(words[n : n + 8])}" for n in range(0, 256, 8)]
    return RISCV.format(n=number % 64, stack="\n".join(rows))


def log(kind: str, size: int) -> bytes:
    """About `size` bytes of a kind of log."""
    rng = random.Random(1)
    parts: list[str] = []
    have = number = 0
    while have < size:
        number += 1
        if kind in KINDS[2:] or (kind == "mix" and number % 2000 == 0):
            part = crash(kind, number, rng)
        else:
            part = QUIET[number % len(QUIET)].format(n=number) + "\n"
        parts.append(part)
        have += len(part)
    return "".join(parts).replace("\n", "\r\n").encode()


def speed(work: Callable[[bytes], int], data: bytes) -> tuple[float, int]:
    """MB/s of CPU time (the best of some rounds), and what was found."""
    best, found = float("inf"), 0
    for _ in range(ROUNDS):
        began = time.process_time()
        found = work(data)
        best = min(best, time.process_time() - began)
    return len(data) / best / 1e6, found


def bare(data: bytes) -> int:
    """The loop anyone would write: one regular expression a line."""
    return sum(1 for line in data.split(b"\n") if LINE.search(line))


def triaged(data: bytes) -> int:
    """Crashes the reader finds."""
    return sum(1 for event in read_log(io.BytesIO(data)) if isinstance(event, Finished))


def whole() -> float:
    """Seconds of wall clock for `rig triage` on 1 GB."""
    data = log("mix", 50_000_000)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.log" for number in range(4)]
        for path in paths:
            with path.open("wb") as file:
                for _ in range(5):
                    file.write(data)
        environment = {**os.environ, "SENDSPIN_RIG_HOME": folder}
        began = time.perf_counter()
        command = [sys.executable, "-m", "rig", "triage", "--json", *map(str, paths)]
        with (Path(folder) / "out").open("wb") as out:
            subprocess.run(command, stdout=out, env=environment, check=True)
        seconds = time.perf_counter() - began
        size = sum(path.stat().st_size for path in paths)
    print(f"whole   {size / 1e9:.2f} GB in {seconds:.1f} s of wall clock")
    return seconds


def main() -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--whole", action="store_true", help="also 1 GB through `rig triage`")
    options = parser.parse_args()
    failed = False
    for kind in KINDS:
        data = log(kind, options.megabytes * 1_000_000)
        loop, _ = speed(bare, data)
        reader, found = speed(triaged, data)
        print(
            f"{kind:<6}  {reader:6.1f} MB/s, {found} crashes; bare regex loop {loop:6.1f} MB/s, "
            f"{loop / reader:.2f} of it"
        )
        failed |= kind != "varied" and reader < WANTED_MB_S
    if options.whole:
        failed |= whole() > WANTED_SECONDS
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
