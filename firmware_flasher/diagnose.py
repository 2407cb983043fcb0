"""From what esptool, pyserial or the kernel raised to one error in plain words. Pure.

esptool raises `FatalError` with prose for nearly everything, and lets pyserial's and termios'
exceptions through. Its phrases are those of esptool 5.6 (`loader.py`, `cmds.py`, `util.py`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from firmware_flasher.errors import (
    BrokenLink,
    EsptoolError,
    FlashError,
    ImageTooLarge,
    NotInDownloadMode,
    PortBusy,
    PortError,
    PortMissing,
    PortVanished,
    ProtectedChip,
    SilentBoard,
    VerifyMismatch,
    WrongBoard,
    WrongChip,
)
from firmware_flasher.messages import Failed
from firmware_flasher.noise import is_noise, is_vanished
from firmware_flasher.port import Holder, denied, device_path

_PROTECTED = re.compile(
    r"Secure Boot|Secure Download Mode|security features|ncrypted|flash encryption", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Context:
    """What else is known: the port, who else has it open, which resets are possible."""

    url: str
    before: str
    owner_resets: bool = False
    holders: tuple[Holder, ...] = ()


def diagnose(failed: Failed, context: Context) -> FlashError:
    """The one error of a failure at `failed.step`: open, connect, then anything later."""
    own = _OWN.get(failed.kind)
    if own is not None:
        return own[0](failed.text, hint=own[1])
    if failed.step == "open":
        return _opening(failed, context)
    if is_vanished(failed.text, failed.errno):
        return PortVanished(
            f"port {context.url}: went away while {_DOING.get(failed.step, failed.step)}",
            hint="check cable and power, then flash again: it starts over and verifies",
        )
    if failed.step == "connect":
        return _connecting(failed, context)
    return _later(failed, context)


_OWN: dict[str, tuple[type[FlashError], str]] = {
    "wrong-chip": (
        WrongChip,
        "name the port of the right board, or build for this chip (idf.py set-target)",
    ),
    "wrong-board": (
        WrongBoard,
        "the boards were exchanged: `rig boards --probe` asks which one is where",
    ),
    "too-large": (
        ImageTooLarge,
        "build for this flash (CONFIG_ESPTOOLPY_FLASHSIZE, partitions.csv)",
    ),
    "port": (PortError, "name one: /dev/ttyUSB0, socket://host:port"),
    "mismatch": (VerifyMismatch, "flash it again"),
    "range": (ImageTooLarge, "name an offset and a size inside the flash, in sectors of 4096"),
}

_DOING = {
    "connect": "connecting",
    "stub": "the stub loader was uploaded",
    "attach": "asking the flash chip",
    "write": "writing",
    "verify": "verifying",
    "read": "reading",
    "erase": "erasing",
    "reset": "resetting the board",
}


def _opening(failed: Failed, context: Context) -> FlashError:
    port, text = f"port {context.url}", failed.text
    if "[Errno 13]" in text or "Permission denied" in text:
        path = device_path(context.url)
        return denied(path) if path else PortError(f"{port}: no permission to open it")
    if re.search(r"exclusively lock|\[Errno (11|16)\]|Device or resource busy", text):
        who = ", ".join(map(str, context.holders))
        return PortBusy(
            f"{port}: busy: {who or 'another process'} has it open",
            hint="end it (a serial monitor, another flasher), then try again",
        )
    if re.search(r"\[Errno (2|6|19)\]|No such file", text):
        return PortMissing(f"{port}: there is no such device", hint="plug the board in")
    if re.search(r"refused|timed out|not known|unreachable|resolution", text):
        return PortMissing(
            f"{port}: nobody listens there: {_line(text)}", hint="start what serves the port"
        )
    return PortError(f"{port}: cannot be opened: {_line(text)}", hint="is it a serial port?")


def _connecting(failed: Failed, context: Context) -> FlashError:
    shared = ""
    if context.holders:
        who = ", ".join(map(str, context.holders))
        shared = f"; {who} has the port open too, and two readers take each other's bytes"
    mode = re.search(r"Wrong boot mode detected \((0x[0-9a-fA-F]+)\)", failed.text)
    if mode or "Invalid head of packet" in failed.text or "Guru Meditation" in failed.text:
        found = f"it booted its firmware (boot mode {mode[1]})" if mode else "it talks, but not so"
        return NotInDownloadMode(
            f"port {context.url}: expected the ROM loader to answer, {found}{shared}",
            hint=_download_mode(context),
        )
    if "chip magic value" in failed.text or "Unexpected chip ID" in failed.text:
        return WrongChip(
            f"port {context.url}: an unknown chip: {_line(failed.text)}", hint="update esptool"
        )
    if "No serial data received" not in failed.text and is_noise(failed.text):
        return BrokenLink(
            f"port {context.url}: the board answers, but broken: {_line(failed.text)}{shared}",
            hint="use another cable, or a port without a hub",
        )
    return SilentBoard(
        f"port {context.url}: nothing answers{shared}",
        hint=f"check power, cable and port; {_download_mode(context)}",
    )


def _download_mode(context: Context) -> str:
    if context.owner_resets:
        return "the board's own reset did not bring it into download mode"
    if context.before.startswith("no-reset"):
        return "reset it into download mode first: nothing else does it on this port"
    return "hold BOOT, tap RESET, let go of BOOT, then try again"


def _later(failed: Failed, context: Context) -> FlashError:
    text, port = failed.text, f"port {context.url}"
    if re.search(r"This chip is |is not an? ESP|does not contain an? ESP|chip revision", text):
        return WrongChip(_line(text).replace(" Use --force to flash anyway.", ""), hint=_OTHER)
    if "will not fit in" in text:
        return ImageTooLarge(_line(text), hint=_OWN["too-large"][1])
    if re.search(r"does not match data in flash|region is empty|Verification failed", text):
        return VerifyMismatch(
            f"{port}: the flash does not hold what was written: {_line(text)}",
            hint="flash again with --erase-all; again the same: the flash chip is bad or protected",
        )
    if is_noise(text):
        return BrokenLink(
            f"{port}: the link breaks while {_DOING.get(failed.step, failed.step)}: {_line(text)}",
            hint="use another cable or port without a hub, or a lower rate (--baud 115200)",
        )
    if _PROTECTED.search(text):
        return ProtectedChip(_line(text), hint="the chip's security settings forbid it")
    return EsptoolError(
        f"{port}: esptool failed while {_DOING.get(failed.step, failed.step)}: {_line(text)}",
        hint="its own words are shown with --verbose",
    )


_OTHER = "name the port of the right board, or build for this one"


def _line(text: str) -> str:
    """The first lines that say something, as one, without links."""
    lines = [line.strip() for line in text.splitlines()]
    kept = [line for line in lines if line and "troubleshooting" not in line]
    return " ".join(kept)[:400]
