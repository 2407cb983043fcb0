"""Each thing that goes wrong, in plain words. The phrases are esptool's and pyserial's own."""

from __future__ import annotations

import errno

import pytest

from firmware_flasher import errors
from firmware_flasher.diagnose import Context, diagnose
from firmware_flasher.messages import Failed
from firmware_flasher.noise import is_noise
from firmware_flasher.port import Holder

HERE = Context("/dev/ttyUSB0", "default-reset")
SHARED = Context("/dev/ttyUSB0", "default-reset", holders=(Holder(77, "picocom"),))


@pytest.mark.parametrize(
    ("step", "text", "number", "kind", "says"),
    [
        (
            "open",
            "[Errno 13] could not open port: Permission denied",
            13,
            errors.PortDenied,
            "usermod",
        ),
        ("open", "[Errno 11] Could not exclusively lock port", 11, errors.PortBusy, "another"),
        ("open", "[Errno 16] Device or resource busy", 16, errors.PortBusy, "another process"),
        ("open", "[Errno 2] could not open port", 2, errors.PortMissing, "no such device"),
        ("open", "Could not open port: Connection refused", None, errors.PortMissing, "nobody"),
        ("open", "Could not configure port: (25, 'Inappropriate')", 25, errors.PortError, "cannot"),
        (
            "connect",
            "Failed to connect: No serial data received.",
            None,
            errors.SilentBoard,
            "BOOT",
        ),
        (
            "connect",
            "Failed to connect to Espressif device: Wrong boot mode detected (0x8)! The chip",
            None,
            errors.NotInDownloadMode,
            "booted its firmware (boot mode 0x8)",
        ),
        ("connect", "Invalid head of packet (0x45)", None, errors.NotInDownloadMode, "it talks"),
        ("connect", "Invalid SLIP escape (0xdb, 0x00).", None, errors.BrokenLink, "but broken"),
        ("connect", "Unexpected chip ID value 99.", None, errors.WrongChip, "99"),
        ("write", "write failed: [Errno 5] Input/output error", 5, errors.PortVanished, "writing"),
        ("write", "(5, 'Input/output error')", errno.EIO, errors.PortVanished, "went away"),
        (
            "read",
            "device reports readiness to read but returned no data (device disconnected",
            None,
            errors.PortVanished,
            "reading",
        ),
        ("write", "Serial data stream stopped: Possible", None, errors.BrokenLink, "--baud"),
        (
            "write",
            "MD5 of file does not match data in flash!",
            None,
            errors.VerifyMismatch,
            "erase",
        ),
        (
            "write",
            "Input will not fit in 2097152 bytes of flash.",
            None,
            errors.ImageTooLarge,
            "fit",
        ),
        (
            "write",
            "Input requires chip revision v1.1 or higher (this chip is revision v0.4). "
            "Use --force to flash anyway.",
            None,
            errors.WrongChip,
            "revision v1.1",
        ),
        (
            "write",
            "Secure Boot V1 detected, writing is disabled",
            None,
            errors.ProtectedChip,
            "sec",
        ),
        ("write", "something esptool never said before", None, errors.EsptoolError, "never said"),
    ],
)
def test_a_failure_is_named_with_its_next_step(
    step: str, text: str, number: int | None, kind: type[errors.FlashError], says: str
) -> None:
    error = diagnose(Failed(step, text, errno=number), HERE)

    assert type(error) is kind
    assert says in str(error)
    assert error.hint


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("wrong-chip", errors.WrongChip),
        ("too-large", errors.ImageTooLarge),
        ("mismatch", errors.VerifyMismatch),
        ("range", errors.ImageTooLarge),
        ("port", errors.PortError),
    ],
)
def test_what_the_worker_refuses_itself_keeps_its_words(
    kind: str, expected: type[errors.FlashError]
) -> None:
    error = diagnose(Failed("write", "its words", kind=kind), HERE)

    assert type(error) is expected
    assert error.message == "its words"


def test_a_busy_port_names_the_process_that_holds_it() -> None:
    error = diagnose(Failed("open", "[Errno 11] Could not exclusively lock port"), SHARED)

    assert "picocom (pid 77) has it open" in error.message


def test_a_silent_board_on_a_shared_port_names_the_other_reader() -> None:
    error = diagnose(Failed("connect", "No serial data received."), SHARED)

    assert "picocom (pid 77) has the port open too" in error.message


@pytest.mark.parametrize(
    ("context", "says"),
    [
        (HERE, "hold BOOT"),
        (Context("socket://x:1", "no-reset"), "reset it into download mode first"),
        (Context("/dev/pts/1", "no-reset", owner_resets=True), "the board's own reset"),
    ],
)
def test_the_way_into_download_mode_fits_the_port(context: Context, says: str) -> None:
    assert says in str(diagnose(Failed("connect", "No serial data received."), context))


def test_a_link_to_a_web_page_is_not_the_message() -> None:
    text = "Odd.\nFor troubleshooting steps visit: https://example.invalid/troubleshooting"

    assert "https" not in str(diagnose(Failed("stub", text), HERE))


def test_a_wrong_chip_is_not_noise_that_a_lower_rate_would_mend() -> None:
    assert not is_noise("This chip is ESP32-C3, not ESP32. Wrong chip argument?")
    assert is_noise("Invalid SLIP escape (0xdb, 0x00).")
