"""The verdict for people: what was done, what was seen, what failed first and where to look."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from rig.campaign.judge import HISTORY_FILE
from rig.campaign.verdicts import AudioVerdict, CheckVerdict, RunVerdict, ScenarioVerdict
from rig.checks import Verdict
from rig.console.printable import dotted
from rig.history import Entry, Event, History
from rig.history import events as ev
from rig.report.crashes import RunCrash, run_crashes

STYLES = {Verdict.PASS: "bold green", Verdict.FAIL: "bold red", Verdict.INCONCLUSIVE: "bold yellow"}

_SHOWN_AROUND = 6
"""Events shown before the evidence, and after it."""
_CRASHES_SHOWN = 3
_FRAMES_SHOWN = 16


def verdict_word(verdict: Verdict) -> Text:
    """`PASS`, `FAIL`, `INCONCLUSIVE` in their colours."""
    return Text(verdict.upper(), style=STYLES[verdict])


def scenario_lines(verdict: ScenarioVerdict) -> RenderableType:
    """One scenario: its verdict, and below it what was done and what that proves."""
    cycles = "cycle " if verdict.cycles == 1 else "cycles"
    head = Text.assemble(
        Text(f"{verdict.verdict.upper():<12}", style=STYLES[verdict.verdict]),
        f"  {verdict.scenario:<14}",
        (f"{verdict.cycles:>5} {cycles} {verdict.seconds:>7.1f} s", "dim"),
    )
    told = ", ".join(f"{f.fault} {f.seen}/{f.asked}" for f in verdict.faults)
    facts = [f"seen: {told}"] if told else []
    if verdict.failure_rate_bound is not None:
        proven = f"proven in {verdict.proven_cycles} of {verdict.cycles} cycles: "
        proven = proven if verdict.proven_cycles < verdict.cycles else ""
        facts.append(f"{proven}fails in < {verdict.failure_rate_bound:.1%} of cycles (95 % sure)")
    if verdict.audio is not None:
        facts.append(audio_words(verdict.audio))
    if not facts:
        return head
    return Group(head, Padding(Text("; ".join(facts), style="dim"), (0, 0, 0, 14), expand=False))


def audio_words(audio: AudioVerdict) -> str:
    """How audio fared, in one line; what is not known is said to be unknown."""

    def told(value: float | None, unit: str = "") -> str:
        return "unknown" if value is None else f"{value:g}{unit}"

    return (
        f"audio {audio.seconds:.0f} s, {audio.chunks} chunks, late {told(audio.late)}, lost "
        f"{told(audio.lost)}; sent ahead at least {told(audio.ahead_min_ms, ' ms')}; clock "
        f"answered within {told(audio.answer_worst_ms, ' ms')}, its error "
        f"{told(audio.clock_error_us, ' us')}, drift {told(audio.clock_drift_ppm, ' ppm')}; "
        f"device's buffer {told(audio.device_buffer_ms, ' ms')}"
    )


def show_scenario(
    console: Console,
    history: Path,
    verdict: ScenarioVerdict,
    crashes: Sequence[RunCrash] = (),
) -> None:
    """Print one scenario with what failed in it, the events around that, and its crashes."""
    console.print(scenario_lines(verdict))
    for part in _details(history, verdict):
        console.print(part)
    for crash in crashes[:_CRASHES_SHOWN]:
        for line in crash_lines(crash):
            console.print(Text("    " + dotted(line), style="red"), soft_wrap=True)
    if len(crashes) > _CRASHES_SHOWN:
        console.print(Text(f"    and {len(crashes) - _CRASHES_SHOWN} crashes more", style="red"))


def crash_lines(crash: RunCrash) -> list[str]:
    """A decoded crash in a few lines."""
    record = crash.crash.record
    words = [
        record.kind,
        record.reason or record.assert_expr,
        record.task and f"task {record.task}",
    ]
    lines = ["crash: " + ", ".join(word for word in words if word)]
    if record.excvaddr:
        lines.append(f"  fault address {record.excvaddr}{_poison(record.excvaddr)}")
    lines += [f"  {frame}" for frame in crash.crash.frames[:_FRAMES_SHOWN]]
    lines += [f"  {note}" for note in crash.crash.notes]
    lines.append(f"  signature: {crash.signature}")
    if crash.known is not None:
        known = crash.known
        tale = "a regression" if known.regression else f"{known.mark}, seen {known.count} times"
        lines.append(f"  bucket {known.bucket}: {tale} (rig crashes show {known.bucket})")
    return lines


def _poison(address: str) -> str:
    """What an address says when it is made of ESP-IDF's heap poison (multi_heap_poisoning)."""
    try:
        value = int(address, 16)
    except ValueError:
        return ""
    near = {0xFEFEFEFE: "freed", 0xCECECECE: "never written", 0xA5A5A5A5: "unused stack"}
    for poison, what in near.items():
        if abs(value - poison) < 0x10000:
            return f": {what} memory ({poison:#x})" + (", a use after free" * (what == "freed"))
    return ""


def show_verdict(console: Console, verdict: RunVerdict, *, repeat: Sequence[str] = ()) -> None:
    """Print the whole verdict. `repeat`: the command that plays this run again."""
    history = Path(verdict.out) / HISTORY_FILE
    for scenario, crashes in zip(
        verdict.scenarios, run_crashes(verdict, remember=False), strict=True
    ):
        show_scenario(console, history, scenario, crashes)
    show_sum(console, verdict, repeat=repeat)


