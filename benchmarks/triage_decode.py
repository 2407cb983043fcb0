"""How fast addresses become functions: 1,000 of them, cold and cached.

    python benchmarks/triage_decode.py [ELF]

* `build`: the ELF is seen for the first time, its index is made and kept
* `cold`: nothing in memory, the index on disk
* `cached`: asked again

Fails (exit 1) when `cold` takes more than 60 ms or `cached` more than 1 ms.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from rig.triage.elf import open_elf
from rig.triage.store import SymbolStore

DEFAULT = Path(__file__).parents[1] / "fixtures/firmware/v0.7.0/sendspin-speaker.elf"
COUNT = 1000
WANTED = {"cold": 0.060, "cached": 0.001}
ROUNDS = 5


def main() -> int:
    """Measure, print, judge."""
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else DEFAULT
    elf = open_elf(path)
    best: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        index = SymbolStore(Path(folder)).of(elf).index()
        best["build"] = time.perf_counter() - began
        code = [row for row in index.rows if index.places(row)]
        addresses = [code[n * len(code) // COUNT] + n % 2 for n in range(COUNT)]
        for _ in range(ROUNDS):
            began = time.perf_counter()
            symbols = SymbolStore(Path(folder)).of(elf)
            known = symbols.places(addresses)
            cold = time.perf_counter() - began
            began = time.perf_counter()
            known = symbols.places(addresses)
            cached = time.perf_counter() - began
            best["cold"] = min(best.get("cold", cold), cold)
            best["cached"] = min(best.get("cached", cached), cached)
        named = sum(bool(known[address]) for address in addresses)
    print(f"{path.name}, {path.stat().st_size / 1e3:.0f} kB: {named} of {COUNT} addresses named")
    for name, seconds in best.items():
        print(f"{name:<7} {seconds * 1000:8.2f} ms")
    return int(any(best[name] > wanted for name, wanted in WANTED.items()))


if __name__ == "__main__":
    sys.exit(main())
