"""Folders and archives: what they give, and what they refuse."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from firmware_flasher import sources
from firmware_flasher.errors import BundleError
from firmware_flasher.sources import Archive, Folder


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in files.items():
            out.writestr(name, data)
    return path


def test_an_archive_of_one_folder_reads_like_the_folder(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"build/x.json": b"1", "build/sub/y.bin": b"2"})

    source = Archive(path)

    assert source.has("x.json")
    assert source.read("sub/y.bin") == b"2"
    assert source.names(".json") == ["x.json"]


def test_what_a_mac_adds_to_an_archive_is_overlooked(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"build/x.json": b"1", "__MACOSX/build/._x.json": b"2"})

    assert Archive(path).read("x.json") == b"1"


@pytest.mark.parametrize("name", ["../evil", "/etc/passwd", "a/../../evil", "C:\\evil", "..\\evil"])
def test_an_entry_that_leaves_the_archive_is_refused(tmp_path: Path, name: str) -> None:
    path = archive(tmp_path / "a.zip", {name: b"1"})

    with pytest.raises(BundleError, match="points outside"):
        Archive(path)


def test_a_bomb_is_stopped_while_it_unpacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = archive(tmp_path / "a.zip", {"x.bin": b"\0" * 5_000_000})
    monkeypatch.setattr(sources, "MAX_FILE", 1_000_000)

    with pytest.raises(BundleError, match=r"x\.bin: unpacks to more than 1000000 bytes"):
        Archive(path).read("x.bin")


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = archive(tmp_path / "a.zip", {str(n): b"" for n in range(5)})
    monkeypatch.setattr(sources, "MAX_ENTRIES", 4)

    with pytest.raises(BundleError, match="5 files in it"):
        Archive(path)


def test_a_broken_entry_is_named(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", {"x.bin": bytes(range(256)) * 40})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(bytes(data))

    with pytest.raises(BundleError, match=r"x\.bin: broken in the archive"):
        Archive(path).read("x.bin")


def test_what_is_no_archive_is_said_to_be_none(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    path.write_bytes(b"not a zip")

    with pytest.raises(BundleError, match="not a readable zip archive"):
        Archive(path)


def test_a_missing_file_in_a_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nope\.bin: there is no such file"):
        Folder(tmp_path).read("nope.bin")


def test_a_file_larger_than_any_flash_is_not_read_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.bin").write_bytes(b"\0" * 2000)
    monkeypatch.setattr(sources, "MAX_FILE", 1000)

    with pytest.raises(BundleError, match="larger than 1000 bytes"):
        Folder(tmp_path).read("x.bin")
