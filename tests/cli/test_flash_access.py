"""`rig read-flash` and `rig erase`, by real esptool on the virtual board."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig import cli

Capsys = pytest.CaptureFixture[str]


def test_what_is_erased_reads_as_blank_and_the_rest_stays(home: Path, capsys: Capsys) -> None:
    flash = home / "virtual-1" / "flash.bin"
    flash.parent.mkdir(parents=True)
    flash.write_bytes(b"\x5a" * (4 << 20))
    assert cli.run(["erase", "virtual", "--offset", "0x1000", "--size", "4096"]) == 0
    assert "erased 4096 bytes" in capsys.readouterr().out
    words = ["read-flash", "virtual", "out.bin", "--offset", "0xff0", "--size", "0x1020"]
    assert cli.run(words) == 0
    assert Path("out.bin").read_bytes() == b"\x5a" * 16 + b"\xff" * 4096 + b"\x5a" * 16


@pytest.mark.usefixtures("home")
def test_a_board_without_a_flash_port_says_so(capsys: Capsys) -> None:
    Path("bench.toml").write_text('[boards.kit]\naddress = "127.0.0.1"\n')
    assert cli.run(["read-flash", "kit", "out.bin"]) == 2
    assert "'kit' has no flash port" in capsys.readouterr().err


def test_a_number_that_is_none_is_wrong_use(capsys: Capsys) -> None:
    assert cli.run(["erase", "virtual", "--offset", "lots"]) == 2
    assert "'lots' is no number of bytes" in capsys.readouterr().err


def test_half_a_sector_is_refused(home: Path, capsys: Capsys) -> None:
    assert cli.run(["erase", "virtual", "--offset", "0x10"]) == 2
    assert "expected a multiple of 0x1000" in capsys.readouterr().err
