"""A run's crashes, decoded with the firmware's own ELF, signed, and remembered."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from rig.campaign.judge import HISTORY_FILE
from rig.campaign.verdicts import RunVerdict, ScenarioVerdict
from rig.console.serial_log import log_path
from rig.errors import RigError
from rig.history import History
from rig.history.crash import CrashRecord
from rig.history.events import Crash
from rig.triage.buckets import Remembered
from rig.triage.decode import DecodedCrash, Decoder
from rig.triage.identity import log_identity
from rig.triage.memory import Memory
from rig.triage.signature import signature


@dataclass(frozen=True, slots=True)
class RunCrash:
    """One crash of a run: the number of its event, its decoded record, what is known of it."""

    n: int
    board: str
    crash: DecodedCrash
    signature: str
    known: Remembered | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """As one object of `rig run --json`."""
        record = self.crash.record
        return {
            "event": self.n,
            "kind": record.kind,
            "reason": record.reason or record.assert_expr,
            "task": record.task,
            "pc": record.pc,
            "excvaddr": record.excvaddr,
            "elf_sha256": record.elf_sha256,
            "decoded": [str(frame) for frame in self.crash.frames],
            "signature": self.signature,
            "bucket": self.known.bucket if self.known else None,
            "regression": bool(self.known and self.known.regression),
        }


def _decoder_of(verdict: RunVerdict) -> Decoder:
    """A decoder with the ELF file of the run's firmware, where it is (still) there."""
    elf = verdict.firmware.get("elf")
    return _decoder(Path(elf) if isinstance(elf, str) else None)


def _decoder(elf: Path | None) -> Decoder:
    try:
        return Decoder([elf] if elf else [])
    except RigError:
        return Decoder()


def decode_for(record: CrashRecord, elf: Path | None) -> DecodedCrash:
    """One record, decoded with `elf` where it is the right one."""
    return _decoder(elf).decode(record)


def remember_one(crash: DecodedCrash, folder: Path, board: str) -> None:
    """Keep one crash of the run in `folder`; a database that fails costs only the memory."""
    memory = _open_memory()
    if memory is None:
        return
    with contextlib.suppress(RigError), memory:
        memory.remember(crash, source=f"pytest {folder}", log=_log_of(folder, board), board=board)


def _scenario_crashes(
    verdict: RunVerdict, scenario: ScenarioVerdict, decoder: Decoder, memory: Memory | None
) -> Iterator[RunCrash]:
    """The crashes of one scenario, in order. With `memory` they are remembered (once each)."""
    folder = Path(verdict.out)
    entries = History(folder / HISTORY_FILE).entries(
        frozenset({Crash.tag}), first=scenario.first_event, last=scenario.last_event
    )
    for entry in entries:
        event = entry.event
        if not isinstance(event, Crash):
            continue
        crash = decoder.decode(event.record)
        known = None
        if memory is not None:
            known = memory.remember(
                crash,
                source=f"rig run {folder}",
                log=_log_of(folder, event.board),
                board=event.board,
                firmware=verdict.firmware.get("version") or event.record.firmware,
            )
        yield RunCrash(entry.n, event.board, crash, signature(crash), known)


def run_crashes(verdict: RunVerdict, *, remember: bool) -> list[list[RunCrash]]:
    """The crashes of each scenario of a run. A database that fails costs only the memory."""
    decoder = _decoder_of(verdict)
    memory = _open_memory() if remember else None
    try:
        return [
            list(_scenario_crashes(verdict, scenario, decoder, memory))
            for scenario in verdict.scenarios
        ]
    except RigError:
        return [
            list(_scenario_crashes(verdict, scenario, decoder, None))
            for scenario in verdict.scenarios
        ]
    finally:
        if memory is not None:
            memory.close()


def _open_memory() -> Memory | None:
    try:
        return Memory()
    except RigError:
        return None


def _log_of(folder: Path, board: str) -> str:
    """The serial log's identity, as `rig triage` has it of the same file; else the folder."""
    try:
        with log_path(folder, board).open("rb") as log:
            return log_identity(log.read(4096))
    except OSError:
        return str(folder)


def full_json(verdict: RunVerdict, *, remember: bool) -> bytes:
    """The verdict as one JSON object on one line, each scenario with its decoded crashes."""
    whole = msgspec.to_builtins(verdict)
    for scenario, crashes in zip(
        whole["scenarios"], run_crashes(verdict, remember=remember), strict=True
    ):
        scenario["crashes"] = [crash.fields for crash in crashes]
    return msgspec.json.encode(whole)
