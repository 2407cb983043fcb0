"""The device did not crash, and did not reboot unasked."""

from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, failed, inconclusive, passed
from rig.history.events import AppStarted, Boot, ConsoleGap, Crash, CrashBegan, ResetAsked

_NO_CONSOLE = "nothing was heard from the serial console, so a crash would not have been seen"


@check(
    "no_crash",
    title="the device does not crash",
    source="the mission: sendspin-cpp #57, #60; ESP-IDF panic handler output on the console",
)
def no_crash(history: Judged) -> Outcome:
    """No crash was printed: panic, abort, assert, watchdog, sanitizer report, ..."""
    began: dict[int, tuple[int, str]] = {}
    records: dict[int, tuple[int, str]] = {}
    for entry in history.only(CrashBegan, Crash):
        match entry.event:
            case CrashBegan(crash=number, text=text):
                began[number] = (entry.n, text)
            case Crash(crash=number, record=record):
                why = f"{record.kind}: {record.reason or record.assert_expr or 'no reason printed'}"
                records[number] = (entry.n, why)
    if began or records:
        first = min(began.keys() | records.keys())
        evidence = [where[first][0] for where in (began, records) if first in where]
        words = (records if first in records else began)[first][1]
        return failed(words, *evidence, findings=len(began.keys() | records.keys()))
    if not history.has_console:
        return inconclusive(_NO_CONSOLE)
    if (gap := _unasked_gap(history)) is not None:
        return inconclusive(_GAP, gap)
    return passed("no crash on the console")


_GAP = "the serial port went away by itself for a while: a crash then would not have been seen"


def _unasked_gap(history: Judged) -> int | None:
    """Where the port went away although the rig had not reset the board: with a native USB port
    that is what a crash may look like."""
    asked = False
    for entry in history.only(ConsoleGap, ResetAsked, AppStarted):
        match entry.event:
            case ResetAsked():
                asked = True
            case AppStarted():
                asked = False
            case ConsoleGap(gone=True) if not asked:
                return entry.n
            case _:
                pass
    return None


@check(
    "no_unasked_reboot",
    title="the device boots only when the rig resets it",
    source="ROM boot banner (`rst:0x..`), esp-boot-and-flashing facts",
)
def no_unasked_reboot(history: Judged) -> Outcome:
    """Every boot banner follows a reset that the rig asked for."""
    asked = False
    unasked: list[tuple[int, str]] = []
    boots = 0
    for entry in history.only(Boot, ResetAsked, AppStarted):
        match entry.event:
            case ResetAsked():
                asked = True
            case AppStarted():
                asked = False  # the asked-for boot is over; a later one is the device's own
            case Boot(reset_code=code, reset_name=name):
                boots += 1
                if not asked:
                    unasked.append((entry.n, f"rst:{code:#x} ({name})"))
    if unasked:
        n, what = unasked[0]
        return failed(f"the device rebooted by itself: {what}", n, findings=len(unasked))
    if not history.has_console:
        return inconclusive(_NO_CONSOLE.replace("crash", "reboot"))
    if (gap := _unasked_gap(history)) is not None:
        return inconclusive(_GAP.replace("crash", "reboot"), gap)
    return passed(f"{boots} boots, each asked for" if boots else "no boot")
