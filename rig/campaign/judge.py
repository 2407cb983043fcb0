"""From a history on disk to a verdict: needs no board, and can be repeated at any time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from rig.campaign.verdicts import (
    AudioVerdict,
    CheckVerdict,
    FaultCount,
    RunVerdict,
    ScenarioVerdict,
    failure_rate_bound,
)
from rig.checks import Verdict, get_check, worst
from rig.checks.stretch import Stretch, run_check
from rig.errors import BenchError
from rig.history import History
from rig.history import events as ev

HISTORY_FILE = "history.jsonl"

_S = 1_000_000_000


@dataclass(slots=True)
class _Cycle:
    number: int
    first: int
    last: int | None = None
    asked: int = 0
    unseen: set[int] = field(default_factory=set)
    """Faults, by id, that were asked for in it and are not proven yet."""

    def proven(self, needs_fault: bool) -> bool:
        """Whether each of its faults was seen; a scenario of faults needs one in each cycle."""
        return not self.unseen and (bool(self.asked) or not needs_fault)


@dataclass(slots=True)
class _Scenario:
    """What one pass over the history tells of a scenario."""

    start: ev.ScenarioStarted
    first: int
    begin: int
    """Where its stretch begins: right after the scenario before it."""
    end: ev.ScenarioEnded | None = None
    last: int | None = None
    asked: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    cycles: int = 0
    whole: int = 0
    """Cycles that were played to their end."""
    proven: int = 0
    bounds: list[tuple[int, int]] = field(default_factory=list)
    """(first event, cycle number) of the cycles; thinned out never: 16 bytes a cycle."""
    cut_short: tuple[int, str] | None = None
    """The first cycle that could not be played to its end, and why."""
    cycle: _Cycle | None = None
    audio: AudioVerdict | None = None
    upgraded: int = 0
    """Connections that the device took."""
    heard: bool = False
    """Whether the console said anything at all meanwhile."""
    told: bool = False
    """Whether it told of connections."""

    def take(self, entry_n: int, event: ev.Event) -> None:
        match event:
            case ev.CycleStarted(cycle=number):
                self.cycle = _Cycle(number, entry_n)
                self.bounds.append((entry_n, number))
            case ev.CycleEnded(cycle=number, cut_short=str(why)):
                self.cycles += 1
                self.cut_short = self.cut_short or (number, why)
                self.cycle = None
            case ev.CycleEnded():
                self.cycles += 1
                self.whole += 1
                if self.cycle is not None and self.cycle.proven(self.start.needs_fault):
                    self.proven += 1
                self.cycle = None
            case ev.FaultAsked(fault=fault, id=number):
                self.asked[fault] += 1
                if self.cycle is not None:
                    self.cycle.asked += 1
                    self.cycle.unseen.add(number)
            case ev.AudioFared() as fared:
                self.audio = _with(self.audio or AudioVerdict(), fared)
            case ev.FaultSeen(fault=fault, id=number):
                self.seen[fault] += 1
                if self.cycle is not None:
                    self.cycle.unseen.discard(number)
            case ev.UpgradeAnswered(status=101):
                self.upgraded += 1
            case ev.SocketSeen():
                self.heard = self.told = True
            case ev.LogLine(component=component):
                self.heard = True
                self.told = self.told or (component or "").startswith("sendspin")
            case ev.Boot() | ev.CrashBegan() | ev.AppStarted():
                self.heard = True
            case _:
                pass

    def cycle_of(self, evidence: tuple[int, ...]) -> int | None:
        """The cycle in which the last of `evidence` lies."""
        if not evidence:
            return None
        return max((cycle for first, cycle in self.bounds if first <= max(evidence)), default=None)


@dataclass(slots=True)
class _Run:
    started: ev.RunStarted | None = None
    ended: ev.RunEnded | None = None
    board: str = ""
    firmware: dict[str, object] = field(default_factory=dict)
    has_console: bool = False
    scenarios: list[_Scenario] = field(default_factory=list)


_SURVEYED: tuple[type[ev.Event], ...] = (
    ev.RunStarted,
    ev.RunEnded,
    ev.BoardDescribed,
    ev.Boot,
    ev.AppStarted,
    ev.LogLine,
    ev.CrashBegan,
    ev.ScenarioStarted,
    ev.ScenarioEnded,
    ev.CycleStarted,
    ev.CycleEnded,
    ev.FaultAsked,
    ev.FaultSeen,
    ev.AudioFared,
    ev.UpgradeAnswered,
    ev.SocketSeen,
)


def _survey(history: History) -> _Run:
    run = _Run()
    for entry in history.only(*_SURVEYED):
        match entry.event:
            case ev.RunStarted() as event:
                run.started = event
            case ev.RunEnded() as event:
                run.ended = event
            case ev.BoardDescribed(board=board, firmware=firmware):
                run.board = board
                run.firmware.update(firmware)
            case ev.Boot() | ev.LogLine() | ev.CrashBegan():
                run.has_console = True
            case ev.AppStarted() as event:
                run.has_console = True
                _name_firmware(run, event)
            case ev.ScenarioStarted() as event:
                run.scenarios.append(_Scenario(event, entry.n, entry.n))
            case ev.ScenarioEnded() as event if run.scenarios:
                run.scenarios[-1].end = event
                run.scenarios[-1].last = entry.n
            case _:
                pass
        if run.scenarios and run.scenarios[-1].end is None:
            run.scenarios[-1].take(entry.n, entry.event)
    _share(run)
    return run


def _share(run: _Run) -> None:
    """Let no event fall between two scenarios: it is the later one's, after the last the last's.

    A crash or a stray frame just after a scenario's end would be nobody's otherwise. Under pytest
    there are other tests in between, with their own judgement of what they do.
    """
    if run.started is None or not run.started.plan.get("scenarios"):
        return
    for before, after in pairwise(run.scenarios):
        if before.last is not None:
            after.begin = before.last + 1
    if run.scenarios:
        run.scenarios[-1].last = None


def _name_firmware(run: _Run, event: ev.AppStarted) -> None:
    told = {"name": event.project, "version": event.version, "elf_sha256": event.elf_sha256}
    for key, value in told.items():
        if value and not run.firmware.get(key):
            run.firmware[key] = value


def _judge_scenario(history: History, run: _Run, told: _Scenario) -> ScenarioVerdict:
    deaf = _deaf(run, told)
    stretch = Stretch(history, told.begin, told.last, has_console=run.has_console and not deaf)
    checks = []
    for name in told.start.checks:
        try:
            check = get_check(name)
        except BenchError as error:
            checks.append(CheckVerdict(name, Verdict.INCONCLUSIVE, error.message))
            continue
        outcome = run_check(check, stretch)
        checks.append(
            CheckVerdict(
                check=name,
                verdict=outcome.verdict,
                message=outcome.message,
                evidence=outcome.evidence,
                findings=outcome.findings,
                cycle=told.cycle_of(outcome.evidence) if outcome.verdict is Verdict.FAIL else None,
                required=outcome.broken or name in told.start.required,
            )
        )
    counted = [c.verdict for c in checks if c.required or c.verdict is Verdict.FAIL]
    reason = _doubt(told) or (_shortfall(told) if Verdict.FAIL not in counted else None)
    verdict = worst([*counted, *([Verdict.INCONCLUSIVE] if reason else [])])
    failing = [c.cycle for c in checks if c.verdict is Verdict.FAIL and c.cycle is not None]
    last_t = told.end.t if told.end else told.start.t
    return ScenarioVerdict(
        scenario=told.start.scenario,
        verdict=verdict,
        cycles=told.cycles + (told.cycle is not None),
        first_failing_cycle=min(failing, default=None),
        seconds=round((last_t - told.start.t) / _S, 3),
        faults=tuple(FaultCount(f, told.asked[f], told.seen[f]) for f in sorted(told.asked)),
        checks=tuple(checks),
        reason=reason,
        proven_cycles=told.proven,
        failure_rate_bound=failure_rate_bound(told.proven) if verdict is Verdict.PASS else None,
        audio=told.audio,
        first_event=told.first,
        last_event=told.last,
    )


def _deaf(run: _Run, told: _Scenario) -> bool:
    """Whether the console fell silent: it tells of connections elsewhere in the run, and here,
    where the device took some, it said nothing at all. Then it would not tell of a crash either.
    """
    return bool(told.upgraded) and not told.heard and any(each.told for each in run.scenarios)


def _with(sum_: AudioVerdict, fared: ev.AudioFared) -> AudioVerdict:
    """The sum with one more report; what was ever unknown of a count is not added up."""
    return AudioVerdict(
        seconds=round(sum_.seconds + fared.seconds, 3),
        chunks=sum_.chunks + fared.chunks,
        late=_plus(sum_, sum_.late, fared.late),
        lost=_plus(sum_, sum_.lost, fared.lost),
        ahead_min_ms=_of(min, sum_.ahead_min_ms, fared.ahead_min_ms),
        answer_worst_ms=_of(max, sum_.answer_worst_ms, fared.answer_worst_ms),
        clock_drift_ppm=_latest(fared.clock_drift_ppm, sum_.clock_drift_ppm),
        clock_error_us=_latest(fared.clock_error_us, sum_.clock_error_us),
        device_buffer_ms=_latest(fared.device_buffer_ms, sum_.device_buffer_ms),
    )


def _plus(sum_: AudioVerdict, old: int | None, new: int | None) -> int | None:
    if new is None or (old is None and sum_.chunks):
        return None
    return (old or 0) + new


def _of(
    pick: Callable[[float, float], float], old: float | None, new: float | None
) -> float | None:
    return new if old is None else old if new is None else pick(old, new)


def _latest[T](new: T | None, old: T | None) -> T | None:
    return old if new is None else new


def _doubt(told: _Scenario) -> str | None:
    """Why the scenario cannot pass whatever its checks say, or None."""
    if told.end is None:
        return "the history ends in the middle of the scenario"
    if told.end.outcome != "done":
        return told.end.reason or told.end.outcome
    if told.cut_short is not None and not told.whole:
        return f"cycle {told.cut_short[0]} was cut short: {told.cut_short[1]}"
    unseen = [fault for fault in sorted(told.asked) if not told.seen[fault]]
    if unseen:
        times = told.asked[unseen[0]]
        asked = "once" if times == 1 else f"{times} times"
        return f"the fault {unseen[0]} was asked {asked} and never seen"
    if told.start.needs_fault and not told.seen:
        return "no fault was seen"
    if told.cycles == 0:
        return "no cycle was completed"
    if told.start.needs_fault and told.proven == 0:
        return "no cycle had all its faults seen"
    return None


def _shortfall(told: _Scenario) -> str | None:
    """Why what was played is too little to pass, or None."""
    planned = told.start.params.get("cycles")
    if isinstance(planned, int) and told.cycles < planned:
        return f"{told.cycles} of {planned} cycles were played"
    if 2 * told.proven < told.cycles:
        why = ""
        if told.cut_short is not None:
            why = f"; cycle {told.cut_short[0]} was cut short: {told.cut_short[1]}"
        return (
            f"only {told.proven} of {told.cycles} cycles were played to their end and proven{why}"
        )
    return None


def _spared(run: _Run, told: _Scenario) -> bool:
    """Whether nobody asked for this scenario by name, and the bench lacks what it needs."""
    by_name = run.started is None or not run.started.plan.get("catalogue")
    return not by_name and told.end is not None and told.end.outcome == "lacking"


def _unplayed(run: _Run) -> list[str]:
    """What the plan names and the history lacks, but for a run that was to stop at a failure."""
    plan = run.started.plan if run.started else {}
    names = plan.get("scenarios")
    if not isinstance(names, list) or plan.get("fail_fast"):
        return []
    played = {told.start.scenario for told in run.scenarios}
    return [str(name) for name in names if name not in played]


def history_of(out: Path) -> Path:
    """The history in a run's folder (or the file itself). Raises `BenchError`: there is none."""
    path = out / HISTORY_FILE if out.is_dir() else out
    if path.exists():
        return path
    runs = [file.parent for file in out.glob(f"*/{HISTORY_FILE}")] if out.is_dir() else []
    if runs:
        newest = max(runs, key=lambda run: run.stat().st_mtime_ns)
        hint = f"name one of the {len(runs)} runs in it; the newest is {newest}"
    else:
        hint = "name a run's folder: out/TIME-BOARD, which `rig run` prints at its end"
    raise BenchError(f"no history at {path}", hint=hint)


