"""What this machine can do for the rig: each finding is tried, not guessed from a version."""

from __future__ import annotations

import os
import platform
import pty
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from serial.tools import list_ports

from firmware_flasher.port import how_to_be_allowed
from rig.air.privilege import command as helper_command
from rig.errors import FaultError

State = Literal["ok", "limited", "missing"]

_SECONDS = 10.0
_AIR_SECONDS = 60.0
_ROOT_HINT = "run the rig as root (or in a user namespace) for packet and radio faults"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the rig can use. `needed`: it cannot do without."""

    name: str
    state: State
    detail: str
    hint: str | None = None
    needed: bool = False


def examine() -> Iterator[Finding]:
    """Try everything, one finding after the other."""
    for probe in _PROBES:
        yield probe()


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} ({sys.executable})", needed=True)


def _esptool() -> Finding:
    try:
        found = version("esptool")
    except PackageNotFoundError:
        return Finding("esptool", "missing", "not installed", "./rigup", needed=True)
    return Finding("esptool", "ok", found, needed=True)


def _system() -> Finding:
    here = f"{platform.system()} {platform.release()} {platform.machine()}"
    if platform.system() == "Linux":
        return Finding("system", "ok", here)
    return Finding("system", "limited", here, "network and radio faults need Linux")


def _state_folder() -> Finding:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    home = Path(os.environ.get("SENDSPIN_RIG_HOME") or Path(state) / "sendspin-rig")
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home) as file:
            file.write(b"rig")
        free = shutil.disk_usage(home).free
    except OSError as error:
        hint = "set SENDSPIN_RIG_HOME to a folder that you may write to"
        return Finding("state folder", "missing", f"{home}: {error.strerror}", hint, needed=True)
    detail = f"{home}, {free / 1e9:.1f} GB free"
    if free < 200e6:
        return Finding("state folder", "limited", detail, "free some space: runs keep their logs")
    return Finding("state folder", "ok", detail, needed=True)


def _terminals() -> Finding:
    try:
        ends = pty.openpty()
    except OSError as error:
        hint = "mount devpts: the virtual board's UART is a pty"
        return Finding("ptys", "missing", str(error.strerror), hint, needed=True)
    for end in ends:
        os.close(end)
    return Finding("ptys", "ok", "the virtual board has its UART", needed=True)


def _loopback() -> Finding:
    try:
        with socket.socket() as probe:
            probe.bind(("127.213.0.1", 0))
    except OSError as error:
        hint = "without root the virtual board lives on an address of its own in 127.0.0.0/8"
        return Finding("loopback", "limited", f"127.213.0.1: {error.strerror}", hint)
    return Finding("loopback", "ok", "every address in 127.0.0.0/8 can be had")


def _root() -> Finding:
    if os.geteuid() == 0:
        return Finding("root", "ok", "packet faults can be tried")
    return Finding("root", "limited", f"user id {os.geteuid()}", _ROOT_HINT)


def _namespaces() -> Finding:
    error = _tried("import os; os.unshare(os.CLONE_NEWNET)")
    if error is None:
        return Finding("network namespaces", "ok", "the virtual board gets a network of its own")
    error = "not permitted" if "PermissionError" in error else error
    return Finding("network namespaces", "limited", error, _ROOT_HINT)


DISTURBED = "packet-*"
"""What of the helper's abilities either netem or a packet queue of the rig's makes."""


def _air() -> Finding:
    """Every kind of packet fault, tried in a network namespace of its own."""
    try:
        line = helper_command("probe")
        done = subprocess.run(
            line,
            capture_output=True,
            timeout=_AIR_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
            text=True,
        )
    except FaultError as error:
        return Finding("packet faults", "limited", error.message, error.hint)
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("packet faults", "limited", f"they cannot be tried: {error}", "rig heal")
    by = "" if line[0] == sys.executable else f" (by {line[0]})"
    tried = dict(row.split("\t", 1) for row in done.stdout.splitlines() if "\t" in row)
    netem = tried.pop("netem", None)
    if netem is not None and tried.get(DISTURBED) == "":
        words = f"the rig's own queue, not netem: {netem}" if netem else "netem"
        tried = {f"{n} (by {words})" if n == DISTURBED else n: why for n, why in tried.items()}
    lacking = [f"{name}: {why}" for name, why in tried.items() if why]
    works = ", ".join(name for name, why in tried.items() if not why)
    if done.returncode == 0 and tried and not lacking:
        return Finding("packet faults", "ok", works + by)
    last = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
    why = "; ".join(lacking) or f"not tried{by}: {last}"
    hint = "a kernel with nf_tables, nfnetlink_queue, inet_diag, sch_htb and sch_tbf; docs/air.md"
    return Finding("packet faults", "limited", why + (f"; works: {works}" if works else ""), hint)


def _serial_ports() -> Finding:
    ports = sorted(port.device for port in list_ports.comports())
    if not ports:
        hint = "plug a board in; is its cable one that carries data?"
        return Finding("serial ports", "limited", "none attached", hint)
    denied = [port for port in ports if not os.access(port, os.R_OK | os.W_OK)]
    if denied:
        hint = how_to_be_allowed(*map(Path, denied))
        return Finding("serial ports", "limited", f"no permission: {', '.join(denied)}", hint)
    return Finding("serial ports", "ok", ", ".join(ports))


def _tool(name: str, use: str, package: str) -> Finding:
    found = _find(name)
    if found:
        return Finding(name, "ok", f"{use} ({found})")
    return Finding(name, "limited", f"not found; it gives: {use}", f"sudo apt install {package}")


def _find(name: str) -> str | None:
    """A program's path; what only root has on its PATH is looked for, too."""
    return shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")


def _tried(code: str) -> str | None:
    """Run Python code in a process of its own: None when it went well, else its last words."""
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", code],
            capture_output=True,
            timeout=_SECONDS,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {_SECONDS:.0f} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"exit code {done.returncode}"


_PROBES: tuple[Callable[[], Finding], ...] = (
    _python,
    _esptool,
    _system,
    _state_folder,
    _terminals,
    _loopback,
    _root,
    _namespaces,
    _air,
    lambda: _tool("tcpdump", "a second witness of the rig's own captures", "tcpdump"),
    _serial_ports,
    lambda: _tool("uhubctl", "boards on USB hubs switched off and on (rig power)", "uhubctl"),
    lambda: _tool(
        "gdb-multiarch", "a second way to unwind RISC-V stacks (--unwind gdb)", "gdb-multiarch"
    ),
    lambda: _tool("llvm-symbolizer", "faster decoding of many addresses", "llvm"),
)
