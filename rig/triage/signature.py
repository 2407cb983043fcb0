"""A crash's signature: the same for the same bug, whatever the build.

It is made of what survives a rebuild: what kind of fault it was, in words common to both
architectures, and the functions nearest to it. Addresses, lines and the functions that any crash
passes through (`frames.toml`) are left out. The idea is Mozilla's (`siggen`).
"""

from __future__ import annotations

import re
import tomllib
from functools import cache, lru_cache
from importlib.resources import files

from rig.history.crash import CrashRecord
from rig.triage.decode import DecodedCrash

DEEPEST = 4
"""So many functions tell bugs apart; the ones further out tell features apart."""

_FAULTS = (
    (r"loadstorealign|address misaligned", "misaligned access"),
    (r"^load|loadprohibited|load (?:access|page) fault", "bad load"),
    (r"store", "bad store"),
    (r"instr(?:uction)?\s?(?:fetch|access|page)|instrfetch|instructionfetch|ibus", "bad jump"),
    (r"illegal\s?instruction", "illegal instruction"),
    (r"divide", "division by zero"),
    (r"break", "breakpoint"),
    (r"double exception", "double exception"),
    (r"cache", "cache error"),
    (r"debug exception", "debug exception"),
)
_KINDS = {
    "int_wdt": "interrupt watchdog",
    "task_wdt": "task watchdog",
    "stack_overflow": "stack overflow",
    "heap_corruption": "heap corruption",
    "stack_smash": "stack smashing",
    "cpp_terminate": "C++ terminate",
    "process": "process ended",
    "memprot": "memory protection",
    "boot_failure": "boot failure",
    "coredump": "core dump",
    "rtc_wdt": "RTC watchdog",
    "ubsan": "undefined behaviour",
}
_HANGS = frozenset({"int_wdt", "task_wdt"})
"""Where a loop stood when a watchdog bit is chance: only the loop's function is kept."""

_ABORTING = frozenset(
    {"abort", "assert", "heap_corruption", "stack_smash", "cpp_terminate", "ubsan", "task_wdt"}
)
_ABORT_FRAMES = 4


@cache
def _skipped() -> re.Pattern[str]:
    text = files("rig.triage").joinpath("frames.toml").read_text(encoding="utf-8")
    names = [name for group in tomllib.loads(text).values() for name in group]
    return re.compile("|".join(f"(?:{name})" for name in names))


@lru_cache(4096)
def bare_name(function: str) -> str:
    """A function's name without parameters, template arguments, clones and lambda numbers.

    >>> bare_name("ns::Thing<int>::run(char const*) const [clone .isra.0]")
    'ns::Thing::run'
    """
    name = re.sub(r"\s*\[clone [^\]]*\]", "", function).strip()
    name = re.sub(r"\.(?:isra|constprop|part|cold|lto_priv|localalias)(?:\.\d+)*", "", name)
    name = name.replace("(anonymous namespace)::", "").replace("{anonymous}::", "")
    name = re.sub(r"\{lambda\([^{}]*\)#\d+\}|<lambda\([^<>]*\)>", "{lambda}", name)
    name = re.sub(r"::operator\(\)|::_FUN(?=\W|$)", "::call", name) if "{lambda}" in name else name
    kept: list[str] = []
    depth = 0
    operator = re.search(r"operator\s?(?:<<=?|>>=?|<=>?|>=?|->\*?|\(\)|\[\])", name)
    for at, letter in enumerate(name):
        if operator and operator.start() <= at < operator.end():
            kept.append(letter)
        elif letter in "<(":
            depth += 1
        elif letter in ">)":
            depth = max(0, depth - 1)
        elif depth == 0:
            kept.append(letter)
    name = "".join(kept).replace(" const", "").replace(" volatile", "").strip()
    # What a compiler puts before a template's name is its return type.
    if " " in name and "operator" not in name and "{lambda}" not in name:
        name = name.rsplit(" ", 1)[-1]
    return re.sub(r"::(?:::)+", "::", name).strip(":") or function


def fault_class(record: CrashRecord) -> str:
    """What happened, in words common to both architectures and all versions of ESP-IDF."""
    told = record.kind == "panic" or (record.kind == "coredump" and bool(record.reason))
    if record.kind in _KINDS and not told:
        words = _KINDS[record.kind]
        return f"{words} in {record.task}" if record.task else words
    if record.kind == "assert":
        return f"assert({record.assert_expr})" if record.assert_expr else "assert"
    if told and record.reason:
        low = record.reason.lower()
        for pattern, words in _FAULTS:
            if re.search(pattern, low):
                return words
        return record.reason
    if record.kind == "sanitizer" and record.reason:
        return " ".join(record.reason.split()[:2])
    return record.kind


def significant(decoded: DecodedCrash) -> list[str]:
    """The functions that tell this crash from others, innermost first."""
    names = [bare_name(frame.function) for frame in decoded.frames if frame.function]
    told = [name for name in names if not _skipped().fullmatch(name)]
    unique = [name for n, name in enumerate(told) if n == 0 or name != told[n - 1]]
    return (unique or names[:1])[: 1 if decoded.record.kind in _HANGS else DEEPEST]


def signature(decoded: DecodedCrash) -> str:
    """`bad load | httpd_sess_delete | httpd_sess_close | ...`.

    A crash that could not be decoded is named after its build and its address: the same crash of
    another build then lands in another bucket, until the ELF files are there.
    """
    record = decoded.record
    what = fault_class(record)
    names = significant(decoded)
    if not names:
        names = _undecoded(record)
    return " | ".join([what, *names])


def _undecoded(record: CrashRecord) -> list[str]:
    """What is left to go by without any function."""
    if record.kind == "assert" and (record.assert_func or record.assert_file):
        file = (record.assert_file or "").replace("\\", "/").rsplit("/", 1)[-1]
        return [bare_name(record.assert_func) if record.assert_func else file]
    address = record.pc
    if record.backtrace and (address is None or record.kind not in _ABORTING):
        # The innermost functions of an abort are the same for all: panic_abort, abort, ...
        at = min(_ABORT_FRAMES, len(record.backtrace) - 1) if record.kind in _ABORTING else 0
        address = record.backtrace[at]
    if address is None:
        return []
    build = (record.elf_sha256 or "")[:8]
    build = build if build.strip("0") else ""
    return [f"{address.lower()} of {build}" if build else address.lower()]
