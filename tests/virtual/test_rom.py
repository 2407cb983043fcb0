"""The loader by itself, packet by packet; `test_esptool.py` has the real esptool drive it."""

from __future__ import annotations

import asyncio
import hashlib
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rig.boards.virtual import slip
from rig.boards.virtual.flash import SECTOR, NorFlash
from rig.boards.virtual.registers import RTC_WDT_CONFIG0, RTC_WDT_PROTECT, WDT_KEY, Registers
from rig.boards.virtual.rom import Leave, Loader, checksum

pytestmark = pytest.mark.anyio
MAC = bytes.fromhex("7edfa1010203")
SYNC = b"\x07\x07\x12\x20" + b"\x55" * 32


class Wire:
    """A UART whose host is the test."""

    def __init__(self) -> None:
        self.baud = 115_200
        self.sent = bytearray()
        self._to_chip: asyncio.Queue[bytes] = asyncio.Queue()
        self._decoder = slip.Decoder()

    async def read(self) -> bytes:
        return await self._to_chip.get()

    async def send(self, data: bytes) -> None:
        self.sent += data

    def type(self, data: bytes) -> None:
        self._to_chip.put_nowait(data)

    def packets(self) -> list[bytes]:
        data, self.sent = bytes(self.sent), bytearray()
        return self._decoder.feed(data)


class Host:
    """A host that knows the protocol, with its loader running."""

    def __init__(self, flash: NorFlash) -> None:
        self.wire, self.flash = Wire(), flash
        self.armed: list[bool] = []
        self.registers = Registers(MAC, flash, lambda: self.armed.append(True))
        self.loader = Loader(self.wire, flash, self.registers)
        self.task = asyncio.create_task(self.loader.serve())

    async def settle(self) -> None:
        for _ in range(3000):
            await asyncio.sleep(0)
            if self.wire.sent or self.task.done():
                await asyncio.sleep(0)
                return

    async def ask(self, op: int, data: bytes = b"", check: int = 0) -> tuple[int, bytes, bytes]:
        """Value, data and status (error flag, reason) of the reply."""
        self.wire.type(slip.encode(struct.pack("<BBHI", 0, op, len(data), check) + data))
        await self.settle()
        reply = self.wire.packets()[0]
        direction, echoed, size, value = struct.unpack_from("<BBHI", reply)
        assert (direction, size) == (1, len(reply) - 8)
        status = 2 if self.loader.stub else 4
        self.echoed = echoed
        return value, reply[8 : len(reply) - status], reply[len(reply) - status :][:2]

    async def block(self, op: int, data: bytes, sequence: int = 0) -> bytes:
        head = struct.pack("<IIII", len(data), sequence, 0, 0)
        return (await self.ask(op, head + data, checksum(data)))[2]

    async def start_stub(self) -> None:
        await self.ask(0x05, struct.pack("<IIII", 4, 1, 0x1800, 0x40380000))
        await self.block(0x07, b"\x13\0\0\0")
        self.wire.type(
            slip.encode(struct.pack("<BBHIII", 0, 0x06, 8, 0, 0, 0x40380000)),
        )
        await self.settle()
        assert self.wire.packets()[1] == b"OHAI"


@pytest.fixture
async def host(tmp_path):
    with NorFlash(tmp_path / "flash.bin") as flash:
        host = Host(flash)
        yield host
        host.task.cancel()
        await asyncio.gather(host.task, return_exceptions=True)


@pytest.fixture
async def stub(host):
    await host.start_stub()
    return host


OK = b"\0\0"


async def test_sync_is_answered_eight_times_and_tells_rom_from_stub(host):
    host.wire.type(slip.encode(struct.pack("<BBHI", 0, 8, 36, 0) + SYNC))
    await host.settle()
    rom = host.wire.packets()
    assert len(rom) == 8
    assert rom[0] == bytes.fromhex("010804000707122000000000")
    await host.start_stub()
    host.wire.type(slip.encode(struct.pack("<BBHI", 0, 8, 36, 0) + SYNC))
    await host.settle()
    assert host.wire.packets()[7] == bytes.fromhex("01080200000000000000")


