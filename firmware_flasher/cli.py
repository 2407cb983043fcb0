"""The command line of `python -m firmware_flasher`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypedDict

import click
import msgspec
from rich.console import Console
from rich.markup import escape

from firmware_flasher.bundle import Bundle
from firmware_flasher.errors import FlashError, UsageError
from firmware_flasher.flasher import (
    FlashResult,
    chip_info,
    erase_flash,
    flash,
    read_flash,
    verify_flash,
)
from firmware_flasher.loading import load_bundle, named_chip
from firmware_flasher.memory import default_folder
from firmware_flasher.messages import ChipInfo, Event
from firmware_flasher.port import AFTER, BEFORE, SerialPort
from firmware_flasher.progress import Display

INTERRUPTED = 130
"""The shells' exit code for Ctrl-C."""


class _Connect(TypedDict):
    """What all operations share."""

    connect_attempts: int
    deadline: float | None


EPILOG = """\b
Examples:
  python -m firmware_flasher build/ --port /dev/ttyUSB0
  python -m firmware_flasher firmware.factory.bin --port /dev/ttyACM0
  python -m firmware_flasher build.zip --port rfc2217://bench:4000 --baud 460800
  python -m firmware_flasher build/ --port socket://bench:5000 --before no-reset --after no-reset
  python -m firmware_flasher --info --port /dev/ttyUSB0
  python -m firmware_flasher --read dump.bin --port /dev/ttyUSB0

\b
BUNDLE is an ESP-IDF build folder (flasher_args.json), a merged image (.bin), an
ESPHome or PlatformIO output folder, or a zip archive of one of these.

\b
Exit codes: 0 done and verified, 1 the board or the port failed, 2 wrong use or a
bundle that is not for this board, 130 interrupted.
"""


