"""`rig flash` against plain esptool in the same run: unchanged reflash, and eight boards at once.

    python benchmarks/flash_boards.py [--boards 8] [--rounds 5]

On virtual boards in a home of their own. An unchanged reflash is held against what it cannot do
without: `esptool verify-flash`, which connects, uploads the stub and asks the chip's MD5 of the
same regions; both with the start of the process that does it, in turn, and both compiled before.
The whole command (`--no-boot`) is shown, too: to a flash it adds the rig's own start, whatever the
board. On a model without a wire that start weighs most: a UART at 115200 baud takes a third of a
second for the stub alone. Eight boards at once are held against one, and against eight
esptools at once.

CPU time is that of rig or esptool with all their processes, without the boards' (they are models,
and take theirs from the same cores). Wall times say how busy the machine is, too: the best round
counts. Exit 1: an unchanged reflash above 1.1, or a board's CPU time among eight above 1.2 of
one alone.
"""

from __future__ import annotations

import argparse
import asyncio
import compileall
import importlib.util
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_flasher.bundle import Bundle
from firmware_flasher.flasher import flash
from firmware_flasher.loading import load_bundle
from rig.boards.virtual.board import VirtualBoard, VirtualSettings

FIRMWARE = Path(__file__).parents[1] / "fixtures" / "firmware"
MOST_REFLASH = 1.1
MOST_PER_BOARD = 1.2


@dataclass(frozen=True)
class Cost:
    """Seconds of one round."""

    wall: float
    cpu: float


def measured(work: Callable[[], object]) -> Cost:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    work()
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


Task = tuple[Callable[[], object], Callable[[], object]]
"""What comes before a round, and what is measured."""


def best(rounds: int, *tasks: Task) -> list[Cost]:
    """The best of each task; they take turns, so that a busy moment meets them all."""
    costs: list[list[Cost]] = [[] for _ in tasks]
    for _ in range(rounds):
        for (prepare, work), found in zip(tasks, costs, strict=True):
            prepare()
            found.append(measured(work))
    return [
        Cost(min(cost.wall for cost in found), min(cost.cpu for cost in found)) for found in costs
    ]


class Desk:
    """The boards, and both tools on them."""

    def __init__(self, home: Path, count: int) -> None:
        self.boards = [
            VirtualBoard("b", VirtualSettings(n, home / f"b{n}")) for n in range(1, count + 1)
        ]
        bench = home / "bench.toml"
        bench.write_text(
            "".join(
                f'[boards.b{n}]\nkind = "virtual"\nnumber = {n}\nhome = "{home / f"b{n}"}"\n'
                for n in range(1, count + 1)
            )
        )
        self._env = {
            **os.environ,
            "SENDSPIN_RIG_BENCH": str(bench),
            "SENDSPIN_RIG_HOME": str(home),
            "SENDSPIN_RIG_LOCKS": str(home / "locks"),
        }

    def plug(self) -> None:
        asyncio.run(self._each(lambda board: board.power(True)))

    def download(self, count: int) -> None:
        asyncio.run(self._each(lambda board: board.reset(download=True), count))

    def unplug(self) -> None:
        asyncio.run(self._each(lambda board: board.unplug()))

    async def _each(self, what: Callable[[VirtualBoard], object], count: int | None = None) -> None:
        for board in self.boards[:count]:
            await what(board)  # type: ignore[misc]

    def rig(self, count: int, bundle: Bundle) -> None:
        names = [f"b{n}" for n in range(1, count + 1)]
        command = [
            sys.executable,
            "-m",
            "rig",
            "flash",
            *names,
            bundle.origin,
            "--no-boot",
            "--json",
        ]
        done = subprocess.run(command, env=self._env, capture_output=True, check=True)
        said = json.loads(done.stdout)
        reports = said if isinstance(said, list) else [said]
        assert all(report["verified"] == len(bundle.regions) for report in reports)

    def flasher(self, bundle: Bundle) -> None:
        """The flasher alone: its worker's start, the connection, the MD5s."""
        port = self.boards[0].flash_port
        assert port is not None
        result = asyncio.run(flash(bundle, port, reset=self.boards[0].reset))
        assert (result.sent, result.verified) == (0, len(bundle.regions))

    def esptool(self, count: int, words: Sequence[str]) -> None:
        before = [sys.executable, "-m", "esptool", "--chip", "esp32c3", "--baud", "921600"]
        before += ["--before", "no-reset", "--after", "no-reset", "--port"]
        running = [
            subprocess.Popen([*before, str(board.home / "uart"), *words], stdout=subprocess.DEVNULL)
            for board in self.boards[:count]
        ]
        assert [process.wait() for process in running] == [0] * count