async def test_an_unknown_command_is_refused_under_the_last_commands_number(host):
    await host.ask(0x0A, struct.pack("<I", 0x40001000))
    _, _, status = await host.ask(0xD0)
    assert (host.echoed, status) == (0x0A, b"\x01\x05")


async def test_a_jump_into_memory_that_was_never_loaded_crashes(host):
    host.wire.type(slip.encode(struct.pack("<BBHIII", 0, 0x06, 8, 0, 0, 0x40390000)))
    assert await host.task is Leave.CRASHED


async def test_ram_that_the_chip_does_not_have_takes_no_data(host):
    await host.ask(0x05, struct.pack("<IIII", 4, 1, 0x1800, 0x3FFB0000))
    assert await host.block(0x07, b"abcd") == b"\x01\x06"


async def test_a_block_with_a_wrong_checksum_is_refused_and_not_written(stub):
    await stub.ask(0x02, struct.pack("<IIII", 4, 1, 0x4000, 0))
    head = struct.pack("<IIII", 4, 0, 0, 0)
    assert (await stub.ask(0x03, head + b"abcd", checksum(b"abcd") ^ 1))[2] == b"\x01\xc1"
    assert stub.flash.read(0, 4) == b"\xff" * 4


async def test_data_without_a_begin_is_refused(stub):
    assert await stub.block(0x03, b"abcd") == b"\x01\xc6"
    assert await stub.block(0x11, b"abcd") == b"\x01\xc6"


async def test_the_rom_erases_at_begin_the_stub_as_it_writes(host):
    host.flash.poke(SECTOR, b"\0" * 8)
    host.flash.poke(0, b"\0" * 8)
    await host.ask(0x02, struct.pack("<IIII", SECTOR * 2, 1, 0x400, 0))
    assert host.flash.read(SECTOR, 8) == b"\xff" * 8
    await host.start_stub()
    host.flash.poke(0, b"\0" * 8)
    await host.ask(0x02, struct.pack("<IIII", 4, 1, 0x4000, 0))
    assert host.flash.read(0, 8) == b"\0" * 8
    assert await host.block(0x03, b"abcd") == OK
    assert host.flash.read(0, 8) == b"abcd\xff\xff\xff\xff"


async def test_a_repeated_block_is_written_once(stub):
    await stub.ask(0x02, struct.pack("<IIII", 8, 2, 4, 0))
    assert await stub.block(0x03, b"abcd", 0) == OK
    assert await stub.block(0x03, b"abcd", 0) == OK
    assert await stub.block(0x03, b"efgh", 1) == OK
    assert stub.flash.read(0, 8) == b"abcdefgh"


async def test_what_inflates_to_more_than_was_announced_is_refused(stub):
    await stub.ask(0x10, struct.pack("<IIII", 4096, 1, 0x4000, 0))
    assert await stub.block(0x11, zlib.compress(b"\0" * 3_000_000)) == b"\x01\xc9"


async def test_what_does_not_inflate_is_refused(stub):
    await stub.ask(0x10, struct.pack("<IIII", 4096, 1, 0x4000, 0))
    assert await stub.block(0x11, b"no zlib stream") == b"\x01\xc7"


async def test_an_end_before_all_was_written_is_refused(stub):
    await stub.ask(0x10, struct.pack("<IIII", 4096, 1, 0x4000, 0))
    assert (await stub.ask(0x12, struct.pack("<I", 1)))[2] == b"\x01\xc8"


async def test_md5_comes_in_hex_from_the_rom_and_raw_from_the_stub(host):
    digest = hashlib.md5(b"\xff" * 100).digest()
    request = struct.pack("<IIII", 0, 100, 0, 0)
    assert (await host.ask(0x13, request))[1] == digest.hex().encode()
    await host.start_stub()
    assert (await host.ask(0x13, request))[1] == digest


async def test_beyond_the_end_of_the_flash_every_command_fails(stub):
    beyond = struct.pack("<IIII", 0x400000, 4096, 0, 0)
    assert (await stub.ask(0x13, beyond))[2] == b"\x01\xc4"
    assert (await stub.ask(0xD1, struct.pack("<II", 0x400000, 4096)))[2] == b"\x01\xc4"
    size_and_place = struct.pack("<IIII", 8192, 1, 0x4000, 0x3FF000)
    assert (await stub.ask(0x02, size_and_place))[2] == b"\x01\xc4"


