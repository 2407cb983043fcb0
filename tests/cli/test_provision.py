"""`rig provision`: real esptool on the virtual board; Improv against a device on a pty."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pty
import random
import struct
import subprocess
import sys
import threading
import tty
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware_flasher.memory import Memory, Span
from firmware_flasher.messages import ChipFound, ChipInfo
from rig import cli
from rig.boards import open_board
from rig.boards.flashing import flash_memory
from rig.boards.nvs_partition import Contents, Value, blob, make_nvs, read_nvs, string
from rig.boards.provisioning import provision_nvs
from rig.boards.wifi_credentials import Provision

FIRMWARE = Path(__file__).parents[2] / "fixtures" / "firmware"
TABLE = FIRMWARE / "v0.7.0" / "partition_table" / "partition-table.bin"
NVS, SIZE = 0x9000, 0x6000
SECRET = "a most secret phrase"
Capsys = pytest.CaptureFixture[str]
OTHERS = {("app", "volume"): Value("u8", 30), ("app", "name"): string("Küche")}
OTHERS |= {("phy", "cal_data"): blob(random.Random(1).randbytes(1904))}


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("PSK", SECRET)
    monkeypatch.setenv("SENDSPIN_RIG_LOCKS", str(home / "locks"))


@pytest.fixture
def flash(home: Path) -> Callable[..., Path]:
    """The virtual board's flash with a table and an NVS partition of these keys, and no more."""

    def make(values: dict[tuple[str, str], Value] | bytes = OTHERS, **parts: bytes) -> Path:
        path = home / "virtual-1" / "flash.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(values, bytes):
            spaces = tuple(dict.fromkeys(space for space, _ in values))
            values = make_nvs(Contents(values, spaces, 2), SIZE)
        content = bytearray(b"\xff" * (4 << 20))
        content[0x8000:0x8C00] = parts.get("table", TABLE.read_bytes()).ljust(0xC00, b"\xff")[
            :0xC00
        ]
        content[NVS : NVS + len(values)] = values
        for at, data in (
            (int(name[1:], 16), data) for name, data in parts.items() if name[0] == "x"
        ):
            content[at : at + len(data)] = data
        path.write_bytes(content)
        return path

    return make


def nvs_of(path: Path) -> Contents:
    return read_nvs(path.read_bytes()[NVS : NVS + SIZE])


WORDS = ["provision", "virtual", "--ssid", "lab", "--passphrase-env", "PSK"]


def test_a_board_without_credentials_joins_once_it_was_provisioned(home: Path) -> None:
    assert cli.run(["flash", "virtual", str(FIRMWARE / "v0.7.0"), "--no-boot"]) == 0
    assert cli.run(["erase", "virtual", "--offset", hex(NVS), "--size", hex(SIZE)]) == 0
    Path("psk").write_text("only-a-model\n")
    Path("bench.toml").write_text("[network]\nssid='virtual-air'\npassphrase_file='psk'\n")
    assert cli.run(["provision", "virtual"]) == 0
    asyncio.run(_answers())


async def _answers() -> None:
    """Until the board takes a connection, which it does once it has joined."""
    async with asyncio.timeout(30), open_board("virtual") as board:
        while True:
            assert board.address is not None
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(board.address.host, board.address.port)
                writer.close()
                return
            await asyncio.sleep(0.05)


