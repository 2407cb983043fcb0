"""Triage for people: each crash once with its stack, then a line for each kind with its count."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from rich.markup import escape
from rich.table import Table

from rig.console.crash import Reset, Warned
from rig.console.screen import report_console
from rig.triage.decode import DecodedCrash, Frame, TaskStack
from rig.triage.session import Found, Triaged

GROUPS = 10_000
"""So many different crashes are told apart; the rest is counted together."""
FILES = 20
BEFORE = 3
"""Log lines shown from before a crash."""


@dataclass(slots=True)
class _Group:
    count: int = 0
    files: list[str] = field(default_factory=list)
    first: str = ""
    said: str = ""


class Summary:
    """Prints crashes as they come, each signature once, and counts them."""

    def __init__(self) -> None:
        self.console = report_console(soft_wrap=True)
        self.crashes = 0
        self.unexpected = 0
        self.undecoded = 0
        """Crashes whose addresses no ELF was at hand for."""
        self.files = 0
        self._groups: dict[str, _Group] = {}

    def count(self, found: Triaged) -> bool:
        """Count a crash; True when its signature is seen for the first time."""
        self.crashes += 1
        if found.crash.frames and not found.crash.decoded and not found.crash.notes:
            self.undecoded += 1
        if found.remembered is None or found.remembered.mark != "expected":
            self.unexpected += 1
        if found.signature not in self._groups and len(self._groups) >= GROUPS:
            self._groups.setdefault("(other crashes)", _Group()).count += 1
            return False
        group = self._groups.setdefault(found.signature, _Group())
        group.count += 1
        return group.count == 1

    def file(self, name: str, found: Iterable[Found]) -> None:
        """Print what is found in one log."""
        self.files += 1
        crashes = resets = silent = 0
        warnings: dict[str, list[int]] = {}
        for one in found:
            if isinstance(one, Triaged):
                crashes += 1
                if self.count(one):
                    self._crash(name, one)
                group = self._groups.get(one.signature)
                if group is not None and name not in group.files and len(group.files) < FILES:
                    group.files.append(name)
                if group is not None:
                    group.first = group.first or f"{name}:{one.crash.record.line}"
                    group.said = memory_says(one) or group.said
            elif isinstance(one, Reset):
                resets += 1
                silent += one.silent
            elif isinstance(one, Warned):
                lines = warnings.setdefault(
                    f"{one.kind} ({one.task})" if one.task else one.kind, []
                )
                lines[2:] = [one.line]  # the first two and the newest
        self._file_line(name, crashes, resets, silent, warnings)

    def _file_line(
        self, name: str, crashes: int, resets: int, silent: int, warnings: dict[str, list[int]]
    ) -> None:
        said = [f"{crashes} crash{'es' if crashes != 1 else ''}" if crashes else "no crash"]
        if resets:
            said.append(f"{resets} reset{'s' if resets != 1 else ''}")
        if silent:
            said.append(f"{silent} of them by a watchdog without a word")
        said += [f"{kind} at line {lines[0]}, no crash" for kind, lines in warnings.items()]
        self.console.print(f"[dim]{escape(name)}: {escape('; '.join(said))}[/dim]")

    def _crash(self, name: str, found: Triaged) -> None:
        record = found.crash.record
        self.console.print()
        self.console.print(
            f"[bold red]{escape(headline(found.crash))}[/bold red]  "
            f"[dim]{escape(name)}:{record.line}[/dim]"
        )
        self.console.print(f"  [bold]{escape(found.signature)}[/bold]")
        if said := memory_says(found):
            self.console.print(f"  [yellow]{escape(said)}[/yellow]")
        for label, value in facts(found.crash):
            self.console.print(f"  [dim]{label:<9}[/dim] {escape(value)}")
        for text in stack(found.crash.frames):
            self.console.print(f"    {text}")
        for text in other_tasks(found.crash.tasks):
            self.console.print(f"  {text}")
        for note in found.crash.notes:
            self.console.print(f"  [yellow]{escape(note)}[/yellow]")
        for text in record.before[-BEFORE:]:
            self.console.print(f"  [dim]before    {escape(text)}[/dim]")

    def show(self) -> None:
        """Print a line for each kind of crash, the most frequent first."""
        if not self.crashes:
            return
        self.console.print()
        table = Table(box=None, header_style="dim", padding=(0, 2, 0, 0))
        table.add_column("count", justify="right")
        table.add_column("crash", overflow="fold")
        table.add_column("first", overflow="fold")
        table.add_column("memory", overflow="fold")
        for signature, group in sorted(self._groups.items(), key=lambda item: -item[1].count):
            table.add_row(
                str(group.count), escape(signature), escape(group.first), escape(group.said)
            )
        self.console.print(table)
        if self.undecoded:
            number = "one is" if self.undecoded == 1 else f"{self.undecoded} are"
            self.console.print(
                f"[dim]{number} not decoded: name the ELF file of the build (--elf build/app.elf, "
                "or once for all `rig symbols add build/`)[/dim]"
            )


def headline(crash: DecodedCrash) -> str:
    """A crash in one line: kind, reason, core, task."""
    record = crash.record
    words = [record.kind.replace("_", " ")]
    if record.reason:
        words.append(record.reason)
    if record.task:
        words.append(f"in task {record.task}")
    if record.core is not None:
        words.append(f"on core {record.core}")
    return ", ".join(words)


def facts(crash: DecodedCrash) -> list[tuple[str, str]]:
    """What is known of a crash beside its stack, as (label, value)."""
    record = crash.record
    rows = [
        ("firmware", " ".join(v for v in (record.firmware, record.elf_sha256) if v)),
        ("chip", record.chip or ""),
        ("panic", crash.panic or ""),
        ("PC", record.pc or ""),
        ("address", record.excvaddr or ""),
        ("uptime", f"{record.uptime_ms / 1000:.1f} s" if record.uptime_ms is not None else ""),
        ("reset", record.reset_reason or ""),
    ]
    return [(label, value) for label, value in rows if value]


def stack(frames: Iterable[Frame]) -> list[str]:
    """A crash's stack as lines of rich markup."""
    lines = []
    for frame in frames:
        place = f" [dim]{escape(frame.file)}:{frame.line or '?'}[/dim]" if frame.file else ""
        inlined = " [dim](inlined)[/dim]" if frame.inlined else ""
        lines.append(
            f"[dim]{escape(frame.address)}[/dim] {escape(frame.function or '?')}{inlined}{place}"
        )
    return lines


