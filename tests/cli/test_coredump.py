"""`rig coredump` on the virtual board's flash, by real esptool."""

from __future__ import annotations

import hashlib
import json
import runpy
import struct
import zlib
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile

from rig import cli

ROOT = Path(__file__).parents[2]

Capsys = pytest.CaptureFixture[str]
AT, SIZE = 0x3F0000, 0x10000


def table() -> bytes:
    row = struct.Struct("<2sBBII16sI")
    rows = [(1, 2, 0x9000, 0x6000, b"nvs"), (1, 3, AT, SIZE, b"coredump")]
    return b"".join(row.pack(b"\xaa\x50", k, s, at, n, name, 0) for k, s, at, n, name in rows)


def dump(*, crc: bool = False) -> bytes:
    """A header and a body that no tool could read, with a checksum that holds."""
    body = bytes(range(256)) * 3
    head = struct.pack("<6I", 24 + len(body) + (4 if crc else 32), 5 << 16 | 0x0103, 1, 340, 0, 3)
    if crc:
        return head + body + struct.pack("<I", zlib.crc32(head + body))
    return head + body + hashlib.sha256(head + body).digest()


def put(home: Path, content: bytes, rows: bytes | None = None) -> Path:
    path = home / "virtual-1" / "flash.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    flash = bytearray(b"\xff" * (4 << 20))
    flash[0x8000:0x8C00] = (table() if rows is None else rows).ljust(0xC00, b"\xff")
    flash[AT : AT + len(content)] = content
    path.write_bytes(flash)
    return path


def test_a_core_dump_is_saved_as_it_lies_in_flash(home: Path, capsys: Capsys) -> None:
    path = put(home, dump())
    assert cli.run(["coredump", "virtual", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["file"], said["bytes"], said["whole"]) == ("virtual-coredump.bin", 824, True)
    assert Path("virtual-coredump.bin").read_bytes() == dump()
    assert path.read_bytes()[AT : AT + 824] == dump()


def test_it_is_decoded_with_the_elf_that_it_names(home: Path, capsys: Capsys) -> None:
    (elf,) = (ROOT / "fixtures" / "firmware" / "v0.6.1").rglob("*.elf")
    with elf.open("rb") as file:
        table_of = ELFFile(file).get_section_by_name(".symtab")
        (closing,) = table_of.get_symbol_by_name("httpd_sess_close")
    made = runpy.run_path(str(ROOT / "tests" / "triage" / "core_dumps.py"))
    pc = closing["st_value"] + 4
    task = made["Task"](0x3FC92000, "httpd", {"MEPC": pc, "SP": 0x3FC93000}, 0x3FC93000, bytes(64))
    sha = hashlib.sha256(elf.read_bytes()).hexdigest()
    put(home, made["core_dump"]([task], elf_sha256=sha[:16], panic="assert failed: f"))
    assert cli.run(["coredump", "virtual", "--elf", str(elf)]) == 0
    said = capsys.readouterr().out
    assert "coredump: assert failed: f" in said
    assert "httpd_sess_close at " in said


def test_it_is_erased_once_it_is_saved_and_then_there_is_none(home: Path, capsys: Capsys) -> None:
    put(home, dump(crc=True))
    assert cli.run(["coredump", "virtual", "mine.bin", "--erase"]) == 0
    assert "virtual: 796 bytes of core dump in mine.bin\n" in capsys.readouterr().out
    assert cli.run(["coredump", "virtual", "mine.bin"]) == 3
    assert "virtual: holds no core dump: the partition 'coredump' at 0x3f0000 is blank" in (
        capsys.readouterr().err
    )
    assert Path("mine.bin").read_bytes() == dump(crc=True)


def test_a_torn_one_is_said_to_be_torn(home: Path, capsys: Capsys) -> None:
    put(home, dump()[:-40])
    assert cli.run(["coredump", "virtual"]) == 0
    assert "its checksum does not hold" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("content", "rows", "words"),
    [
        (b"\0" * 64, None, "it says that it has 0 bytes, and the partition has 65536"),
        (b"", table()[:32], "no core dump partition"),
    ],
)
def test_what_is_no_core_dump_is_one_error(
    content: bytes, rows: bytes | None, words: str, home: Path, capsys: Capsys
) -> None:
    put(home, content, rows)
    assert cli.run(["coredump", "virtual"]) == 3
    assert words in capsys.readouterr().err
    assert not Path("virtual-coredump.bin").exists()


@pytest.mark.usefixtures("home")
def test_a_file_that_cannot_be_written_is_said_before_the_board_is_touched(
    capsys: Capsys,
) -> None:
    assert cli.run(["coredump", "virtual", "none/mine.bin"]) == 2
    assert "there is no folder none" in capsys.readouterr().err
