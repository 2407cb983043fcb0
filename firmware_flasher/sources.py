"""Where a bundle's files come from: a folder, or a zip archive. Names are relative, with slashes.

Both are untrusted (a build folder may be a clone of somebody's): no name may leave an archive, or
a folder's project, for what is read is written to a device; and what is read is bounded.
"""

from __future__ import annotations

import lzma
import posixpath
import zipfile
import zlib
from pathlib import Path
from typing import Protocol

from firmware_flasher.errors import BundleError

MAX_FILE = 128 * 1024 * 1024
"""Bytes; the largest flash, and more than any ELF file of an ESP32."""

MAX_ENTRIES = 10_000
_PROJECT = "CMakeLists.txt"
"""What the folder around an ESP-IDF build holds."""
_CHUNK = 1024 * 1024


class Source(Protocol):
    """Files by name. `label(name)` is how a message calls one."""

    def has(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes: ...

    def names(self, suffix: str) -> list[str]: ...

    def label(self, name: str) -> str: ...

    def path(self, name: str) -> Path | None: ...


class Folder:
    """The files of a folder on disk."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return (self.root / name).is_file()

    def read(self, name: str) -> bytes:
        """Its bytes. Raises `BundleError`: missing, unreadable, too large, outside of the project.

        The project is the folder itself, or the one around it that it is the build of: there
        ESP-IDF names files relative to the build (`../data/boot_app0.bin`).
        """
        path = self.root / name
        root = self.root.resolve()
        project = root.parent if (root.parent / _PROJECT).is_file() else root
        if not path.resolve().is_relative_to(project):
            raise BundleError(
                f"{self.label(name)}: lies outside of {project}",
                hint="copy it into the build folder if you want it on the board",
            )
        return read_file(path)

    def names(self, suffix: str) -> list[str]:
        """The files right in this folder whose names end so, sorted."""
        try:
            found = [entry.name for entry in self.root.iterdir() if entry.name.endswith(suffix)]
        except OSError as error:
            raise BundleError(f"{self.root}: cannot be listed: {error.strerror}") from None
        return sorted(found)

    def label(self, name: str) -> str:
        """How a message calls the file."""
        return str(self.root / name)

    def path(self, name: str) -> Path | None:
        """Where it lies on disk."""
        return self.root / name


class Archive:
    """The files of a zip archive, from its top or from the one folder that it holds."""

    def __init__(self, path: Path) -> None:
        """Raises `BundleError`: unreadable, no zip, too many entries."""
        self._zip_path = path
        try:
            self._zip = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise BundleError(f"{path}: not a readable zip archive: {error}") from None
        entries = [
            entry
            for entry in self._zip.infolist()
            if not entry.is_dir() and not entry.filename.startswith("__MACOSX/")
        ]
        if len(entries) > MAX_ENTRIES:
            raise BundleError(
                f"{path}: {len(entries)} files in it; a bundle has at most {MAX_ENTRIES}"
            )
        self._entries = {_safe(path, entry.filename): entry for entry in entries}
        self._prefix = _common_folder(list(self._entries))
        self._budget = 2 * MAX_FILE

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return self._prefix + posixpath.normpath(name) in self._entries

    def read(self, name: str) -> bytes:
        """Its bytes. Raises `BundleError`: missing, broken, larger than the bounds."""
        wanted = self._prefix + posixpath.normpath(name)
        entry = self._entries.get(wanted)
        if entry is None:
            raise BundleError(f"{self.label(name)}: not in the archive")
        data = bytearray()
        try:
            with self._zip.open(entry) as stream:
                while chunk := stream.read(_CHUNK):
                    data += chunk
                    self._budget -= len(chunk)
                    if len(data) > MAX_FILE or self._budget < 0:
                        raise BundleError(
                            f"{self.label(name)}: unpacks to more than {MAX_FILE} bytes",
                            hint="this is no firmware; look at the archive",
                        )
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError) as error:
            raise BundleError(f"{self.label(name)}: broken in the archive: {error}") from None
        except (NotImplementedError, RuntimeError) as error:  # encrypted, unknown compression
            raise BundleError(f"{self.label(name)}: cannot be unpacked: {error}") from None
        return bytes(data)

    def names(self, suffix: str) -> list[str]:
        """The files at the top whose names end so, sorted."""
        size = len(self._prefix)
        inside = [name[size:] for name in self._entries if name.startswith(self._prefix)]
        return sorted(name for name in inside if "/" not in name and name.endswith(suffix))

    def label(self, name: str) -> str:
        """How a message calls the file."""
        return f"{self._zip_path}/{self._prefix}{name}"

    def path(self, name: str) -> Path | None:  # noqa: ARG002
        """None: it lies on no disk."""
        return None


def read_file(path: Path) -> bytes:
    """A file's bytes. Raises `BundleError`: missing, unreadable, larger than `MAX_FILE`."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise BundleError(f"{path}: there is no such file") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE:
        raise BundleError(f"{path}: is larger than {MAX_FILE} bytes, the largest flash there is")
    return data


def _safe(archive: Path, name: str) -> str:
    """The entry's name, clean. Raises `BundleError` where it would leave the archive."""
    clean = posixpath.normpath(name.replace("\\", "/"))
    if clean.startswith(("/", "../")) or clean in (".", "..") or ":" in clean.split("/", 1)[0]:
        raise BundleError(
            f"{archive}: entry {name!r} points outside of the archive",
            hint="do not trust this archive",
        )
    return clean


def _common_folder(names: list[str]) -> str:
    """The one folder that everything lies in (an archive of `build/`), with its slash, or ''."""
    prefix = ""
    while True:
        rest = [name[len(prefix) :] for name in names]
        tops = {name.split("/", 1)[0] for name in rest if "/" in name}
        if len(tops) != 1 or not all("/" in name for name in rest):
            return prefix
        prefix += tops.pop() + "/"
