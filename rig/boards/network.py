"""The WiFi network of a bench: its name, and where its pass-phrase comes from. Never the phrase."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from rig.errors import BenchError

INLINE = ("passphrase", "password", "psk", "pass", "key", "secret")
"""Keys that would put a secret into the bench file; refused."""


@dataclass(frozen=True, slots=True)
class Network:
    """The `[network]` table."""

    ssid: str
    passphrase_env: str | None = None
    """Name of an environment variable."""
    passphrase_file: Path | None = None
    """A file that holds it, and nothing else but a line end."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.ssid.encode()) <= 32:
            raise BenchError("ssid: expected 1 to 32 bytes", hint="the network's name")
        if self.passphrase_env and self.passphrase_file:
            raise BenchError("passphrase_file: contradicts passphrase_env", hint="one of the two")

    def passphrase(self) -> str:
        """The pass-phrase, empty for an open network. Raises `BenchError`, which never shows it."""
        if self.passphrase_env:
            phrase, where = os.environ.get(self.passphrase_env), f"${self.passphrase_env}"
        elif self.passphrase_file:
            phrase, where = self._read(self.passphrase_file), str(self.passphrase_file)
        else:
            return ""
        if phrase is None:
            raise BenchError(f"the WiFi pass-phrase is not in {where}", hint="put it there")
        if not 8 <= len(phrase.encode()) <= 64:
            raise BenchError(
                f"the WiFi pass-phrase in {where} has {len(phrase.encode())} bytes",
                hint="WPA takes 8 to 63, or 64 hexadecimal digits",
            )
        return phrase

    @staticmethod
    def _read(path: Path) -> str:
        try:
            with path.open(encoding="utf-8") as file:
                return file.read(1_000).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "no UTF-8 text"
            raise BenchError(f"the WiFi pass-phrase file {path}: {why}") from error