async def test_reading_stops_at_the_window_until_blocks_are_acknowledged(stub):
    head, *blocks = await read(stub, size=5 * 1024, block=1024, window=2)
    assert head[1] == 0xD2
    assert len(blocks) == 2
    stub.wire.type(slip.encode(struct.pack("<I", 2048)))
    await stub.settle()
    assert len(stub.wire.packets()) == 2
    stub.wire.type(slip.encode(struct.pack("<I", 4096)) + slip.encode(struct.pack("<I", 5120)))
    await stub.settle()
    *_, digest = stub.wire.packets()
    assert digest == hashlib.md5(b"\xff" * 5120).digest()


async def read(host, *, size, block, window):
    body = struct.pack("<IIII", 0, size, block, window)
    host.wire.type(slip.encode(struct.pack("<BBHI", 0, 0xD2, 16, 0) + body))
    await host.settle()
    await asyncio.sleep(0)
    return host.wire.packets()


async def test_a_host_that_gives_a_read_up_is_heard_again(stub):
    await read(stub, size=8192, block=1024, window=1)
    value, _, status = await stub.ask(0x0A, struct.pack("<I", 0x60008844))
    assert (value, status) == (int.from_bytes(MAC[2:]), OK)


async def test_the_flash_answers_only_once_its_pins_are_attached(host):
    async def rdid() -> int:
        for register, value in (
            (0x60002018, 1 << 31 | 1 << 28),
            (0x60002020, 7 << 28 | 0x9F),
            (0x60002028, 23),
            (0x60002000, 1 << 18),
        ):
            await host.ask(0x09, struct.pack("<IIII", register, value, 0xFFFFFFFF, 0))
        assert (await host.ask(0x0A, struct.pack("<I", 0x60002000)))[0] == 0
        return (await host.ask(0x0A, struct.pack("<I", 0x60002058)))[0]

    assert await rdid() == 0xFFFFFF
    await host.ask(0x0D, bytes(8))
    assert await rdid() == 0x1640C8


async def test_the_watchdog_bites_only_when_it_was_unlocked(host):
    arm = struct.pack("<IIII", RTC_WDT_CONFIG0, 0xD0000102, 0xFFFFFFFF, 0)
    await host.ask(0x09, arm)
    assert host.armed == []
    await host.ask(0x09, struct.pack("<IIII", RTC_WDT_PROTECT, WDT_KEY, 0xFFFFFFFF, 0))
    await host.ask(0x09, arm)
    assert host.armed == [True]


async def test_a_finished_flash_ends_in_a_reboot_or_in_a_run(host):
    await host.ask(0x02, struct.pack("<IIIII", 0, 0, 0x400, 0, 0))
    host.wire.type(slip.encode(struct.pack("<BBHII", 0, 0x04, 4, 0, 1)))
    assert await host.task is Leave.RUN


@given(st.lists(st.binary(max_size=60), max_size=5), st.booleans())
@settings(deadline=None, max_examples=30)
def test_no_packet_silences_the_loader(tmp_path_factory, packets, as_stub):
    async def run() -> None:
        with NorFlash(tmp_path_factory.getbasetemp() / "rom-fuzz.bin") as flash:
            host = Host(flash)
            if as_stub:
                await host.start_stub()
            for packet in packets:
                if packet[1:2] in (b"\x04", b"\x06", b"\x12", b"\xd3"):
                    continue  # these may rightly leave the loader
                host.wire.type(slip.encode(packet))
                await host.settle()
            host.wire.packets()
            host.wire.type(slip.encode(struct.pack("<BBHI", 0, 8, 36, 0) + SYNC))
            await host.settle()
            assert host.wire.packets()[-1][:2] == b"\x01\x08"
            host.task.cancel()
            await asyncio.gather(host.task, return_exceptions=True)

    asyncio.run(run())


@given(st.binary(max_size=100))
def test_the_checksum_is_the_xor_of_all_bytes(data):
    expected = 0xEF
    for byte in data:
        expected ^= byte
    assert checksum(data) == expected
