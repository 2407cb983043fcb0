"""Addresses become functions; the wrong ELF is not believed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.errors import FirmwareError
from rig.history.crash import CrashRecord
from rig.triage import Decoder, SymbolStore, decode_record
from rig.triage import decode as decode_module
from rig.triage.elf import open_elf
from rig.triage.gdb import debugger
from rig.triage.index import Index, build_index
from rig.triage.signature import bare_name
from rig.triage.tools import ask, symboliser

CLOSING = ("httpd_thread", "httpd_server", "httpd_process_ctrl_msg", "httpd_sess_close")
VERSIONS = ["v0.5.0", "pr57", "v0.6.1"]

Panic = Callable[..., str]
Records = Callable[[str], list[CrashRecord]]
ElfOf = Callable[[str], Path]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_riscv_stack_unwinds_from_its_memory_dump(
    version: str, panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    (record,) = records(panic(version, *CLOSING))
    crash = decode_record(record, [elf_of(version)])
    assert [frame.function for frame in crash.frames] == [*reversed(CLOSING), "vPortTaskWrapper"]
    assert crash.unwound
    assert crash.frames[0].file is not None
    assert crash.frames[0].file.endswith("httpd_sess.c")


def test_a_stack_that_goes_round_in_circles_ends(
    panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    text = panic("v0.6.1", *CLOSING)
    (record,) = records(text)
    ra = record.registers["RA"]
    looped = text.replace("0xa5a5a5a5", ra).replace("0x00000000", ra)
    (record,) = records(looped)
    assert len(decode_record(record, [elf_of("v0.6.1")]).frames) < 200


def test_a_dump_that_was_cut_gives_the_frames_it_holds(
    panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    head, _, _ = panic("v0.6.1", *CLOSING).partition("Stack memory:")
    (record,) = records(head)
    functions = [f.function for f in decode_record(record, [elf_of("v0.6.1")]).frames]
    assert functions == ["httpd_sess_close", "httpd_process_ctrl_msg"]


def test_an_elf_of_another_build_is_not_believed(
    panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    (record,) = records(panic("v0.6.1", *CLOSING))
    crash = decode_record(record, [elf_of("v0.7.0")])
    assert not crash.decoded
    (note,) = crash.notes
    assert record.elf_sha256 is not None
    assert record.elf_sha256 in note
    assert "--force" in note


def test_force_decodes_with_another_build_and_says_so(
    panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    (record,) = records(panic("v0.6.1", *CLOSING))
    crash = decode_record(record, Decoder([elf_of("v0.7.0")], force=True))
    assert crash.decoded
    assert "by force" in crash.notes[0]


def test_of_several_elf_files_the_one_with_the_hash_is_used(
    panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    (record,) = records(panic("v0.6.1", *CLOSING))
    crash = decode_record(record, [elf_of(version) for version in ("v0.7.0", "v0.6.1", "pr57")])
    assert crash.elf == open_elf(elf_of("v0.6.1")).sha256
    assert crash.frames[0].function == "httpd_sess_close"


def test_the_symbol_store_finds_an_elf_by_the_printed_hash(
    panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    SymbolStore().add(elf_of("v0.6.1"))
    (record,) = records(panic("v0.6.1", *CLOSING))
    assert decode_record(record).frames[0].function == "httpd_sess_close"


def test_where_the_log_names_no_elf_the_only_one_given_is_used_and_told(
    panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    (record,) = records(panic("v0.6.1", *CLOSING).replace("ELF file SHA256", "nothing"))
    crash = decode_record(record, [elf_of("v0.6.1")])
    assert crash.frames[0].function == "httpd_sess_close"
    assert "names no ELF" in crash.notes[0]


def test_what_a_monitor_decoded_in_the_log_is_used(records: Records) -> None:
    (record,) = records(
        "Guru Meditation Error: Core  1 panic'ed (LoadProhibited). Exception was unhandled.\n"
        "Backtrace: 0x400cf76f:0x3ffb0000 0x400d1234:0x3ffb0020\n"
        "WARNING Decoded 0x400cf76f: Foo::bar(int) at /src/foo.cpp:12\n"
        " (inlined by) outer() at /src/foo.cpp:20 (discriminator 1)\n"
        "0x400d1234: loop at src/main.cpp:7\n"
    )
    frames = decode_record(record).frames
    assert [(f.function, f.line, f.inlined, f.source) for f in frames] == [
        ("Foo::bar(int)", 12, True, "log"),
        ("outer()", 20, False, "log"),
        ("loop", 7, False, "log"),
    ]


def test_a_sanitizers_report_brings_its_own_functions(records: Records) -> None:
    (record,) = records(
        "==1234==ERROR: AddressSanitizer: heap-use-after-free on address 0x60200000eff0\n"
        "READ of size 4 at 0x60200000eff0 thread T0\n"
        "    #0 0x55d0 in Player::stop(int) /src/player.cpp:12:3\n"
        "    #1 0x55d1 in main (/usr/bin/app+0x12)\n"
    )
    frames = decode_record(record).frames
    assert [(f.function, f.file, f.line) for f in frames] == [
        ("Player::stop(int)", "/src/player.cpp", 12),
        ("main", None, None),
    ]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("foo at /a/b.c:12 (discriminator 1)", ("foo", "/a/b.c", 12)),
        ("memset in ROM", ("memset", None, None)),
        ("_init at ??:?", ("_init", None, None)),
        ("f(int) at C:\\w\\a.cpp:7", ("f(int)", "C:\\w\\a.cpp", 7)),
        ("no place here", None),
        (" at x:1", None),
        ("", None),
    ],
)
def test_a_place_as_logs_write_it(text: str, place: object) -> None:
    assert decode_module._place(text) == place


def test_functions_that_were_inlined_are_named(build: Callable[..., Path]) -> None:
    elf = build(
        "volatile int *p;\n"
        "static inline __attribute__((always_inline)) int inner(void) { return *p; }\n"
        "int __attribute__((noinline)) outer(void) { return inner() + 1; }\n"
        "int app_main(void) { return outer(); }\n",
        "app",
        "-Og",
    )
    index = build_index(elf, open_elf(elf).sha256)
    chains = {tuple(name for name, _, _ in index.places(start)) for start in index.starts}
    assert ("inner", "outer") in chains


@pytest.mark.skipif(symboliser() is None, reason="neither addr2line nor llvm-symbolizer is here")
@pytest.mark.parametrize("version", VERSIONS)
def test_the_index_agrees_with_the_toolchains_symboliser(version: str, elf_of: ElfOf) -> None:
    elf = open_elf(elf_of(version))
    index = build_index(elf.path, elf.sha256)
    addresses = [start for start in index.rows if index.places(start)]
    tool = symboliser()
    assert tool is not None
    said = ask(tool, elf.path, addresses)
    assert len(addresses) > 100
    for address in addresses:
        mine, theirs = index.places(address), said.get(address, [])
        # The names of inlined functions differ from tool to tool; places and callers do not.
        assert [place[1:] for place in mine] == [place[1:] for place in theirs], hex(address)
        assert bare_name(mine[-1][0]) == bare_name(theirs[-1][0]), hex(address)


def test_an_index_is_kept_and_read_back(elf_of: ElfOf, home: Path) -> None:
    store = SymbolStore()
    kept = store.add(elf_of("v0.6.1"))
    fresh = SymbolStore().of(kept)
    assert fresh.index_path.is_file()
    assert isinstance(fresh.index(), Index)
    assert fresh.index().starts == store.of(kept).index().starts


def test_an_index_cut_short_is_built_anew(elf_of: ElfOf) -> None:
    kept = SymbolStore().add(elf_of("v0.6.1"))
    symbols = SymbolStore().of(kept)
    symbols.index_path.write_bytes(symbols.index_path.read_bytes()[:100])
    assert symbols.index().starts


def test_what_is_no_elf_is_named(tmp_path: Path) -> None:
    path = tmp_path / "app.bin"
    path.write_bytes(b"\xe9\x05\x02\x20" + bytes(100))
    with pytest.raises(FirmwareError, match=r"app\.bin is no ELF file"):
        Decoder([path])


def test_a_missing_elf_is_named(tmp_path: Path) -> None:
    with pytest.raises(FirmwareError, match="No such file"):
        Decoder([tmp_path / "gone.elf"])


def test_a_broken_elf_leaves_the_crash_undecoded_and_says_so(
    tmp_path: Path, panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    broken = tmp_path / "broken.elf"
    broken.write_bytes(elf_of("v0.6.1").read_bytes()[:3000])
    (record,) = records(panic("v0.6.1", *CLOSING))
    crash = decode_record(record, Decoder([broken], force=True))
    assert not crash.decoded
    assert any("broken" in note or "no symbols" in note for note in crash.notes)


@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_no_damage_to_an_elf_raises_anything_but_its_own_error(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory, elf_of: ElfOf
) -> None:
    content = bytearray(elf_of("v0.6.1").read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("elf") / "damaged.elf"
    path.write_bytes(content[: data.draw(st.integers(64, len(content)))])
    with contextlib.suppress(FirmwareError):
        build_index(path, "0" * 64)


@pytest.mark.skipif(debugger() is None, reason="no GDB for RISC-V on this machine")
@pytest.mark.parametrize("version", VERSIONS[:2])
def test_gdb_and_call_frame_information_find_the_same_frames(
    version: str, panic: Panic, records: Records, elf_of: ElfOf
) -> None:
    (record,) = records(panic(version, *CLOSING))
    by_gdb = Decoder([elf_of(version)], unwind="gdb").decode(record)
    by_cfi = Decoder([elf_of(version)], unwind="cfi").decode(record)
    assert (by_gdb.unwound, by_cfi.unwound) == ("gdb", "cfi")
    assert by_gdb.frames == by_cfi.frames


def test_gdb_is_not_asked_where_call_frame_information_is_enough(
    panic: Panic, records: Records, elf_of: ElfOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(decode_module.gdb, "debugger", lambda: "gdb")
    monkeypatch.setattr(decode_module.gdb, "unwind", lambda *args: asked.append(args) or [])
    (record,) = records(panic("v0.6.1", *CLOSING))
    assert Decoder([elf_of("v0.6.1")]).decode(record).unwound == "cfi"
    assert not asked


def test_gdb_is_asked_where_call_frame_information_gets_nowhere(
    panic: Panic, records: Records, elf_of: ElfOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    (record,) = records(panic("v0.6.1", *CLOSING))
    pcs = [int(record.registers["MEPC"], 16), 0x4200_0077, 0x4200_00E5]
    monkeypatch.setattr(decode_module.gdb, "debugger", lambda: "gdb")
    monkeypatch.setattr(decode_module.gdb, "unwind", lambda *args: pcs)
    monkeypatch.setattr(decode_module.cfi, "unwind", lambda *args: pcs[:1])
    crash = Decoder([elf_of("v0.6.1")]).decode(record)
    assert (crash.unwound, len({frame.address for frame in crash.frames})) == ("gdb", 3)


def test_a_gdb_that_fails_or_hangs_leaves_what_was_printed(
    panic: Panic, records: Records, elf_of: ElfOf, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (record,) = records(panic("v0.6.1", *CLOSING))
    broken = tmp_path / "gdb"
    broken.write_text("#!/bin/sh\nexec sleep 60\n")
    broken.chmod(0o755)
    monkeypatch.setattr(decode_module.gdb, "TIMEOUT", 0.2)
    monkeypatch.setattr(decode_module.gdb, "debugger", lambda: str(broken))
    crash = Decoder([elf_of("v0.6.1")], unwind="gdb").decode(record)
    assert crash.frames[0].function == "httpd_sess_close"
