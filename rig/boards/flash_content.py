"""What is in a board's flash: its partition table, which application it boots, any range of it.

    async with flash_content(board) as content:
        table = await content.table()
        data = await content.read(row.offset, row.size)

The board sits in its ROM loader meanwhile; on leaving it is reset, and runs again.
"""

from __future__ import annotations

import contextlib
import struct
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

from firmware_flasher.errors import FlashError
from firmware_flasher.flasher import read_flash
from firmware_flasher.image import (
    PARTITION_TABLE_OFFSET,
    PARTITION_TABLE_SIZE,
    SUBTYPE_FACTORY,
    SUBTYPE_OTA_0,
    SUBTYPE_OTADATA,
    TYPE_APP,
    TYPE_DATA,
    AppDescriptor,
    ImageError,
    Partition,
    boot_partition,
    looks_like_partition_table,
    read_app_descriptor,
    read_partition_table,
)
from firmware_flasher.messages import ChipFound, ChipInfo, Event
from rig.boards.base import Board, FlashPort, Identity
from rig.boards.flashing import as_rig_error
from rig.boards.identities import identity_of, note
from rig.errors import BenchError, BoardError

FIRST_READ = 0x9000
"""Bytes read at once with the table: what follows it (NVS, OTA data, the application's head)."""
_APP_HEAD = 0x120
_OTA_ENTRY = struct.Struct("<I20sII")
_BLANK = 0xFFFFFFFF
_ABORTED, _INVALID = 4, 3

OnEvent = Callable[[Event], None]


def _flash_port(board: Board) -> FlashPort:
    """The port to reach its flash by. Raises `BenchError` for a board without one."""
    port = board.flash_port
    if port is None:
        raise BenchError(
            f"the board '{board.name}' has no flash port",
            hint="name one as `flash` in its bench table",
        )
    return port


class FlashContent:
    """Reads one board's flash, each byte once. Made by `flash_content`."""

    def __init__(
        self, board: Board, on_event: OnEvent, table_offset: int, *, any_board: bool = False
    ) -> None:
        self._board = board
        self._any_board = any_board
        self._on_event = on_event
        self._table_offset = table_offset
        self._windows: list[tuple[int, bytes]] = []
        self.info: ChipInfo | None = None
        """Who answered; None before the first read."""

    @property
    def port(self) -> FlashPort:
        """Its port, such that the board stays in its loader after each call."""
        port = _flash_port(self._board)
        if self._any_board:
            port = replace(port, mac=None)
        return replace(port, after="no-reset") if self._board.can_reset else port

    async def reset(self, *, download: bool = False) -> None:
        """For the flasher: into download mode when asked, back only when all is done."""
        if download:
            await self._board.reset(download=True)

    async def run_again(self) -> None:
        """Reset the board out of its loader, where that can be done and is needed."""
        if self._board.can_reset and self.info is not None:
            await self._board.reset()

    @property
    def owner_resets(self) -> bool:
        """Whether the port has no reset lines and the board does it."""
        return self._board.can_reset and self.port.before == "no-reset"

    async def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on. Raises `BoardError`, `FirmwareError`, `BenchError`."""
        for start, data in self._windows:
            if start <= offset and offset + size <= start + len(data):
                return data[offset - start : offset - start + size]
        try:
            data = await read_flash(
                self.port,
                offset=offset,
                size=size,
                on_event=self._hear,
                reset=self.reset if self.owner_resets else None,
            )
        except FlashError as error:
            raise as_rig_error(error) from error
        self._windows.append((offset, data))
        return data

    def _hear(self, event: Event) -> None:
        if isinstance(event, ChipFound):
            self.info = event.info
        self._on_event(event)

    async def table(self) -> tuple[Partition, ...]:
        """The rows of the partition table. Raises `BoardError` where there is none to be read."""
        head = await self.read(self._table_offset, FIRST_READ)
        head = head[:PARTITION_TABLE_SIZE]
        where = f"{self._board.name}: no partition table at {self._table_offset:#x}"
        if not looks_like_partition_table(head):
            blank = not head.strip(b"\xff")
            raise BoardError(
                f"{where}: {'the flash is blank there' if blank else 'other bytes are there'}",
                hint="flash it first (rig flash)"
                if blank
                else "it may lie elsewhere (--table-offset, CONFIG_PARTITION_TABLE_OFFSET), or the "
                "flash is encrypted, which cannot be read from outside",
            )
        try:
            return read_partition_table(head)
        except ImageError as error:
            raise BoardError(f"{where}: it {error}", hint="flash it again (rig flash)") from error

    async def app(self) -> AppDescriptor | None:
        """The application that it boots; None: none is there. Raises as `table`."""
        table = await self.table()
        row = await self._booted(table)
        return read_app_descriptor(await self.read(row.offset, _APP_HEAD)) if row else None

    async def _booted(self, table: tuple[Partition, ...]) -> Partition | None:
        """What the bootloader picks (ESP-IDF, `bootloader_common_get_active_otadata`)."""
        slots = sorted(
            (row for row in table if row.type == TYPE_APP and SUBTYPE_OTA_0 <= row.subtype < 0x20),
            key=lambda row: row.subtype,
        )
        data = [row for row in table if (row.type, row.subtype) == (TYPE_DATA, SUBTYPE_OTADATA)]
        if not slots or not data:
            return boot_partition(table)
        raw = await self.read(data[0].offset, min(data[0].size, 0x2000))
        entries = [raw[at : at + _OTA_ENTRY.size] for at in (0, 0x1000)]
        numbers = [number for entry in entries if (number := _ota_number(entry)) is not None]
        if numbers:
            return slots[(max(numbers) - 1) % len(slots)]
        factory = (TYPE_APP, SUBTYPE_FACTORY)
        return next((row for row in table if (row.type, row.subtype) == factory), slots[0])


def _ota_number(entry: bytes) -> int | None:
    """The sequence number of one `esp_ota_select_entry_t`; None where it does not count."""
    if len(entry) < _OTA_ENTRY.size:
        return None
    number, _label, state, crc = _OTA_ENTRY.unpack(entry)
    if number in (0, _BLANK) or state in (_ABORTED, _INVALID):
        return None
    # esp_rom_crc32_le(UINT32_MAX, &ota_seq, 4)
    return number if zlib.crc32(struct.pack("<I", number), _BLANK) == crc else None


@contextlib.asynccontextmanager
async def flash_content(
    board: Board,
    *,
    on_event: OnEvent = lambda _event: None,
    table_offset: int = PARTITION_TABLE_OFFSET,
    any_board: bool = False,
) -> AsyncIterator[FlashContent]:
    """The board's flash, for as long as needed; then the board is reset. Hold its lock.

    `any_board`: also where another one than that of the bench's MAC answers.
    """
    content = FlashContent(board, on_event, table_offset, any_board=any_board)
    _flash_port(board)
    try:
        yield content
        if content.info is not None:
            note(board, identity_of(content.info))
    except BaseException:
        with contextlib.suppress(BoardError):  # the first error is the one to be told
            await content.run_again()
        raise
    await content.run_again()


async def probe(board: Board, *, on_event: OnEvent = lambda _event: None) -> Identity:
    """Ask the chip who it is and what it boots. Resets the board. Raises `BoardError`."""
    async with flash_content(board, on_event=on_event, any_board=True) as content:
        firmware = None
        try:
            app = await content.app()
            firmware = f"{app.project} {app.version}".strip() if app else None
        except BoardError:
            if content.info is None:
                raise  # it did not even say who it is
        info = content.info
        assert info is not None
        return identity_of(info, firmware)