def words_for(bundle: Bundle, command: str, folder: Path) -> list[str]:
    """esptool's arguments for the regions of a bundle."""
    words = [command]
    for number, region in enumerate(bundle.regions):
        file = folder / f"{number}.bin"
        file.write_bytes(region.data)
        words += [f"{region.offset:#x}", str(file)]
    return words


def compile_all(*packages: str) -> None:
    """Bytecode, as pip and `./rigup` leave it: whoever starts first would pay for it else."""
    for package in packages:
        spec = importlib.util.find_spec(package)
        for place in (spec and spec.submodule_search_locations) or ():
            compileall.compile_dir(place, quiet=2)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--boards", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    compile_all("rig", "firmware_flasher", "esptool", "esp_pylib", "rich", "rich_click", "serial")
    old, new = (load_bundle(FIRMWARE / version) for version in ("v0.6.1", "v0.7.0"))
    with tempfile.TemporaryDirectory(prefix="rig-bench-") as folder:
        desk = Desk(Path(folder), asked.boards)
        try:
            desk.plug()
            return run(desk, old, new, asked.boards, asked.rounds, Path(folder))
        finally:
            desk.unplug()


def run(desk: Desk, old: Bundle, new: Bundle, boards: int, rounds: int, folder: Path) -> int:
    verify, write = (words_for(new, what, folder) for what in ("verify-flash", "write-flash"))
    desk.rig(boards, new)
    alone, again, md5 = best(
        rounds,
        (lambda: None, lambda: desk.flasher(new)),
        (lambda: None, lambda: desk.rig(1, new)),
        (lambda: desk.download(1), lambda: desk.esptool(1, verify)),
    )
    one, plain_one = best(
        rounds,
        (lambda: desk.rig(1, old), lambda: desk.rig(1, new)),
        (lambda: desk.download(1), lambda: desk.esptool(1, write)),
    )
    several, plain = best(
        2,
        (lambda: desk.rig(boards, old), lambda: desk.rig(boards, new)),
        (lambda: desk.download(boards), lambda: desk.esptool(boards, write)),
    )
    show("unchanged reflash, the flasher", alone)
    show("unchanged reflash, rig flash --no-boot", again)
    show("connect, stub and MD5, esptool verify-flash", md5)
    show("changed application, rig flash --no-boot", one)
    show(f"the same on {boards} boards at once, a board", per(several, boards))
    show("all regions, esptool write-flash", plain_one)
    show(f"the same on {boards} boards at once, a board", per(plain, boards))
    reflash, share = alone.wall / md5.wall, several.cpu / boards / one.cpu
    cores = min(boards, os.cpu_count() or 1)
    print(f"unchanged reflash / connect and MD5: {reflash:.2f} of the wall (limit {MOST_REFLASH})")
    print(f"  whole command: {again.wall / md5.wall:.2f}, {again.wall - md5.wall:+.2f} s")
    print(f"CPU time a board among {boards} / one alone: {share:.2f} (limit {MOST_PER_BOARD})")
    print(f"{boards} at once / one, wall: {several.wall / one.wall:.2f} on {cores} cores")
    print(f"  esptool's own: {plain.wall / plain_one.wall:.2f}")
    return int(reflash > MOST_REFLASH or share > MOST_PER_BOARD)


def per(cost: Cost, boards: int) -> Cost:
    return Cost(cost.wall, cost.cpu / boards)


def show(what: str, cost: Cost) -> None:
    print(f"{what:<52} {cost.wall:6.2f} s wall  {cost.cpu:6.2f} s CPU")


if __name__ == "__main__":
    sys.exit(main())
