"""The panic: true addresses, registers that agree with the instruction, a stack that unwinds."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from elftools.dwarf.callframe import FDE
from elftools.elf.elffile import ELFFile

from rig.boards.virtual.cpu import HeapObject, LoadFault, Pointer, begin_task, call
from rig.boards.virtual.firmware import AppImage, parse_app
from rig.boards.virtual.panic import dump

BUNDLES = Path(__file__).resolve().parents[3] / "fixtures" / "firmware"
WORKER = "sendspin::SendspinServerConnection::async_send_time_text"
STACK = ("vPortTaskWrapper", "httpd_thread", "httpd_server", "httpd_process_ctrl_msg", WORKER)


def image(version: str) -> AppImage:
    return parse_app((BUNDLES / version / "sendspin-speaker.bin").read_bytes())


class Recorder:
    """The part of a chip that a panic needs."""

    def __init__(self, version: str) -> None:
        self.image = image(version)
        self.text = ""

    def say(self, text: str) -> None:
        self.text += text + "\n"


@pytest.fixture(params=["v0.5.0", "pr57", "v0.6.1", "v0.7.0"])
def panicked(request: pytest.FixtureRequest) -> Recorder:
    chip = Recorder(request.param)
    dump(chip, LoadFault(0x3FC94000, STACK))  # type: ignore[arg-type]
    return chip


def registers(text: str) -> dict[str, int]:
    return {name: int(value, 16) for name, value in re.findall(r"(\S+) *: (0x[0-9a-f]{8})  ", text)}


def test_the_lines_are_those_of_a_c3(panicked: Recorder) -> None:
    lines = panicked.text.splitlines()
    assert lines[0] == (
        "Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was unhandled."
    )
    assert lines[2] == "Core  0 register dump:"
    form = r"(?:\S+ *: 0x[0-9a-f]{8}  ){1,4}"
    assert all(re.fullmatch(form, line) for line in lines[3:13])
    assert lines[11].startswith("MSTATUS : 0x00001881  MTVEC   : ")
    assert lines[12] == "MHARTID : 0x00000000  "
    assert lines[14] == "Stack memory:"
    assert re.fullmatch(r"3fc[0-9a-f]{5}:(?: 0x[0-9a-f]{8}){8}", lines[15])
    sha = panicked.image.descriptor.elf_sha256.hex()
    assert lines[-3:] == [f"ELF file SHA256: {sha[:9]}", "", "Rebooting..."]


def test_the_registers_agree_with_the_instruction_at_mepc(panicked: Recorder) -> None:
    seen = registers(panicked.text)
    function = panicked.image.functions[WORKER]
    assert function.load is not None
    assert seen["MEPC"] == function.touch
    assert seen["MCAUSE"] == 5
    assert seen["MTVAL"] == (0xFEFEFEFE + function.load.offset) & 0xFFFFFFFF
    assert 0xFEFEFEFE in [seen[name] for name in ("A0", "A1", "A2", "A3", "A4", "A5", "S1")]
    assert seen["RA"] == panicked.image.calls["httpd_process_ctrl_msg", WORKER]


def test_the_stack_unwinds_with_the_elfs_call_frame_information(
    panicked: Recorder,
) -> None:
    seen = registers(panicked.text)
    memory = {}
    for address, words in re.findall(
        r"^(3fc[0-9a-f]{5}):((?: 0x[0-9a-f]{8})+)", panicked.text, re.M
    ):
        for number, word in enumerate(words.split()):
            memory[int(address, 16) + 4 * number] = int(word, 16)
    version = panicked.image.descriptor.version
    with (BUNDLES / version / "sendspin-speaker.elf").open("rb") as file:
        entries = ELFFile(file).get_dwarf_info().CFI_entries()
    starts = [panicked.image.functions[name].start for name in reversed(STACK)]
    assert unwind(entries, memory, seen) == starts


def unwind(entries: Any, memory: dict[int, int], seen: dict[str, int]) -> list[int]:
    """Where the functions start, innermost first, by DWARF alone: no function table."""
    fdes = [entry for entry in entries if isinstance(entry, FDE)]
    found: list[int] = []
    pc, sp, ra = seen["MEPC"], seen["SP"], seen["RA"]
    while pc:
        fde = next((e for e in fdes if 0 <= pc - e["initial_location"] < e["address_range"]), None)
        assert fde is not None, f"no frame information for {pc:#x}"
        found.append(fde["initial_location"])
        rows = [row for row in fde.get_decoded().table if row["pc"] <= pc]
        cfa = sp + rows[-1]["cfa"].offset
        rule = rows[-1].get(1)
        if rule is not None and rule.type == "UNDEFINED":
            break
        return_to = memory[cfa + rule.arg] if rule is not None else ra
        pc, sp, ra = (return_to - 1 if return_to else 0), cfa, 0
    return found


def test_a_pointer_faults_only_once_its_object_is_gone() -> None:
    begin_task("httpd_thread")
    thing = HeapObject()
    pointer = Pointer(thing)
    assert pointer.load() is thing
    address = thing.address
    del thing
    assert pointer.lock() is None
    with call(WORKER), pytest.raises(LoadFault) as raised:
        pointer.load()
    assert raised.value.pointer == address
    assert raised.value.stack == ("vPortTaskWrapper", "httpd_thread", WORKER)


def test_the_aimed_recipe_panics_in_the_time_worker(
    boot: Callable[[str], Any], peer: Callable[..., Any]
) -> None:
    device = boot("v0.5.0")
    a, b = peer(device, "A").upgrade(), peer(device, "B")
    a.wait("client/hello")
    b.upgrade().wait("client/hello")
    a.hello(then=b"\x81")
    device.wait_log("Connection handshake complete: server_id=A")
    b.send(b"\x81")
    c = peer(device, "C").upgrade()
    a.reset()
    device.wait_log("Current connection lost")
    b.reset()
    text = "\n".join(device.wait_panic())
    assert registers(text)["MEPC"] == image("v0.5.0").functions[WORKER].touch
    assert c.raw == b""