@click.command(epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("bundle", required=False, type=click.Path(path_type=Path))
@click.option("--port", required=True, help="Device path or pyserial URL of the board.")
@click.option("--chip", help="Refuse any other chip, e.g. esp32c3.  [default: the bundle's]")
@click.option("--baud", default=921_600, show_default=True, help="Rate; falls back by itself.")
@click.option("--before", type=click.Choice(BEFORE), default="default-reset", show_default=True)
@click.option("--after", type=click.Choice(AFTER), default="hard-reset", show_default=True)
@click.option("--stub/--no-stub", default=True, help="Use esptool's stub loader.  [default: stub]")
@click.option("--verify/--no-verify", default=True, help="Check by MD5 after writing.")
@click.option("--skip/--no-skip", default=True, help="Leave unchanged regions alone.")
@click.option("--erase-all", is_flag=True, help="Erase all of the flash first.")
@click.option("--force", is_flag=True, help="Write broken images, and to another chip.")
@click.option("--check", "only_check", is_flag=True, help="Compare flash with BUNDLE; no writing.")
@click.option("--info", "only_info", is_flag=True, help="Say which chip is on the port.")
@click.option("--read", "read_to", type=click.Path(path_type=Path), help="Read all flash to FILE.")
@click.option("--erase", "only_erase", is_flag=True, help="Erase all of the flash.")
@click.option("--json", "as_json", is_flag=True, help="Result on stdout, events on stderr, JSON.")
@click.option("--verbose", is_flag=True, help="Show esptool's own words.")
@click.option("--attempts", default=7, show_default=True, help="How often to try to connect.")
@click.option("--deadline", type=float, help="Give up after so many seconds.")
@click.option(
    "--memory",
    type=click.Path(path_type=Path),
    default=default_folder,
    show_default="firmware_flasher in the user's state folder",
    help="Folder that remembers what each board's flash holds, and interrupted flashes.",
)
def command(
    bundle: Path | None,
    port: str,
    chip: str | None,
    baud: int,
    before: str,
    after: str,
    stub: bool,
    verify: bool,
    skip: bool,
    erase_all: bool,
    force: bool,
    only_check: bool,
    only_info: bool,
    read_to: Path | None,
    only_erase: bool,
    as_json: bool,
    verbose: bool,
    attempts: int,
    deadline: float | None,
    memory: Path,
) -> None:
    """Flash a firmware BUNDLE onto the ESP32 on a port, and verify it."""
    modes = [only_info, read_to is not None, only_erase, bundle is not None]
    if sum(modes) != 1 or (only_check and bundle is None):
        raise UsageError("expected one of: BUNDLE, --info, --read FILE, --erase", hint="see --help")
    name = named_chip(chip, "--chip").name if chip is not None else None
    where = SerialPort(port, name, baud, before, after)
    show = _Output(as_json=as_json, verbose=verbose)
    connect: _Connect = {"connect_attempts": attempts, "deadline": deadline}
    if only_info:
        show.info(show.run(lambda tell: chip_info(where, on_event=tell, **connect)))
    elif read_to is not None:
        data = show.run(
            lambda tell: read_flash(where, read_to, on_event=tell, stub=stub, **connect)
        )
        show.done(f"read {len(data)} bytes to {read_to}", {"read": len(data)})
    elif only_erase:
        show.run(
            lambda tell: erase_flash(where, on_event=tell, stub=stub, memory=memory, **connect)
        )
        show.done("erased, and blank by the chip's own word", {"erased": True})
    elif bundle is not None:
        loaded = load_bundle(bundle, chip=name, force=force)
        show.bundle(loaded)
        if only_check:
            count = show.run(
                lambda tell: verify_flash(loaded, where, on_event=tell, stub=stub, **connect)
            )
            show.done(f"the flash holds it: {count} regions by MD5", {"verified": count})
            return
        result = show.run(
            lambda tell: flash(
                loaded,
                where,
                on_event=tell,
                verify=verify,
                skip_unchanged=skip,
                erase_all=erase_all,
                force=force,
                stub=stub,
                memory=memory,
                **connect,
            )
        )
        show.result(result)


class _Output:
    """Where results and events go: for people on stderr and stdout, or JSON."""

    def __init__(self, *, as_json: bool, verbose: bool) -> None:
        self._json = as_json
        self._verbose = verbose
        self._errors = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

    def run[T](self, operation: Callable[[Callable[[Event], None]], Coroutine[Any, Any, T]]) -> T:
        """Run an operation with its events shown."""
        if self._json:
            return asyncio.run(operation(self._event_as_json))
        with Display(self._errors, verbose=self._verbose) as display:
            return asyncio.run(operation(display))

    def _event_as_json(self, event: Event) -> None:
        click.echo(msgspec.json.encode(event), err=True)

    def bundle(self, bundle: Bundle) -> None:
        """Which firmware it is."""
        app = f"{bundle.app.project} {bundle.app.version}" if bundle.app else "no application"
        if not self._json:
            self._errors.print(
                escape(
                    f"{bundle.origin}: {app} for {bundle.chip.label}, {bundle.kind}, "
                    f"{len(bundle.regions)} regions, {bundle.size} bytes"
                )
            )

    def info(self, info: ChipInfo) -> None:
        """The chip on the port."""
        flash = f"{info.flash_size // 1024} KiB" if info.flash_size else "unknown"
        self.done(f"{info.description}, MAC {info.mac}, flash {flash}", msgspec.to_builtins(info))

    def result(self, result: FlashResult) -> None:
        """What was flashed."""
        unverified = result.written + result.skipped - result.verified
        self.done(
            f"flashed in {result.seconds:.1f} s: {result.written} regions written, "
            f"{result.skipped} unchanged, {result.verified} verified; "
            f"{result.sent} of {result.size} bytes written"
            + (f", {unverified} NOT verified" if unverified else ""),
            msgspec.to_builtins(result),
        )

    def done(self, text: str, data: object) -> None:
        """The one line at the end."""
        if self._json:
            click.echo(msgspec.json.encode(data))
        else:
            click.echo(text)


def main() -> None:
    """Run the command; never a traceback for what a user can mend."""
    try:
        command(standalone_mode=False, prog_name="python -m firmware_flasher")
    except FlashError as error:
        _fail(type(error).__name__, error.message, error.hint, error.exit_code)
    except click.ClickException as error:
        _fail("UsageError", error.format_message(), "see --help", 2)
    except (click.exceptions.Abort, KeyboardInterrupt):
        _fail("Interrupted", "interrupted; flash may be half written", "flash again", INTERRUPTED)


def _fail(kind: str, message: str, hint: str | None, code: int) -> None:
    if "--json" in sys.argv:
        click.echo(msgspec.json.encode({"error": kind, "message": message, "next": hint}))
        sys.exit(code)
    console = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)
    console.print("[bold red]error:[/]", escape(_shown(message)))
    if hint:
        console.print("  next:", escape(_shown(hint)))
    sys.exit(code)


def _shown(text: str) -> str:
    """A message for a terminal: a name in a file it quotes may hold what one would obey."""
    return "".join(char if char.isprintable() or char == "\n" else "?" for char in text)
