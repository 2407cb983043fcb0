"""From what the user names to a checked `Bundle`.

Known kinds, in this order; the first that fits is taken:

* a zip archive of one of the others;
* a `.bin` file: a merged image (`idf.py merge-bin`, esptool `merge-bin`, ESPHome's
  `firmware.factory.bin`), that is flash from offset 0 on;
* a folder with `firmware.factory.bin` or `firmware-factory.bin` (ESPHome, PlatformIO);
* a folder with `flasher_args.json` (ESP-IDF's `build/`);
* a folder with `bootloader.bin`, `partitions.bin` and `firmware.bin` (PlatformIO);
* a project's folder, whose `build/` or one `.pio/build/ENV/` is one of these.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import msgspec

from firmware_flasher.bundle import (
    MAX_FLASH,
    MERGED,
    Bundle,
    Region,
    check_bundle,
    check_settings,
    known_chips,
)
from firmware_flasher.chips import CHIPS, Chip, chip_name, chip_of_image
from firmware_flasher.errors import BundleError
from firmware_flasher.finding import (
    FACTORY_IMAGES,
    FLASHER_ARGS,
    LOOKED_FOR,
    PLATFORMIO,
    bundle_folder,
    what_is_there,
)
from firmware_flasher.image import (
    PARTITION_TABLE_OFFSET,
    SUBTYPE_OTADATA,
    TYPE_DATA,
    AppDescriptor,
    ImageError,
    Partition,
    boot_partition,
    chip_id_of,
    looks_like_partition_table,
    read_app_descriptor,
    read_partition_table,
)
from firmware_flasher.merged import cut_merged, merged_chip, merged_table
from firmware_flasher.messages import Settings
from firmware_flasher.sources import Archive, Folder, Source, read_file

OTADATA_SIZE = 0x2000
"""Bytes; two sectors (ESP-IDF, "OTA Data Partition")."""


class _Entry(msgspec.Struct, frozen=True):
    offset: str = ""
    file: str = ""
    encrypted: str | bool = False


class _FlashSettings(msgspec.Struct, frozen=True):
    flash_mode: str = "keep"
    flash_size: str = "keep"
    flash_freq: str = "keep"


class _Extra(msgspec.Struct, frozen=True):
    chip: str = ""


class _FlasherArgs(msgspec.Struct, frozen=True):
    """The part of `flasher_args.json` that matters (ESP-IDF, component `esptool_py`)."""

    flash_files: dict[str, str]
    extra_esptool_args: _Extra = _Extra()
    flash_settings: _FlashSettings = _FlashSettings()


class _Project(msgspec.Struct, frozen=True):
    """The part of ESP-IDF's `project_description.json` that matters."""

    app_elf: str = ""


def load_bundle(path: str | Path, *, chip: str | None = None, force: bool = False) -> Bundle:
    """Read and check a bundle. `chip`: which it must be for; `force`: let broken images pass.

    Raises `BundleError`, which names the file and the field.
    """
    path = Path(path)
    wanted = named_chip(chip) if chip is not None else None
    try:
        if path.is_dir():
            bundle = _from_source(bundle_folder(path), str(path), force)
        elif not path.exists():
            raise BundleError(
                f"{path}: there is no such file or folder",
                hint=f"name the firmware: a .bin, a .zip, or a folder with {LOOKED_FOR}",
            )
        elif path.suffix == ".zip" or _begins(path, b"PK\x03\x04"):
            archive = Archive(path)
            try:
                bundle = _from_source(archive, str(path), force)
            finally:
                archive.close()
        elif path.name == FLASHER_ARGS:
            bundle = _from_flasher_args(Folder(path.parent), str(path), force)
        else:
            bundle = _from_merged(read_file(path), str(path), str(path), _elf_beside(path))
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    if wanted is not None and bundle.chip is not wanted:
        raise BundleError(f"{path}: built for {bundle.chip.label}, not for {wanted.label}")
    check_bundle(bundle, images=not force)
    return bundle


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(magic)) == magic


def named_chip(name: str, where: str = "chip") -> Chip:
    """The chip of that name. Raises `BundleError`, which lists the known ones."""
    chip = CHIPS.get(chip_name(name))
    if chip is None:
        raise BundleError(f"{where}: unknown chip {name!r}", hint=f"known: {known_chips()}")
    return chip


