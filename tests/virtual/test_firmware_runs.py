"""The firmware's code, run by an emulator of the CPU: what the function table says must happen.

The virtual board never runs it; here it shows that the table tells the truth.
"""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import pytest

from rig.boards.virtual.firmware import parse_app

unicorn = pytest.importorskip("unicorn", reason="needs the CPU emulator: pip install unicorn")
riscv = pytest.importorskip("unicorn.riscv_const")

BUNDLE = Path(__file__).resolve().parents[2] / "fixtures" / "firmware" / "v0.5.0"
CONN = "sendspin::SendspinServerConnection::"
TASK = ["vPortTaskWrapper", "httpd_thread", "httpd_server", "httpd_process_ctrl_msg"]
STACK, DEAD, WORK, HTTPD = 0x3FC90000, 0x3FCB0000, 0x3FCB8000, 0x3FCD0000
MAPPED = (0x3C010000, 0x42000000, 0x40380000, 0x3FC80000, 0x3FC90000, 0x3FCB0000, 0x3FCD0000)


@pytest.mark.parametrize("worker", ["async_send_time_text", "async_send_text"])
def test_a_worker_run_on_a_freed_connection_faults_as_the_table_says(worker: str) -> None:
    app = parse_app((BUNDLE / "sendspin-speaker.bin").read_bytes())
    chain = [*TASK, CONN + worker]
    cpu = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
    for address in MAPPED:
        cpu.mem_map(address, 0x10000)
    for segment in app.segments:
        if segment.address:  # not what only pads the file
            cpu.mem_write(segment.address, segment.data)
    cpu.mem_write(DEAD, b"\xfe" * 512)  # the freed connection, poisoned
    cpu.mem_write(WORK, struct.pack("<I60x", DEAD))  # the time worker gets the object itself
    argument = DEAD if worker == "async_send_time_text" else WORK
    message = struct.pack("<III", 1, app.functions[chain[-1]].start, argument)
    faults: list[int] = []

    def leave(result: int, data: bytes) -> None:
        cpu.mem_write(cpu.reg_read(riscv.UC_RISCV_REG_A1), data)
        cpu.reg_write(riscv.UC_RISCV_REG_A0, result)
        cpu.reg_write(riscv.UC_RISCV_REG_PC, cpu.reg_read(riscv.UC_RISCV_REG_RA))

    def step(_cpu: object, pc: int, _size: int, _data: object) -> None:
        if pc == app.functions["lwip_select"].start:
            leave(1, struct.pack("<I", 1))  # the control socket is readable
        elif pc == app.functions["lwip_recv"].start:
            leave(len(message), message)

    def fault(_cpu: object, _kind: int, at: int, _size: int, _value: int, _data: object) -> bool:
        faults.append(at)
        return False

    cpu.hook_add(unicorn.UC_HOOK_CODE, step)
    cpu.hook_add(unicorn.UC_HOOK_MEM_INVALID, fault)
    cpu.reg_write(riscv.UC_RISCV_REG_SP, STACK + 0x8000)
    cpu.reg_write(riscv.UC_RISCV_REG_A0, app.functions["httpd_thread"].start)
    cpu.reg_write(riscv.UC_RISCV_REG_A1, HTTPD)
    with pytest.raises(unicorn.UcError):
        cpu.emu_start(app.functions["vPortTaskWrapper"].start, 0, count=10_000)

    load = app.functions[chain[-1]].load
    assert load is not None
    assert cpu.reg_read(riscv.UC_RISCV_REG_PC) == app.functions[chain[-1]].touch
    assert faults == [0xFEFEFEFE + load.offset]
    assert cpu.reg_read(riscv.UC_RISCV_REG_X0 + load.base) == 0xFEFEFEFE
    assert cpu.reg_read(riscv.UC_RISCV_REG_RA) == app.call(*chain[-2:])
    sp = cpu.reg_read(riscv.UC_RISCV_REG_SP)
    for caller, callee in reversed(list(itertools.pairwise(chain))):
        function = app.functions[callee]
        assert function.ra_offset is not None
        saved = bytes(cpu.mem_read(sp + function.ra_offset, 4))
        assert saved == struct.pack("<I", app.call(caller, callee))
        sp += function.frame_size
    assert sp == STACK + 0x8000 - app.functions["vPortTaskWrapper"].frame_size
