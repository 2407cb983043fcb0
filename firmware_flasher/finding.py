"""Which files make a firmware, and where below a folder they may lie."""

from __future__ import annotations

from pathlib import Path

from firmware_flasher.errors import BundleError
from firmware_flasher.sources import Folder, Source

FLASHER_ARGS = "flasher_args.json"
FACTORY_IMAGES = ("firmware.factory.bin", "firmware-factory.bin")
OTA_IMAGES = ("firmware.ota.bin", "firmware-ota.bin")
PLATFORMIO = ("bootloader.bin", "partitions.bin", "firmware.bin")
LOOKED_FOR = f"{FLASHER_ARGS} (ESP-IDF), {FACTORY_IMAGES[0]} (ESPHome) or {' + '.join(PLATFORMIO)}"


def bundle_folder(path: Path) -> Folder:
    """The folder itself, or the one in it that a project's build tool writes to.

    Raises `BundleError` where it wrote several firmwares.
    """
    here = Folder(path)
    if _holds_bundle(here):
        return here
    patterns = ("build", ".pio/build/*", ".pioenvs/*")
    inside = [Folder(found) for glob in patterns for found in sorted(path.glob(glob))]
    found = [folder for folder in inside if _holds_bundle(folder)]
    if len(found) > 1:
        raise BundleError(
            f"{path}: several firmwares in it", hint=f"name one: {', '.join(map(str, found))}"
        )
    return found[0] if found else here


def _holds_bundle(source: Source) -> bool:
    return (
        source.has(FLASHER_ARGS)
        or any(source.has(name) for name in FACTORY_IMAGES)
        or all(source.has(name) for name in PLATFORMIO)
    )


def what_is_there(source: Source) -> str:
    """What comes near: an update without what it updates, two files of three."""
    updates = [name for name in OTA_IMAGES if source.has(name)]
    if updates:
        return (
            f"; {updates[0]} is an update for a device that runs already, without loader and "
            "partition table"
        )
    there = [name for name in PLATFORMIO if source.has(name)]
    if there:
        missing = [name for name in PLATFORMIO if name not in there]
        return f"; {', '.join(there)} without {', '.join(missing)}"
    return ""