def _from_source(source: Source, origin: str, force: bool) -> Bundle:
    for name in FACTORY_IMAGES:
        if source.has(name):
            return _from_merged(
                source.read(name), origin, source.label(name), (source, source.names(".elf"))
            )
    if source.has(FLASHER_ARGS):
        return _from_flasher_args(source, origin, force)
    if all(source.has(name) for name in PLATFORMIO):
        return _from_platformio(source, origin)
    images = source.names(".bin")
    if len(images) == 1 and isinstance(source, Archive):
        return _from_merged(
            source.read(images[0]), origin, source.label(images[0]), (source, source.names(".elf"))
        )
    raise BundleError(
        f"{origin}: no firmware in it{what_is_there(source)}", hint=f"looked for {LOOKED_FOR}"
    )


# ESP-IDF


def _from_flasher_args(source: Source, origin: str, force: bool) -> Bundle:
    where = source.label(FLASHER_ARGS)
    text = source.read(FLASHER_ARGS)
    args, entries = _parse_flasher_args(text, where)
    if not args.flash_files:
        raise BundleError(f"{where}: flash_files: empty; expected offsets and files")
    regions: list[Region] = []
    room = MAX_FLASH
    for key, name in args.flash_files.items():
        offset = _offset(key, f"{where}: flash_files")
        if not source.has(name):
            raise BundleError(
                f"{where}: flash_files: {key}: {source.label(name)}: there is no such file",
                hint="build again: idf.py build",
            )
        data = source.read(name)
        room -= len(data)
        if room < 0:
            raise BundleError(f"{where}: flash_files: more than the largest flash holds")
        regions.append(Region(offset, data, source.label(name), _encrypted(entries, offset, name)))
    regions.sort(key=lambda region: region.offset)
    chip = _declared_chip(args.extra_esptool_args.chip, regions, where)
    settings = Settings(
        mode=args.flash_settings.flash_mode,
        freq=args.flash_settings.flash_freq,
        size=args.flash_settings.flash_size,
    )
    check_settings(settings, where)
    table = _table(regions, force)
    app = _app(regions, table)
    elf = _matching_elf(source, _elf_names(source), app)
    return Bundle(origin, "ESP-IDF build", chip, tuple(regions), settings, table, app, *elf)