def other_tasks(tasks: Iterable[TaskStack], *, whole: bool = False) -> list[str]:
    """The tasks of a core dump as lines of rich markup: the innermost function of each that did not
    crash, or (`whole`) every task with its stack and registers.
    """
    lines = []
    for task in tasks:
        name = escape(task.name or task.handle)
        if whole:
            lines.append(f"[bold]{name}[/bold]{' (crashed)' if task.crashed else ''}")
            lines += [f"  {line}" for line in stack(task.frames)]
            values = [f"{key} {value}" for key, value in task.registers.items()]
            lines += [
                f"  [dim]{escape('  '.join(values[at : at + 6]))}[/dim]"
                for at in range(0, len(values), 6)
            ]
        elif not task.crashed:
            inner = next(iter(stack(task.frames[:1])), "?")
            lines.append(f"[dim]task[/dim]      {name}: {inner}")
    return lines


def memory_says(found: Triaged) -> str:
    """What memory knows of a crash, in words; empty for a new one."""
    known = found.remembered
    if known is None:
        return ""
    if known.regression:
        return f"REGRESSION: bucket {known.bucket} was fixed and is back"
    if known.mark != "new":
        return f"{known.mark}: bucket {known.bucket}"
    if known.new_bucket:
        return f"new: bucket {known.bucket}"
    times = "once" if known.count == 1 else f"{known.count} times"
    return f"bucket {known.bucket}, seen {times}"
