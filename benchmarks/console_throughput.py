"""How fast the whole console parser is: bytes in, events out, against a bare read-and-regex loop.

    python benchmarks/console_throughput.py [--megabytes 32]

Prints MB/s of CPU time on one core for each kind of log, and the ratio to a loop that does no more
than cut the same bytes into lines and match each with one regular expression. Fails (exit 1) when
the realistic mix or the flood is below 20 MB/s.

* `mix`: a Sendspin speaker's log as ESP-IDF (70 %) and ESPHome print it, coloured; a socket opens
  or closes every 33 lines, a panic and a boot come every 2,000 lines (180 KB)
* `flood`: what an ESP32-C3 with a blank flash prints for ever
* `noise`: random bytes, as at a wrong baud rate
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import time
from collections import Counter
from collections.abc import Callable

from rig.console.parser import ConsoleParser
from rig.history import Event

WANTED_MB_S = 20.0
CHUNK = 65_536
ROUNDS = 5

RECORD = re.compile(rb"(?:\x1b\[[0-9;]*m)?([EWIDV]) \((\d+)\) ([^:]+): (.*)")

IDF = (
    "D ({ms}) sendspin.time_burst: Sent time message {n}/8",
    "D ({ms}) sendspin.client: Group update - state: playing, id: 7f3a, name: Kitchen",
    "I ({ms}) wifi:bcn_timeout,ap_probe_send_start",
    "I ({ms}) sendspin.player: buffered {n} chunks, {n}.{n} ms ahead of the server's clock",
    "I ({ms}) heap: free 142{n}36 bytes, largest block 110592, minimum ever 131072",
    "D ({ms}) esp_netif_handlers: sta ip: 192.168.4.{n}, mask: 255.255.255.0, gw: 192.168.4.1",
)
ESPHOME = (
    "[D][sensor:094]: 'Room Temperature': Sending state 2{n}.40000 °C with 1 decimals of accuracy",
    "[I][wifi:617]: WiFi signal strength is -6{n} dB, channel 11, and the access point is the same",
    "[D][esp-idf:000][httpd]: D ({ms}) sendspin.client: Group update - state: playing, id: 7f3a",
)
RARE = (
    "D ({ms}) sendspin.ws_server: New client connection on socket 57",
    "[D][esp-idf:000][httpd]: D ({ms}) sendspin.ws_server: Client closed connection on socket 57",
    "W ({ms}) httpd_txrx: httpd_sock_err: error in recv : 104",
)
COLOURS = {"E": "1;31", "W": "0;33", "I": "0;32", "D": "0;36", "V": "0;37"}
PANIC = """\
Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled.

Core  0 register dump:
MEPC    : 0x4200a5b2  RA      : 0x4200a59e  SP      : 0x3fc94f80  GP      : 0x3fc8c200
TP      : 0x3fc8d1a8  T0      : 0x4005890e  T1      : 0x0000000f  T2      : 0x00000000
MSTATUS : 0x00001881  MTVEC   : 0x40380001  MCAUSE  : 0x00000005  MTVAL   : 0xfefefefe

Stack memory:
3fc94f80: 0x3fc95000 0x00000001 0x420060ee 0x4200a1c8 0x00000000 0x00000000 0x3fc95010 0x42008c2e
3fc94fa0: 0x00000000 0x00000000 0x00000000 0x00000000 0x00000000 0x00000000 0xa5a5a5a5 0xa5a5a5a5
ELF file SHA256: ab81a733d

Rebooting...
ESP-ROM:esp32c3-api1-20210207
Build:Feb  7 2021
rst:0xc (RTC_SW_CPU_RST),boot:0x8 (SPI_FAST_FLASH_BOOT)
SPIWP:0xee
mode:DIO, clock div:1
load:0x3fcd5820,len:0x15c4
entry 0x403cbf1a
"""


def mix(size: int) -> bytes:
    """A realistic log of at least `size` bytes."""
    dice = random.Random(1)
    lines: list[str] = []
    length = ms = 0
    while length < size:
        if len(lines) % 2000 == 1999:
            lines.extend(PANIC.splitlines())
            length += len(PANIC)
        ms += dice.randrange(200)
        kind = dice.random()
        text = dice.choice(RARE if kind < 0.03 else ESPHOME if kind < 0.3 else IDF)
        colour = COLOURS[text[1] if text[0] == "[" else text[0]]
        text = text.format(ms=ms, n=dice.randrange(10))
        lines.append(f"\x1b[{colour}m{text}\x1b[0m")
        length += len(lines[-1]) + 2
    return "".join(line + "\r\n" for line in lines).encode()


def flood(size: int) -> bytes:
    """A C3 with a blank flash."""
    line = b"invalid header: 0xffffffff\r\n"
    return line * (size // len(line))


def noise(size: int) -> bytes:
    """A wrong baud rate."""
    return random.Random(2).randbytes(size)


def parse(data: bytes) -> Counter[str]:
    """The rig's way. Counts events by kind."""
    parser = ConsoleParser("bench")
    events: Counter[type[Event]] = Counter()
    for at in range(0, len(data), CHUNK):
        events.update(map(type, parser.feed(data[at : at + CHUNK], at)))
    events.update(map(type, parser.flush(0)))
    return Counter({kind.tag: count for kind, count in events.items()})


def bare(data: bytes) -> int:
    """The least that a reader can do: lines, one regular expression. Counts records."""
    rest = b""
    found = 0
    for at in range(0, len(data), CHUNK):
        *lines, rest = (rest + data[at : at + CHUNK]).split(b"\n")
        for line in lines:
            if RECORD.match(line):
                found += 1
    return found


def best(work: Callable[[bytes], object], data: bytes) -> float:
    """MB/s of CPU time, the best of `ROUNDS`."""
    least = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        work(data)
        least = min(least, time.process_time() - start)
    return len(data) / least / 1e6


def main() -> int:
    """Run and print; 1 when a wanted figure was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=16)
    size = parser.parse_args().megabytes * 1_000_000
    missed = False
    for make in (mix, flood, noise):
        data = make(size)
        events = parse(data)
        ours, theirs = best(parse, data), best(bare, data)
        wanted = make is not noise
        missed |= wanted and ours < WANTED_MB_S
        kinds = ", ".join(f"{count} {kind}" for kind, count in events.most_common())
        print(
            f"{make.__name__:6} {ours:6.1f} MB/s parser, {theirs:6.1f} MB/s bare loop, "
            f"ratio {ours / theirs:.2f}" + (f" (wanted: {WANTED_MB_S:g} MB/s)" if wanted else "")
        )
        print(f"       {data.count(10)} lines -> {kinds}")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