def _parse_flasher_args(text: bytes, where: str) -> tuple[_FlasherArgs, list[_Entry]]:
    """The typed part, and the entries (`app`, `bootloader`, ...), each under a name of its own."""
    try:
        args = msgspec.json.decode(text, type=_FlasherArgs)
        rest = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except msgspec.ValidationError as error:
        field, _, problem = _field_and_problem(str(error))
        raise BundleError(
            f"{where}: {field}: {problem}", hint="build again: idf.py build"
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{where}: not JSON: {error}", hint="build again: idf.py build") from None
    known = {"flash_files", "flash_settings", "extra_esptool_args", "write_flash_args"}
    entries = []
    for name, raw in rest.items():
        if name not in known and bytes(raw)[:1] == b"{":
            try:
                entries.append(msgspec.json.decode(raw, type=_Entry))
            except msgspec.ValidationError as error:
                field, _, problem = _field_and_problem(str(error))
                raise BundleError(f"{where}: {name}.{field}: {problem}") from None
    return args, entries


def _field_and_problem(text: str) -> tuple[str, str, str]:
    """msgspec's ``Expected `str`, got `int` - at `$.a.b` `` as (`a.b`, '', problem)."""
    problem, _, at = text.partition(" - at ")
    field = at.strip("`").removeprefix("$").lstrip(".")
    if not field and "required field" in problem:
        field = problem.rpartition("field ")[2].strip("`")
    return field or "top level", "", problem


def _offset(text: str, where: str) -> int:
    try:
        offset = int(text, 0)
    except ValueError:
        offset = -1
    if not 0 <= offset < 2**32:
        raise BundleError(f"{where}: {text!r}; expected an offset like '0x10000'")
    return offset


def _encrypted(entries: list[_Entry], offset: int, name: str) -> bool:
    """Whether the entry of this file says so (ESP-IDF writes the word, newer ones the boolean)."""
    for entry in entries:
        if entry.file == name and entry.offset and _offset(entry.offset, name) == offset:
            return str(entry.encrypted).lower() == "true"
    return False


def _declared_chip(name: str, regions: list[Region], where: str) -> Chip:
    """The chip a file names; a file of an old ESP-IDF names none: the images do."""
    if name:
        return named_chip(name, f"{where}: extra_esptool_args.chip")
    for region in regions:
        found = chip_of_image(id_) if (id_ := chip_id_of(region.data)) is not None else None
        if found is not None and found.bootloader_offset == region.offset:
            return found
    raise BundleError(f"{where}: extra_esptool_args.chip: missing, and no image tells the chip")


def _elf_names(source: Source) -> list[str]:
    names = source.names(".elf")
    if source.has("project_description.json"):
        try:
            project = msgspec.json.decode(source.read("project_description.json"), type=_Project)
        except msgspec.DecodeError:
            return names  # only a help to find the ELF file; the check by SHA-256 decides
        if project.app_elf:
            names = [project.app_elf, *(name for name in names if name != project.app_elf)]
    return names


# Merged images


def _from_merged(
    data: bytes, origin: str, label: str, elf: tuple[Source, list[str]] | None
) -> Bundle:
    chip = merged_chip(data, label, LOOKED_FOR)
    table = merged_table(data, label)
    app = None
    boot = boot_partition(table)
    if boot is not None:
        app = read_app_descriptor(data[boot.offset : boot.end])
    found = _matching_elf(*elf, app) if elf else (None, None)
    regions = tuple(cut_merged(data, label, chip, table))
    return Bundle(origin, MERGED, chip, regions, Settings(), table, app, *found)


def _elf_beside(path: Path) -> tuple[Source, list[str]]:
    folder = Folder(path.parent)
    return folder, folder.names(".elf")


# PlatformIO


def _from_platformio(source: Source, origin: str) -> Bundle:
    """Loader, table and application, where the chip and the table say they go.

    Where the table has OTA data, it is written too (blank, unless `ota_data_initial.bin` or
    `boot_app0.bin` is there): a stale one would boot the other slot.
    """
    loader, table_data, app_data = (source.read(name) for name in PLATFORMIO)
    chip_id = chip_id_of(loader)
    chip = chip_of_image(chip_id) if chip_id is not None else None
    if chip is None:
        raise BundleError(f"{source.label(PLATFORMIO[0])}: no loader of a known chip")
    try:
        table = read_partition_table(table_data)
    except ImageError as error:
        raise BundleError(f"{source.label(PLATFORMIO[1])}: {error}") from None
    boot = boot_partition(table)
    if boot is None:
        raise BundleError(f"{source.label(PLATFORMIO[1])}: no partition for an application")
    regions = [
        Region(chip.bootloader_offset, loader, source.label(PLATFORMIO[0])),
        Region(PARTITION_TABLE_OFFSET, table_data, source.label(PLATFORMIO[1])),
        Region(boot.offset, app_data, source.label(PLATFORMIO[2])),
        *_ota_data(source, table),
    ]
    regions.sort(key=lambda region: region.offset)
    app = read_app_descriptor(app_data)
    elf = _matching_elf(source, source.names(".elf"), app)
    return Bundle(origin, "PlatformIO", chip, tuple(regions), Settings(), table, app, *elf)


def _ota_data(source: Source, table: tuple[Partition, ...]) -> list[Region]:
    for row in table:
        if row.type == TYPE_DATA and row.subtype == SUBTYPE_OTADATA:
            for name in ("ota_data_initial.bin", "boot_app0.bin"):
                if source.has(name):
                    return [Region(row.offset, source.read(name), source.label(name))]
            blank = b"\xff" * min(row.size, OTADATA_SIZE)
            return [Region(row.offset, blank, f"blank {row.name}")]
    return []


# Common to all


def _table(regions: list[Region], force: bool) -> tuple[Partition, ...]:
    for region in regions:
        if looks_like_partition_table(region.data):
            try:
                return read_partition_table(region.data)
            except ImageError as error:
                if force:
                    return ()
                raise BundleError(
                    f"{region.source} at 0x{region.offset:x}: {error}", hint="build again"
                ) from None
    return ()


def _app(regions: list[Region], table: tuple[Partition, ...]) -> AppDescriptor | None:
    """The descriptor of the application that will boot, else of the first one there is."""
    boot = boot_partition(table)
    ordered = sorted(regions, key=lambda region: boot is None or region.offset != boot.offset)
    for region in ordered:
        descriptor = read_app_descriptor(region.data)
        if descriptor is not None:
            return descriptor
    return None


def _matching_elf(
    source: Source, names: list[str], app: AppDescriptor | None
) -> tuple[Path | None, bytes | None]:
    """The ELF file whose SHA-256 the application carries: its path, or its bytes in an archive."""
    if app is None:
        return None, None
    for name in names:
        path = source.path(name)
        if path is not None:
            if path.is_file() and _sha256(path) == app.elf_sha256:
                return path, None
        elif source.has(name):
            data = source.read(name)
            if hashlib.sha256(data).hexdigest() == app.elf_sha256:
                return None, data
    return None, None


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
