"""A bundle onto a board: found, written, verified, remembered. `booting` sees it boot then."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_flasher.bundle import Bundle
from firmware_flasher.errors import FlashError, PortError
from firmware_flasher.flasher import FlashResult, flash
from firmware_flasher.loading import load_bundle
from firmware_flasher.messages import Event as FlashEvent
from firmware_flasher.starting import Worker
from rig.boards.base import Board, Powered
from rig.boards.home import state_folder
from rig.boards.identities import identity_of, note
from rig.errors import BenchError, BoardError, FirmwareError, RigError
from rig.history import HistoryStore, now_ns
from rig.history.events import Flashed, ResetAsked

if TYPE_CHECKING:
    from rig.console.capture import Capture

OFF_SECONDS = 0.5
"""How long a board stays without power, so that its capacitors run empty."""


def flash_memory() -> Path:
    """The folder where is remembered what each board's flash holds (`firmware_flasher.memory`)."""
    return state_folder() / "flashed"


def _can_power(board: Board) -> bool:
    return isinstance(board, Powered) and board.can_power


def bundle_for(board: Board, firmware: Path | None) -> Bundle | None:
    """The bundle to flash: `firmware`, else the board's own; None: it keeps what it has.

    Raises `BenchError` when one is asked for and the board cannot be flashed, `FirmwareError` when
    it is missing, broken or for another chip.
    """
    path = firmware or board.firmware
    if path is None or (board.flash_port is None and firmware is None):
        return None
    if board.flash_port is None:
        raise BenchError(
            f"the board '{board.name}' cannot be flashed from here: it has no flash port",
            hint="name one as `flash` in its bench table, or leave --firmware out",
        )
    try:
        return load_bundle(path)
    except FlashError as error:
        raise as_rig_error(error) from error


async def flash_board(
    board: Board,
    bundle: Bundle,
    store: HistoryStore,
    console: Capture | None,
    *,
    on_event: Callable[[FlashEvent], None] = lambda _event: None,
    verify: bool = True,
    erase_all: bool = False,
    force: bool = False,
    worker: Worker | None = None,
) -> FlashResult:
    """Write and verify `bundle`. The board is left in its ROM loader where the rig can reset it.

    `worker`: one that was started ahead.

    Raises `BenchError` or `FirmwareError` where the user's files are wrong, else `BoardError`.
    """
    port = board.flash_port
    if port is None:
        raise BenchError(
            f"the board '{board.name}' cannot be flashed from here: it has no flash port",
            hint="name one as `flash` in its bench table, or leave the firmware it has",
        )
    if board.can_reset:
        port = replace(port, after="no-reset")  # the reset comes once the console is attached

    async def reset(*, download: bool = False) -> None:
        if download:
            store.append(ResetAsked(t=now_ns(), board=board.name, how="download"))
            await board.reset(download=True)

    outcome: FlashResult | FlashError | None = None
    lent = console is not None and console.url == port.url
    async with console.paused() if console and lent else contextlib.nullcontext():
        try:
            outcome = await flash(
                bundle,
                port,
                on_event=on_event,
                verify=verify,
                erase_all=erase_all,
                force=force,
                reset=reset if board.can_reset and port.before == "no-reset" else None,
                power_cycle=partial(power_cycle, board, store) if _can_power(board) else None,
                memory=flash_memory(),
                worker=worker,
            )
        except FlashError as error:
            outcome = error
            raise as_rig_error(error) from error
        finally:
            store.append(_flashed(board, bundle, outcome))
    note(board, identity_of(outcome.chip, bundle.label))
    return outcome


async def power_cycle(board: Board, store: HistoryStore) -> None:
    """Take its power away for a moment: the coldest of resets. Raises `BoardError`."""
    assert isinstance(board, Powered)
    store.append(ResetAsked(t=now_ns(), board=board.name, how="power-off"))
    await board.power(False)
    try:
        await asyncio.sleep(OFF_SECONDS)
    finally:
        store.append(ResetAsked(t=now_ns(), board=board.name, how="power-on"))
        await board.power(True)


def _flashed(board: Board, bundle: Bundle, outcome: FlashResult | FlashError | None) -> Flashed:
    done = isinstance(outcome, FlashResult)
    return Flashed(
        t=now_ns(),
        board=board.name,
        bundle=bundle.origin,
        sha256=bundle.digest,
        seconds=outcome.seconds if isinstance(outcome, FlashResult) else 0.0,
        error=None if done else str(getattr(outcome, "message", "interrupted")),
        firmware=bundle.label,
        elf_sha256=bundle.app.elf_sha256 if bundle.app else None,
        sent=outcome.sent if isinstance(outcome, FlashResult) else None,
    )


def as_rig_error(error: FlashError) -> RigError:
    """The flasher's tree in the rig's words: whose move it is decides.

    A port is the board's, however it was named: it is not there, or not this user's, as hardware.
    """
    wrong_use = error.exit_code == FirmwareError.exit_code and not isinstance(error, PortError)
    kind = FirmwareError if wrong_use else BoardError
    return kind(error.message, hint=error.hint)