def judge_newest(out: Path) -> RunVerdict:
    """A run that goes on, with its newest scenario only; raises as `judge` does."""
    path = history_of(out)
    history = History(path)
    run = _survey(history)
    newest = _judge_scenario(history, run, run.scenarios[-1])
    return _run_verdict(path, run, newest.verdict, (newest,))


def judge(out: Path) -> RunVerdict:
    """Judge the run in folder `out` (or the history file itself).

    Raises `HistoryError` when it cannot be read, `BenchError` when there is none.
    """
    path = history_of(out)
    history = History(path)
    run = _survey(history)
    scenarios = tuple(_judge_scenario(history, run, told) for told in run.scenarios)
    spared = [
        scenario
        for scenario, told in zip(scenarios, run.scenarios, strict=True)
        if _spared(run, told) and scenario.verdict is Verdict.INCONCLUSIVE
    ]
    if len(spared) == len(scenarios):
        spared = []
    verdicts = [scenario.verdict for scenario in scenarios if scenario not in spared]
    reason = None
    if run.ended is None:
        reason = "the run did not end: it was killed, or is still going on"
    elif run.ended.outcome != "done":
        reason = run.ended.outcome
    elif not scenarios:
        reason = "no scenario was run"
    elif unplayed := _unplayed(run):
        reason = f"the history has nothing of {', '.join(unplayed)}, which the run was to play"
    doubts = [Verdict.INCONCLUSIVE] if reason else []
    if spared and not reason:
        reason = "; ".join(f"{each.scenario} was not played: {each.reason}" for each in spared)
    return _run_verdict(path, run, worst([*verdicts, *doubts]), scenarios, reason)


def _run_verdict(
    path: Path,
    run: _Run,
    verdict: Verdict,
    scenarios: tuple[ScenarioVerdict, ...],
    reason: str | None = None,
) -> RunVerdict:
    return RunVerdict(
        verdict=verdict,
        board=run.board,
        firmware=dict(run.firmware),
        out=str(path.parent),
        seed=run.started.seed if run.started else 0,
        scenarios=scenarios,
        reason=reason,
    )
