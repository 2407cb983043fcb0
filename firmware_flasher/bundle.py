"""A firmware bundle: bytes and where in flash they go, for which chip, and which firmware it is."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from firmware_flasher.chips import CHIPS, Chip, chip_of_image
from firmware_flasher.errors import BundleError
from firmware_flasher.image import (
    SECTOR,
    AppDescriptor,
    ImageError,
    Partition,
    boot_partition,
    chip_id_of,
    looks_like_image,
    read_image,
)
from firmware_flasher.messages import Settings

MODES = ("qio", "qout", "dio", "dout", "keep")
MAX_FLASH = 128 * 1024 * 1024
"""Bytes; the largest flash esptool knows."""

MERGED = "merged image"
"""The `kind` of a bundle that is flash from 0 on, as one file."""

KEEP = Settings()
"""Leave the loader's header as it is."""

_SIZE = re.compile(r"([1-9]\d{0,3})(KB|MB)")
_FREQ = re.compile(r"\d{1,3}m|keep")


@dataclass(frozen=True, slots=True)
class Region:
    """Bytes for one place in flash. `source` is the file they came from, for messages.

    `encrypted`: the chip encrypts them while writing (flash encryption in development mode).
    """

    offset: int
    data: bytes = field(repr=False)
    source: str
    encrypted: bool = False

    @property
    def end(self) -> int:
        """The first byte after it."""
        return self.offset + len(self.data)


@dataclass(frozen=True, slots=True)
class Bundle:
    """What gets flashed, complete and checked. Made by `load_bundle`.

    `origin`: what the user named; `kind`: how it was read; `table`: its partition table, where it
    has one; `app`: which firmware it is; `elf`: the ELF file it was linked as, only where its
    SHA-256 is the one in the image (symbols of another build would lie).
    """

    origin: str
    kind: str
    chip: Chip
    regions: tuple[Region, ...]
    settings: Settings = KEEP
    table: tuple[Partition, ...] = ()
    app: AppDescriptor | None = None
    elf: Path | None = None
    packed_elf: bytes | None = field(default=None, repr=False)
    """The ELF file itself, where it lies in an archive and not on disk."""

    @property
    def size(self) -> int:
        """Bytes to write, over all regions."""
        return sum(len(region.data) for region in self.regions)

    @property
    def needs(self) -> int:
        """Bytes of flash a board must have: the end of the last region or partition."""
        return max([region.end for region in self.regions] + [row.end for row in self.table])

    @property
    def label(self) -> str:
        """Which firmware it is, for people: project and version, else what the user named."""
        return f"{self.app.project} {self.app.version}" if self.app else self.origin

    @property
    def digest(self) -> str:
        """SHA-256 over all that reaches the flash: chip, settings, offsets, flags, bytes."""
        total = hashlib.sha256(f"{self.chip.name} {self.settings}\n".encode())
        for region in self.regions:
            total.update(f"{region.offset:#x} {len(region.data)} {region.encrypted}\n".encode())
            total.update(region.data)
        return total.hexdigest()


def size_in_bytes(text: str) -> int | None:
    """`4MB` -> 4194304; None for `keep` and `detect`. Raises `ValueError` for anything else."""
    if text in ("keep", "detect"):
        return None
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return int(match[1]) * (1024 if match[2] == "KB" else 1024 * 1024)


def check_settings(settings: Settings, where: str) -> None:
    """Raises `BundleError` for settings esptool would not understand; `where` names the file."""
    if settings.mode not in MODES:
        raise BundleError(
            f"{where}: flash_settings.flash_mode: {settings.mode!r}; expected {', '.join(MODES)}"
        )
    if not _FREQ.fullmatch(settings.freq):
        raise BundleError(
            f"{where}: flash_settings.flash_freq: {settings.freq!r}; expected one like '80m'"
        )
    try:
        size_in_bytes(settings.size)
    except ValueError:
        raise BundleError(
            f"{where}: flash_settings.flash_size: {settings.size!r}; "
            "expected one like '4MB', 'keep' or 'detect'"
        ) from None


