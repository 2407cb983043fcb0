"""When a board counts as booted, and what is said of one that is not. The console is a file."""

from __future__ import annotations

import asyncio
import shlex
from pathlib import Path

import pytest

from rig.boards import booting
from rig.boards.booting import Booted, attach_console, boot_board
from rig.boards.plain import PlainBoard, PlainSettings, Run
from rig.errors import BoardError
from rig.history import HistoryStore

pytestmark = pytest.mark.anyio

ROM = "ESP-ROM:esp32c3-api1-20210207\nrst:0x1 (POWERON),boot:0x8 (SPI_FAST_FLASH_BOOT)\n"
ENTRY = ROM + "load:0x3fcd5820,len:0x15c4\nentry 0x403cbf1a\n"
LOADER = ENTRY + "I (24) boot: ESP-IDF v5.5.4 2nd stage bootloader\n"


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


async def boot(tmp_path: Path, printed: str, *, timeout: float = 10) -> Booted:
    """Reset a board that prints this on its console."""
    console = tmp_path / "console.log"
    console.touch()
    reset = f"printf %s {shlex.quote(printed)} >> {shlex.quote(str(console))}"
    board = PlainBoard("kit", PlainSettings(console=str(console), reset=Run(reset)))
    with HistoryStore(tmp_path / "history.jsonl") as store:
        async with board, attach_console(board, store):
            return await boot_board(board, store, timeout=timeout)


async def test_an_application_that_names_itself_has_booted(tmp_path: Path) -> None:
    booted = await boot(tmp_path, LOADER + "I (90) app_init: Project name:     speaker\n\n")

    assert booted.app is not None
    assert booted.app.project == "speaker"


async def test_an_application_that_talks_has_booted_also_without_a_name(tmp_path: Path) -> None:
    logs = {
        "plain words, logging off": ENTRY + "Hello world!\n",
        "a record": LOADER + "I (270) main_task: Calling app_main()\n",
        "attached after the ROM": "I (270) main_task: Calling app_main()\n",
    }
    for case in logs:
        (tmp_path / case).mkdir()
    booted = await asyncio.gather(*(boot(tmp_path / case, log) for case, log in logs.items()))
    assert dict(zip(logs, booted, strict=True)) == dict.fromkeys(logs, Booted(None, None))


@pytest.mark.parametrize(
    "printed",
    [
        pytest.param(ROM + "invalid header: 0xffffffff\n" * 3, id="blank flash"),
        pytest.param(LOADER + "E (34) esp_image: image at 0x10000 has ...\n", id="a bad image"),
        pytest.param(LOADER, id="nothing after the loader"),
    ],
)
async def test_rom_and_loader_alone_are_no_application(tmp_path: Path, printed: str) -> None:
    with pytest.raises(BoardError, match="started no application within 1 s") as caught:
        await boot(tmp_path, printed, timeout=1)
    assert printed.splitlines()[-1] in (caught.value.hint or "")


async def test_a_crash_while_it_boots_is_named(tmp_path: Path) -> None:
    crash = "Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled."
    with pytest.raises(BoardError, match="crashed while it booted: Guru Meditation"):
        await boot(tmp_path, ENTRY + f"Hello\n{crash}\n")


async def test_a_console_that_never_comes_is_named(tmp_path: Path) -> None:
    board = PlainBoard("kit", PlainSettings(console=str(tmp_path / "none"), reset=Run("true")))
    with (
        HistoryStore(tmp_path / "history.jsonl") as store,
        pytest.raises(BoardError, match=r"its console .*none cannot be opened"),
    ):
        async with board, attach_console(board, store):
            await boot_board(board, store, timeout=0.5)


async def test_a_log_that_is_opened_later_than_the_rig_is_waited_for(tmp_path: Path) -> None:
    late = tmp_path / "late.log"
    board = PlainBoard("kit", PlainSettings(console=str(late)))
    asyncio.get_running_loop().call_later(0.2, late.write_text, "I (1) main: started\n")
    with HistoryStore(tmp_path / "history.jsonl") as store:
        async with attach_console(board, store) as console:
            assert console is not None
            assert console.attached


async def test_a_log_that_never_comes_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(booting, "LATE_SECONDS", 0.2)
    board = PlainBoard("kit", PlainSettings(console=str(tmp_path / "none.log")))
    with (
        HistoryStore(tmp_path / "history.jsonl") as store,
        pytest.raises(BoardError, match=r"cannot open the console .*none\.log"),
    ):
        async with attach_console(board, store):
            pass
