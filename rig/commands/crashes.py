"""`rig crashes`: the crashes known so far, by signature."""

from __future__ import annotations

import re
import time
from datetime import datetime

import click
import msgspec
from rich.markup import escape

from rig.commands.options import examples
from rig.console.screen import Screen
from rig.errors import BenchError
from rig.triage.buckets import Bucket, Mark, Occurrence
from rig.triage.decode import DecodedCrash
from rig.triage.memory import Memory, known_functions
from rig.triage.summary import facts, headline, other_tasks

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_NAMES = 4
"""Firmware versions, and boards, named of a kind: the newest."""
_SHOWN = 50
"""Occurrences listed of a bucket."""


class Ago(click.ParamType[float]):
    """A span back in time: `90s`, `15m`, `12h`, `7d`, `2w`."""

    name = "7d"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Seconds since the epoch that it reaches back to."""
        match = re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", str(value))
        if match is None:
            self.fail(
                f"{value!r} is no span of time: expected a number and s, m, h, d or w", param, ctx
            )
        return time.time() - float(match[1]) * _UNITS[match[2]]


@click.group(name="crashes", invoke_without_command=True)
@click.option("--since", type=Ago(), help="Only kinds seen in the last ... (7d, 12h).")
@click.option("--firmware", help="Only kinds seen on firmware whose version begins so.")
@click.option("--json", "as_json", is_flag=True, help="One JSON array on stdout.")
@click.pass_context
def command(ctx: click.Context, since: float | None, firmware: str | None, as_json: bool) -> None:
    """Show the crashes known so far: one line for each kind, the newest first.

    \b
    rig crashes --since 7d --firmware v0.6.1
    rig crashes show 3
    rig crashes mark 3 fixed --in v0.6.2
    """
    if ctx.invoked_subcommand is not None:
        return
    with Memory() as memory:
        buckets = memory.buckets(since=since, firmware=firmware)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(buckets), indent=2).decode())
        return
    console = Screen(soft_wrap=True)
    if not buckets:
        console.print("no crash is known" + (" that fits" if since or firmware else ""))
        return
    width = max(len(str(bucket.id)) for bucket in buckets)
    for bucket in buckets:
        console.print(f"{bucket.id:>{width}}  [bold]{escape(bucket.signature)}[/bold]")
        console.print(f"{'':{width}}  [dim]{escape(_seen(bucket))}[/dim]  {_marked(bucket)}")


def _seen(bucket: Bucket) -> str:
    """How often, when and where a kind was seen, in words."""
    first, last = _date(bucket.first_seen), _date(bucket.last_seen)
    words = ["once" if bucket.count == 1 else f"{bucket.count} times"]
    words[0] += f", {first}" if first == last else f", {first} to {last}"
    if bucket.firmwares:
        words.append(f"firmware {', '.join(bucket.firmwares[-_NAMES:])}")
    if bucket.boards:
        words.append(f"boards {', '.join(bucket.boards[-_NAMES:])}")
    return "; ".join(words)


@command.command(
    name="show",
    epilog=examples(
        "rig crashes show 3    its number stands in `rig crashes`",
    ),
)
@click.argument("bucket", type=int)
def show(bucket: int) -> None:
    """Show one kind: its best example, decoded, the log before it, and where it was seen."""
    with Memory() as memory:
        found = memory.buckets(bucket=bucket)
        occurrences = memory.occurrences(bucket)
    if not found:
        raise BenchError(f"there is no crash bucket {bucket}", hint="`rig crashes` lists them")
    console = Screen(soft_wrap=True)
    best = max(occurrences, key=_worth)
    crash = DecodedCrash(best.record)
    console.print(f"[bold]{escape(found[0].signature)}[/bold]  {_marked(found[0])}")
    if found[0].note:
        console.print(escape(found[0].note))
    console.print(
        f"[red]{escape(headline(crash))}[/red]  [dim]{escape(best.source)}:{best.line}[/dim]"
    )
    for label, value in facts(crash):
        console.print(f"  [dim]{label:<9}[/dim] {escape(value)}")
    for frame in best.frames:
        console.print(f"    {escape(frame)}")
    if best.tasks:
        console.print("[dim]the tasks of its core dump[/dim]")
        for text in other_tasks(best.tasks, whole=True):
            console.print(f"    {text}")
    if best.record.before:
        console.print("[dim]the log before it[/dim]")
        for text in best.record.before:
            console.print(f"    {escape(text)}")
    times = "once" if found[0].count == 1 else f"{found[0].count} times"
    console.print(f"[dim]seen {times}[/dim]")
    for occurrence in occurrences[:_SHOWN]:
        console.print(f"    {_line(occurrence)}")
    if found[0].count > _SHOWN:
        console.print(f"    ... and {found[0].count - _SHOWN} more")


@command.command(
    name="mark",
    epilog=examples(
        "rig crashes mark 3 fixed --in v0.6.2",
        "rig crashes mark 3 expected --note 'provoked by the power test'",
    ),
)
@click.argument("bucket", type=int)
@click.argument("mark", type=click.Choice(["new", "known", "expected", "fixed"]))
@click.option("--in", "fixed_in", help="The firmware version that holds the fix.")
@click.option("--note", help="A word for the next reader.")
def mark_(bucket: int, mark: Mark, fixed_in: str | None, note: str | None) -> None:
    """Mark a kind known, expected or fixed; a fixed one that comes back is a regression."""
    if fixed_in and mark != "fixed":
        raise BenchError(
            "--in goes with `fixed` only", hint=f"rig crashes mark {bucket} fixed --in ..."
        )
    with Memory() as memory:
        memory.mark(bucket, mark, fixed_in=fixed_in, note=note)
    click.echo(f"bucket {bucket} is {mark}{f' in {fixed_in}' if fixed_in else ''}")


def _worth(occurrence: Occurrence) -> tuple[int, int, float]:
    """How much an example shows: functions first, then text, then youth."""
    return known_functions(occurrence.frames), len(occurrence.record.text), occurrence.seen


def _line(occurrence: Occurrence) -> str:
    words = [_date(occurrence.seen), f"{occurrence.source}:{occurrence.line}"]
    words += [word for word in (occurrence.firmware, occurrence.board) if word]
    text = escape("  ".join(words))
    return f"{text}  [bold red]regression[/bold red]" if occurrence.regression else text


def _marked(bucket: Bucket) -> str:
    if bucket.regressions:
        return "[bold red]REGRESSION[/bold red]"
    if bucket.mark == "fixed" and bucket.fixed_in:
        return escape(f"fixed in {bucket.fixed_in}")
    return "" if bucket.mark == "new" else bucket.mark


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