def show_sum(console: Console, verdict: RunVerdict, *, repeat: Sequence[str] = ()) -> None:
    """Print the verdict on the whole run, where it is kept, and how to repeat it."""
    firmware = " ".join(
        str(verdict.firmware[key]) for key in ("name", "version") if verdict.firmware.get(key)
    )
    console.print()
    console.print(
        Text.assemble(
            verdict_word(verdict.verdict),
            f"  {verdict.board}",
            f"  {firmware}" if firmware else "",
            f"  {verdict.reason}" if verdict.reason else "",
        )
    )
    console.print(Text.assemble(("  out     ", "dim"), verdict.out), soft_wrap=True)
    if repeat:
        console.print(Text.assemble(("  repeat  ", "dim"), " ".join(repeat)), soft_wrap=True)


def _details(history: Path, scenario: ScenarioVerdict) -> list[RenderableType]:
    parts: list[RenderableType] = []
    shown: set[int] = set()
    if scenario.reason:
        parts.append(Text(f"    {dotted(scenario.reason)}", style="yellow"))
    for check in scenario.checks:
        if check.verdict is Verdict.FAIL:
            parts += _failure(history, scenario, check, shown)
        elif check.verdict is Verdict.INCONCLUSIVE and check.required:
            words = f"    {check.check} is undecided: {dotted(check.message)}"
            parts.append(Text(words, style="yellow"))
    return parts


def _failure(
    history: Path, scenario: ScenarioVerdict, check: CheckVerdict, shown: set[int]
) -> list[RenderableType]:
    """A failed check with the events around its evidence, but for those in `shown` already."""
    where = f" in cycle {check.cycle}" if check.cycle else ""
    more = f" (and {check.findings - 1} more)" if check.findings > 1 else ""
    message = f"{where}: {dotted(check.message)}{more}"
    lines: list[RenderableType] = [Text.assemble("    ", (check.check, "red"), message)]
    if shown.issuperset(check.evidence):
        return lines
    entries = around(history, check.evidence, scenario.first_event)
    start = entries[0].event.t if entries else 0
    for entry in entries:
        shown.add(entry.n)
        proof = entry.n in check.evidence
        number = f"{'→ ' if proof else ''}{entry.n}"
        ms = f"{(entry.event.t - start) / 1e6:.1f} ms"
        words = f"{number:>12} {ms:>11}  {dotted(in_words(entry.event))}"
        style = "bold" if proof else "dim"
        lines.append(Text(words, style=style, no_wrap=True, overflow="ellipsis"))
    return lines


def around(history: Path, evidence: Sequence[int], first: int) -> list[Entry]:
    """The evidence and the telling events around it, in order."""
    if not evidence or not history.exists():
        return []
    low, high = max(first, min(evidence) - 200), max(evidence) + 200
    telling = [
        entry
        for entry in History(history).entries(first=low, last=high)
        if entry.n in evidence or in_words(entry.event)
    ]
    marks = [place for place, entry in enumerate(telling) if entry.n in evidence]
    wanted = {
        place for mark in marks for place in range(mark - _SHOWN_AROUND, mark + _SHOWN_AROUND + 1)
    }
    return [entry for place, entry in enumerate(telling) if place in wanted]


def in_words(event: Event) -> str:
    """An event in one line, or nothing for one that tells a person nothing here."""
    match event:
        case ev.ConnectionOpened():
            return f"connection {event.conn}: opened ({event.server_id})"
        case ev.UpgradeAnswered():
            return f"connection {event.conn}: upgrade answered {event.status}"
        case ev.Frame():
            side = "<-" if event.sender == "device" else "->"
            size = f"{event.size} B" + (", sealed" if event.sealed is not None else "")
            return f"connection {event.conn}: {side} {event.type or event.opcode} ({size})"
        case ev.SealBroken():
            return f"connection {event.conn}: event {event.frame}: {event.text}"
        case ev.EarlyBytes():
            what = event.type or event.head[:24]
            return f"connection {event.conn}: <- {what} ({event.size} B) before the upgrade answer"
        case ev.TcpFin() | ev.TcpReset():
            kind = "FIN" if isinstance(event, ev.TcpFin) else "RST"
            return f"connection {event.conn}: {kind} from the {event.sender}"
        case ev.LinkEffect():
            return f"connection {event.conn}: {event.fault} took ({event.value:g} {event.unit})"
        case ev.FaultAsked():
            aim = f" on connection {event.conn}" if event.conn else ""
            return f"fault {event.fault}{aim}"
        case ev.FaultSeen():
            return f"fault {event.fault} seen: {event.how}"
        case ev.Held():
            return f"connection {event.conn}: only waited on from here, {event.within_s:g} s"
        case ev.ConnectFailed():
            return f"no connection: {event.error}"
        case ev.SocketSeen():
            return f"serial: socket {event.fd if event.fd is not None else '?'} {event.op}"
        case ev.Boot():
            return f"serial: boot, rst:{event.reset_code:#x} ({event.reset_name})"
        case ev.CrashBegan():
            return f"serial: {event.text}"
        case ev.Crash():
            return f"crash record: {event.record.kind} {event.record.reason or ''}".rstrip()
        case ev.LogLine(level="E" | "W"):
            return f"serial: {event.text}"
        case _:
            return ""
