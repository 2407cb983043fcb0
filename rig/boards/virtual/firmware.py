"""A flashed application image as the model reads it: segments, descriptor, function table.

The image is what the user flashed, so all of it is untrusted. Formats: ESP-IDF's segment header and
`esp_app_desc_t` (5.5); the function table is `fixtures/firmware/build.py`'s.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from rig.errors import FirmwareError

TABLE_MAGIC = b"SRIG-FUNCTIONS\0\0"
_APP_DESC_MAGIC = b"\x32\x54\xcd\xab"


class Segment(NamedTuple):
    """What is at `address` on the chip."""

    address: int
    data: bytes


@dataclass(frozen=True, slots=True)
class AppDescriptor:
    """`esp_app_desc_t`: what the application calls itself. `elf_sha256` is 32 bytes."""

    version: str
    project_name: str
    time: str
    date: str
    idf_version: str
    elf_sha256: bytes


class Load(NamedTuple):
    """A RISC-V load from `[base + offset]`; `base` is a register's number."""

    base: int
    offset: int


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the firmware, `start` to `end` (exclusive), and its frame.

    `touch` is the address of the load through the object that the function works on (0: none),
    `load` that instruction. `frame_size` (bytes) is SP's distance from the caller's after the
    prologue; `ra_offset` the return address's place from SP there, None: it stays in RA.
    """

    name: str
    start: int
    end: int
    touch: int
    frame_size: int
    ra_offset: int | None
    load: Load | None


@dataclass(frozen=True, slots=True)
class AppImage:
    """An application image. `functions` is empty in firmware that is not the model's.

    `calls` has the return address of each call, by caller and callee.
    """

    segments: tuple[Segment, ...]
    descriptor: AppDescriptor
    functions: Mapping[str, Function]
    calls: Mapping[tuple[str, str], int]


def _bad(what: str) -> FirmwareError:
    return FirmwareError(
        f"not an ESP32-C3 application: {what}",
        hint="flash a bundle built for the ESP32-C3, for example fixtures/firmware/v0.7.0",
    )


def parse_app(data: bytes) -> AppImage:
    """Read an application image (`data` may go on after its end). Raises `FirmwareError`.

    Header, checksum and hash are the boot code's to verify.
    """
    try:
        segments, at = [], 24
        for _ in range(data[1]):
            address, size = struct.unpack_from("<II", data, at)
            if size > len(data) - at - 8:
                raise _bad(f"a segment of {size:#x} bytes does not fit")
            segments.append(Segment(address, data[at + 8 : at + 8 + size]))
            at += 8 + size
        return AppImage(tuple(segments), _descriptor(segments[0].data), *_table(segments))
    except (struct.error, IndexError) as error:
        raise _bad(f"it is cut short ({error})") from error


def text(raw: bytes) -> str:
    """The string in a field of fixed size."""
    return raw.split(b"\0", 1)[0].decode("utf-8", "replace")


def _descriptor(drom: bytes) -> AppDescriptor:
    if drom[:4] != _APP_DESC_MAGIC:
        raise _bad(f"expected descriptor magic {_APP_DESC_MAGIC.hex()}, found {drom[:4].hex()}")
    version, name, time, date, idf, sha = struct.unpack_from("<16x32s32s16s16s32s32s", drom)
    return AppDescriptor(text(version), text(name), text(time), text(date), text(idf), sha)


def _table(
    segments: Sequence[Segment],
) -> tuple[dict[str, Function], dict[tuple[str, str], int]]:
    """The function table, wherever in the image it lies; empty when there is none."""
    drom = next((segment for segment in segments if TABLE_MAGIC in segment.data), None)
    if drom is None:
        return {}, {}
    at = drom.data.index(TABLE_MAGIC) + 16
    version, n_functions, n_calls = struct.unpack_from("<III", drom.data, at)
    if version != 1:
        raise _bad(f"a function table of version {version} is not known")
    rows = drom.data[at + 12 :][: n_functions * 24]
    functions = []
    for where, start, end, touch, frame, ra in struct.iter_unpack("<6I", rows):
        if not drom.address <= where < drom.address + len(drom.data):
            raise _bad(f"a function's name lies at {where:#x}, outside of it")
        name = text(drom.data[where - drom.address :][:256])
        saved = None if ra == 0xFFFFFFFF else ra
        functions.append(Function(name, start, end, touch, frame, saved, _load(segments, touch)))
    edges = drom.data[at + 12 + n_functions * 24 :][: n_calls * 12]
    calls = {
        (functions[caller].name, functions[callee].name): return_pc
        for caller, callee, return_pc in struct.iter_unpack("<3I", edges)
    }
    return {function.name: function for function in functions}, calls


def _load(segments: Sequence[Segment], pc: int) -> Load | None:
    """The `lw` or `c.lw` at `pc`, None when there is none (RISC-V unprivileged ISA, RV32IC)."""
    for segment in segments:
        if 0 <= pc - segment.address <= len(segment.data) - 4:
            (word,) = struct.unpack_from("<I", segment.data, pc - segment.address)
            if word & 0x707F == 0x2003:
                return Load(word >> 15 & 31, (word >> 20) - (word >> 31 << 12))
            if word & 0xE003 == 0x4000:
                offset = (word >> 10 & 7) << 3 | (word >> 6 & 1) << 2 | (word >> 5 & 1) << 6
                return Load((word >> 7 & 7) + 8, offset)
    return None