def test_other_keys_stay_the_firmware_is_untouched_and_a_second_call_writes_nothing(
    flash: Callable[..., Path], capsys: Capsys
) -> None:
    path = flash()
    before = path.read_bytes()
    assert cli.run(WORDS) == 0
    assert "2 keys written, 3 others kept" in capsys.readouterr().out
    found = nvs_of(path)
    assert {name: found.values[name] for name in OTHERS} == OTHERS
    ssid = found.values["nvs.net80211", "sta.ssid"].content
    assert ssid == b"\x03\0\0\0lab".ljust(36, b"\0")
    assert found.values["nvs.net80211", "sta.pswd"].content == SECRET.encode().ljust(65, b"\0")
    after = path.read_bytes()
    assert after[:NVS] + after[NVS + SIZE :] == before[:NVS] + before[NVS + SIZE :]
    assert cli.run([*WORDS, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] == []
    assert path.read_bytes() == after


def test_the_phrase_is_nowhere_but_in_the_flash(flash: Callable[..., Path], home: Path) -> None:
    path = flash()
    seen: list[str] = []
    said = b""
    with subprocess.Popen(
        [sys.executable, "-m", "rig", *WORDS], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stderr:  # one for each thing that the flasher does
            said += line
            seen += _command_lines()
        said += process.stdout.read()
    assert process.returncode == 0, said
    assert any("firmware_flasher.worker" in line for line in seen)  # else nothing was looked at
    assert SECRET not in "".join(seen)
    assert SECRET.encode() not in said
    files = [one for one in home.rglob("*") if one.is_file() and one != path]
    assert [one for one in files if SECRET.encode() in one.read_bytes()] == []
    assert SECRET.encode() in path.read_bytes()


def _command_lines() -> list[str]:
    lines = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            lines.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except (OSError, UnicodeDecodeError):
            continue
    return lines


class Pulled(Exception):
    """The cable."""


@pytest.mark.anyio
async def test_a_write_that_was_cut_short_loses_no_key_by_the_next_call(
    flash: Callable[..., Path], anyio_backend: str
) -> None:
    path = flash()
    board = open_board("virtual")

    chips: list[ChipInfo] = []

    def pull(event: object) -> None:
        if isinstance(event, ChipFound):
            chips.append(event.info)
        if type(event).__name__ == "Writing":
            raise Pulled

    async with board:
        with pytest.raises(Pulled):
            await provision_nvs(board, Provision(), "lab", SECRET, on_event=pull)
        # The worker may have been done with this little before it was killed: torn all the same.
        Memory(flash_memory()).begin(chips[0].mac, [Span(NVS, SIZE)], "nvs")
        torn = bytearray(path.read_bytes())
        torn[NVS : NVS + 0x2000] = b"\xff" * 0x2000  # erased, and not written yet
        path.write_bytes(torn)
        done = await provision_nvs(board, Provision(), "other", SECRET)
    assert done.restored
    found = nvs_of(path).values
    assert {name: found[name] for name in OTHERS} == OTHERS
    ssid = found["nvs.net80211", "sta.ssid"].content
    assert isinstance(ssid, bytes)
    assert ssid[4:9] == b"other"
    async with board:
        assert not (await provision_nvs(board, Provision(), "other", SECRET)).restored


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def keys_table() -> bytes:
    """The fixture's table with `nvs_keys` in it, without the MD5 row."""
    row = struct.Struct("<2sBBII16sI")
    rows = [(1, 2, NVS, SIZE, b"nvs"), (1, 4, 0xF000, 0x1000, b"nvs_keys")]
    return b"".join(row.pack(b"\xaa\x50", k, s, at, n, name, 0) for k, s, at, n, name in rows)


class Read:
    """Stands for the flasher's `read_flash`: a flash in memory, and no way to write it."""

    def __init__(self, nvs: bytes, table: bytes, **parts: bytes) -> None:
        content = bytearray(b"\xff" * (1 << 17))
        for at, data in ((0x8000, table), (NVS, nvs), (0xF000, parts.get("keys", b""))):
            content[at : at + len(data)] = data
        self._content = bytes(content)

    async def __call__(self, _port: object, **how: Any) -> bytes:
        how["on_event"](ChipFound(ChipInfo("esp32c3", "ESP32-C3", "v0.4", "7e:df:a1:00:00:01", 1)))
        return self._content[how["offset"] : how["offset"] + how["size"]]


def ciphertext() -> bytes:
    image = bytearray(make_nvs(Contents(OTHERS, ("app", "phy"), 2), SIZE))
    image[64:4096] = random.Random(2).randbytes(4032)
    return bytes(image)


@pytest.mark.parametrize(
    ("read", "words"),
    [
        (Read(ciphertext(), TABLE.read_bytes()), "'nvs' is encrypted"),
        (Read(b"", keys_table(), keys=b"key material"), "'nvs' is encrypted"),
        (Read(random.Random(3).randbytes(SIZE), TABLE.read_bytes()), "something else than NVS"),
        (Read(b"", b""), "no partition table at 0x8000: the flash is blank"),
        (Read(b"", b"\0" * 64), "no partition table at 0x8000: other bytes are there"),
    ],
)
def test_what_cannot_be_provisioned_is_one_error_and_nothing_is_written(
    read: Read, words: str, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rig.boards.flash_content.read_flash", read)
    Path("bench.toml").write_text("[boards.kit]\nconsole = 'x'\nflash = 'socket://x:1'\n")
    assert cli.run(["provision", "kit", *WORDS[2:]]) == 3
    said = capsys.readouterr().err
    assert words in said
    assert SECRET not in said


def test_a_partition_that_is_not_there_is_named_with_those_that_are(
    flash: Callable[..., Path], capsys: Capsys
) -> None:
    before = flash().read_bytes()
    assert cli.run([*WORDS, "--partition", "nvs2"]) == 3
    said = capsys.readouterr().err
    assert "has no NVS partition 'nvs2'" in said
    assert "'nvs' at 0x9000" in said
    assert flash().read_bytes() == before


def test_what_is_missing_is_said_before_the_board_is_touched(
    home: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def said(*words: str) -> str:
        assert cli.run(["provision", "virtual", *words]) == 2
        return capsys.readouterr().err

    assert "which network?" in said()
    assert "where is the pass-phrase of 'lab'?" in said("--ssid", "lab")
    assert "not in $NONE" in said("--ssid", "lab", "--passphrase-env", "NONE")
    assert "--open contradicts" in said("--ssid", "lab", "--open", "--passphrase-env", "PSK")
    assert "is no NVS name" in said(*WORDS[2:], "--namespace", "x" * 16)
    assert not home.exists()


@pytest.mark.parametrize(
    ("table", "where", "words"),
    [
        ("by = 'imrov'", "4:1", "no way to provision 'imrov'"),
        ("bye = 'nvs'", "4:1", "unknown key 'bye'; did you mean 'by'?"),
        ("namespace = ''", "4:1", "'' is no NVS name"),
        ("table_offset = 7", "4:1", "expected a multiple of 0x1000"),
        ("partition = 7", "4:1", "provision.partition: expected str"),
    ],
)
def test_a_wrong_table_in_the_bench_is_pointed_at(
    table: str, where: str, words: str, home: Path, capsys: Capsys
) -> None:
    Path("bench.toml").write_text(f"[boards.kit]\nconsole = 'x'\n[boards.kit.provision]\n{table}\n")
    assert cli.run(["bench", "check"]) == 2
    said = capsys.readouterr().err
    assert f"bench.toml:{where}: " in said
    assert words in said


# Improv


class Device(threading.Thread):
    """A device that speaks Improv on a pty, as ESPHome's `improv_serial` does; a test double.

    `answer`: what it says once it has the credentials: a result's strings, or an error code.
    """

    def __init__(self, answer: list[str] | int, *, deaf: int = 0) -> None:
        super().__init__(daemon=True)
        self._master, self._slave = pty.openpty()
        tty.setraw(self._slave)
        self.port = os.ttyname(self._slave)
        self._answer = answer
        self._deaf = deaf
        self.got: tuple[str, str] | None = None

    def run(self) -> None:
        held = b""
        while True:
            try:
                held += os.read(self._master, 1000)
            except OSError:
                return
            while (at := held.find(b"\n", 9)) >= 0 and held[:6] == b"IMPROV":
                end = 9 + held[8]
                if len(held) <= end + 1:
                    break
                assert sum(held[:end]) & 0xFF == held[end]
                assert at >= 0
                self._command(held[9], held[11:end])
                held = held[end + 2 :]

    def _command(self, command: int, data: bytes) -> None:
        if self._deaf:
            self._deaf -= 1  # it is still booting
            self._say(b"I (25) boot: IMPROVised log\r\n")
            return
        if command == 2:
            self._packet(1, b"\x02")
        if command == 1:
            size = data[0]
            self.got = data[1 : 1 + size].decode(), data[2 + size :].decode()
            self._say(b"[I][wifi:303]: connecting\r\n")
            self._packet(1, b"\x03")
            if isinstance(self._answer, int):
                self._packet(2, bytes([self._answer]))
                return
            strings = b"".join(bytes([len(s)]) + s.encode() for s in self._answer)
            self._packet(1, b"\x04")
            self._packet(4, bytes([1, len(strings)]) + strings)

    def _packet(self, kind: int, data: bytes) -> None:
        body = b"IMPROV\x01" + bytes([kind, len(data)]) + data
        self._say(body + bytes([sum(body) & 0xFF]) + b"\n")

    def _say(self, data: bytes) -> None:
        os.write(self._master, data)

    def unplug(self) -> None:
        os.close(self._slave)
        os.close(self._master)


@pytest.fixture
def device() -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(*args: object, **kwargs: object) -> Device:
        made.append(Device(*args, **kwargs))  # type: ignore[arg-type]
        made[-1].start()
        Path("bench.toml").write_text(
            f"[network]\nssid='lab'\npassphrase_env='PSK'\n[boards.porch]\n"
            f"console = '{made[-1].port}'\nprovision = {{ by = 'improv' }}\n"
        )
        return made[-1]

    yield make
    for one in made:
        one.unplug()


@pytest.mark.usefixtures("home")
def test_an_improv_device_gets_the_credentials_and_joins(
    device: Callable[..., Device], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rig.boards.improv.ASK_SECONDS", 0.05)
    porch = device(["http://10.0.0.9"], deaf=2)
    assert cli.run(["provision", "porch"]) == 0
    assert capsys.readouterr().out == "porch: joined 'lab', http://10.0.0.9\n"
    assert porch.got == ("lab", SECRET)


@pytest.mark.usefixtures("home")
def test_an_improv_device_that_cannot_join_says_so(
    device: Callable[..., Device], capsys: Capsys
) -> None:
    device(3)
    assert cli.run(["provision", "porch"]) == 3
    said = capsys.readouterr().err
    assert "did not take the credentials for 'lab': it could not join the network" in said
    assert SECRET not in said


@pytest.mark.usefixtures("home")
def test_a_console_without_improv_is_said_to_be_one(
    device: Callable[..., Device], capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rig.boards.improv.ANSWER_SECONDS", 0.3)
    device(3, deaf=1000)
    assert cli.run(["provision", "porch"]) == 3
    assert "nothing answers Improv" in capsys.readouterr().err
