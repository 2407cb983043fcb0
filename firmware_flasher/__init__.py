"""firmware_flasher: a firmware bundle onto an ESP32, by real esptool in a process of its own.

    bundle = load_bundle("build/")
    result = await flash(bundle, SerialPort("/dev/ttyUSB0"), on_event=print)

By itself, for any ESP32 on a port: `python -m firmware_flasher BUNDLE --port PORT`.
"""

from firmware_flasher.bundle import Bundle, Region
from firmware_flasher.errors import BundleError, FlashError
from firmware_flasher.flasher import (
    FlashResult,
    chip_info,
    erase_flash,
    flash,
    read_flash,
    verify_flash,
)
from firmware_flasher.loading import load_bundle
from firmware_flasher.messages import ChipInfo, Event
from firmware_flasher.port import Port, SerialPort

__all__ = [
    "Bundle",
    "BundleError",
    "ChipInfo",
    "Event",
    "FlashError",
    "FlashResult",
    "Port",
    "Region",
    "SerialPort",
    "chip_info",
    "erase_flash",
    "flash",
    "load_bundle",
    "read_flash",
    "verify_flash",
]
