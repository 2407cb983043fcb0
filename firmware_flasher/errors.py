"""What can go wrong while flashing, and what to do about it: one error a cause.

Every message names the thing, what was expected and what was found; `hint` is the next step.
`exit_code` is what the command returns: 2 where the user's file or command is wrong, 1 where the
board or the port failed.
"""

from __future__ import annotations


class FlashError(Exception):
    """The root: flashing did not end in a verified board."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        """`message` is one clear sentence, `hint` what to do next."""
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n  next: {self.hint}" if self.hint else self.message


class BundleError(FlashError):
    """The firmware bundle is missing, broken or contradicts itself; names file and field."""

    exit_code = 2


class UsageError(FlashError):
    """An option or an argument makes no sense."""

    exit_code = 2


class OutputError(FlashError):
    """The file to write what was read cannot be written."""

    exit_code = 2


class PortError(FlashError):
    """The serial port itself failed, whatever is behind it."""


class PortMissing(PortError):
    """There is no such port, or nobody listens at its address."""

    exit_code = 2


class PortDenied(PortError):
    """The user may not open the port."""

    exit_code = 2


class PortBusy(PortError):
    """Another process holds the port."""


class PortVanished(PortError):
    """The port went away in the middle: unplugged, powered off, re-enumerated."""


class SilentBoard(FlashError):
    """Nothing answers on the port."""


class NotInDownloadMode(FlashError):
    """The board talks, but it is not its ROM loader that does."""


class WrongChip(FlashError):
    """The bundle is for another chip, or another revision, than the one on the port."""

    exit_code = 2


class WrongBoard(FlashError):
    """Another board is on the port than the one that was meant, by its MAC."""

    exit_code = 2


class ImageTooLarge(FlashError):
    """The bundle does not fit the flash of this board."""

    exit_code = 2


class VerifyMismatch(FlashError):
    """What the flash holds is not what should be there."""


class BrokenLink(FlashError):
    """Frames break on the way although the rate was lowered: a bad cable, or noise."""


class ProtectedChip(FlashError):
    """Secure boot, flash encryption or secure download mode forbids it."""


class FlashTimeout(FlashError):
    """The operation ran into its deadline."""


class WorkerFailed(FlashError):
    """The process around esptool ended without a result."""


class EsptoolError(FlashError):
    """esptool refused for a reason this module has no plainer words for."""