def check_bundle(bundle: Bundle, *, images: bool = True) -> None:
    """Everything that can be known to be wrong before a board is touched; raises `BundleError`.

    Places (alignment, overlap, the size of flash and partitions) are always checked, `images`:
    the chip and the integrity of the images as well.
    """
    if not bundle.regions:
        raise BundleError(f"{bundle.origin}: nothing to write in it")
    _check_places(bundle)
    _check_fits(bundle)
    if images:
        boot = boot_partition(bundle.table)
        for region in bundle.regions:
            # A dump of a whole flash may well have half an update in a slot that is not used.
            if bundle.kind != MERGED or (
                region.offset == bundle.chip.bootloader_offset
                or (boot is not None and region.offset == boot.offset)
            ):
                _check_image(bundle, region)


def _check_places(bundle: Bundle) -> None:
    last: Region | None = None
    for region in bundle.regions:
        if not region.data:
            raise BundleError(f"{region.source}: is empty", hint="build again")
        if region.offset % SECTOR:
            raise BundleError(
                f"{region.source}: offset 0x{region.offset:x} is not a multiple of 0x{SECTOR:x}, "
                "the sector that flash is erased by"
            )
        if last is not None and last.end > region.offset:
            raise BundleError(
                f"{region.source} at 0x{region.offset:x} overlaps {last.source}, which lies from "
                f"0x{last.offset:x} to 0x{last.end:x}",
                hint="give it a later offset, or make the other one smaller",
            )
        last = region


def _check_fits(bundle: Bundle) -> None:
    for region in bundle.regions:
        for row in bundle.table:
            if row.offset == region.offset and region.end > row.end:
                raise BundleError(
                    f"{region.source}: {len(region.data)} bytes do not fit partition "
                    f"{row.name!r}, which has {row.size}",
                    hint="make the partition larger in partitions.csv, or the firmware smaller",
                )
    size = size_in_bytes(bundle.settings.size)
    limit = MAX_FLASH if size is None else size
    flash = "any flash" if size is None else f"the {bundle.settings.size} the bundle is built for"
    for what, end in _ends(bundle):
        if end > limit:
            raise BundleError(
                f"{what} ends at 0x{end:x}, behind the end of {flash} (0x{limit:x})",
                hint="set the flash size of the board in the build (CONFIG_ESPTOOLPY_FLASHSIZE)",
            )


def _ends(bundle: Bundle) -> Iterator[tuple[str, int]]:
    for region in bundle.regions:
        yield f"{region.source} at 0x{region.offset:x}", region.end
    for row in bundle.table:
        yield f"partition {row.name!r}", row.end


def _check_image(bundle: Bundle, region: Region) -> None:
    """An image must be for the chip, and whole. What is no image (a table, data) passes."""
    if not looks_like_image(region.data):
        if region.offset == bundle.chip.bootloader_offset and not region.encrypted:
            raise BundleError(
                f"{region.source} at 0x{region.offset:x}: no second-stage loader: starts with "
                f"{region.data[:4].hex()}, an ESP image starts with e9",
                hint="build again; --force writes it all the same",
            )
        return
    chip_id = chip_id_of(region.data)
    if chip_id != bundle.chip.image_id:
        found = chip_of_image(chip_id) if chip_id is not None else None
        raise BundleError(
            f"{region.source} at 0x{region.offset:x}: built for "
            f"{found.label if found else 'an unknown chip'} (chip id {chip_id}), but the bundle is "
            f"for {bundle.chip.label} (chip id {bundle.chip.image_id})",
            hint="build for one chip: idf.py set-target; --force writes it all the same",
        )
    try:
        read_image(region.data)
    except ImageError as error:
        raise BundleError(
            f"{region.source} at 0x{region.offset:x}: {error}",
            hint="build again; --force writes it all the same",
        ) from None


def known_chips() -> str:
    """The chips' names, for messages."""
    return ", ".join(CHIPS)
