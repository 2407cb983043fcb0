"""The same bug has one signature, two bugs have two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from rig.history.crash import CrashRecord
from rig.triage import DecodedCrash, Frame, decode_record, signature
from rig.triage.signature import bare_name, fault_class

CLOSING = ("httpd_thread", "httpd_server", "httpd_process_ctrl_msg", "httpd_sess_close")
DELETING = ("httpd_thread", "httpd_server", "httpd_process_session", "httpd_sess_delete")


def crash(*functions: str, **fields: object) -> DecodedCrash:
    record = CrashRecord(kind="panic", line=1, reason="LoadProhibited")
    return DecodedCrash(
        replace(record, **fields),  # type: ignore[arg-type]
        tuple(Frame(f"0x{n:08x}", name) for n, name in enumerate(functions)),
    )


def test_the_same_crash_of_three_builds_has_one_signature(
    panic: Callable[..., str],
    records: Callable[[str], list[CrashRecord]],
    elf_of: Callable[[str], Path],
) -> None:
    told = set()
    addresses = set()
    for version in ("v0.5.0", "pr57", "v0.6.1"):
        (record,) = records(panic(version, *CLOSING))
        addresses.add(record.pc)
        told.add(signature(decode_record(record, [elf_of(version)])))
    assert len(addresses) > 1  # the builds do differ
    assert len(told) == 1


def test_two_crashes_of_one_build_have_two(
    panic: Callable[..., str],
    records: Callable[[str], list[CrashRecord]],
    elf_of: Callable[[str], Path],
) -> None:
    told = {
        signature(decode_record(record, [elf_of("v0.5.0")]))
        for stack in (CLOSING, DELETING)
        for record in records(panic("v0.5.0", *stack))
    }
    assert len(told) == 2


SOURCE = """
volatile int *nowhere;
{filler}
int __attribute__((noinline)) reads(void) {{ return *nowhere; }}
int __attribute__((noinline)) writes(void) {{ *nowhere = 1; return 0; }}
int app_main(void) {{ return {first}() + {second}(); }}
"""


def test_compiled_twice_the_same_function_is_the_same_bug(
    build: Callable[..., Path], records: Callable[[str], list[CrashRecord]]
) -> None:
    from rig.triage.elf import open_elf
    from rig.triage.index import build_index

    told: dict[str, set[str]] = {"reads": set(), "writes": set()}
    addresses: dict[str, set[int]] = {"reads": set(), "writes": set()}
    fillers = ("", "int filler(int a) { return a * 3 + 1; }")
    for number, (filler, option) in enumerate([(f, o) for f in fillers for o in ("-O0", "-Os")]):
        source = SOURCE.format(filler=filler, first="reads", second="writes")
        elf = build(source, f"app{number}", option)
        index = build_index(elf, open_elf(elf).sha256)
        for name in told:
            start = next(
                s for s in index.starts if index.places(s)[:1] and index.places(s)[0][0] == name
            )
            addresses[name].add(start)
            (record,) = records(
                "Guru Meditation Error: Core  0 panic'ed (Load access fault). Exception was "
                f"unhandled.\nBacktrace: 0x{start:08x}:0x3fc90000\n"
            )
            told[name].add(signature(decode_record(record, [elf])))
    assert len(addresses["writes"]) > 1
    assert told == {"reads": {"bad load | reads"}, "writes": {"bad load | writes"}}


@pytest.mark.parametrize(
    ("xtensa", "riscv"),
    [
        ("LoadProhibited", "Load access fault"),
        ("StoreProhibited", "Store access fault"),
        ("StoreProhibited", "Store/AMO access fault (7)"),
        ("IllegalInstruction", "Illegal instruction"),
        ("InstrFetchProhibited", "Instruction access fault"),
        ("LoadStoreAlignment", "Load address misaligned"),
        ("LoadStoreAlignment", "Store address misaligned"),
    ],
)
def test_both_architectures_words_for_a_fault_are_one(xtensa: str, riscv: str) -> None:
    one, other = crash("foo", reason=xtensa), crash("foo", reason=riscv)
    assert signature(one) == signature(other)


def test_the_same_bug_on_both_architectures_has_one_signature(
    panic: Callable[..., str],
    records: Callable[[str], list[CrashRecord]],
    elf_of: Callable[[str], Path],
) -> None:
    (riscv,) = records(panic("v0.6.1", *CLOSING))
    pairs = [f"0x400d{n}000:0x3ffb{n}000" for n in range(1, 6)]
    said = [
        f"{pair[:10]}: {name} at /idf/httpd.c:{10 + n}"
        for n, (pair, name) in enumerate(
            zip(pairs, [*reversed(CLOSING), "vPortTaskWrapper"], strict=True)
        )
    ]
    (xtensa,) = records(
        "\n".join(
            [
                "Guru Meditation Error: Core  1 panic'ed (LoadProhibited).",
                "Core  1 register dump:",
                "PC      : 0x400d1003  PS      : 0x00060730  A0      : 0x800d2003",
                f"Backtrace: {' '.join(pairs)}",
                *said,
            ]
        )
    )
    assert (riscv.arch, xtensa.arch) == ("riscv", "xtensa")
    told = {
        signature(decode_record(riscv, [elf_of("v0.6.1")])),
        signature(decode_record(xtensa)),
    }
    assert told == {"bad load | " + " | ".join(reversed(CLOSING))}


def test_a_load_and_a_store_in_one_function_are_two_bugs() -> None:
    assert signature(crash("foo")) != signature(crash("foo", reason="StoreProhibited"))


def test_panic_allocator_and_library_functions_name_no_bug() -> None:
    stack = [
        "panic_abort",
        "esp_system_abort",
        "__assert_func",
        "tlsf_free",
        "heap_caps_free",
        "free",
        "operator delete(void*)",
        "Player::stop()",
        "loop",
        "vPortTaskWrapper",
    ]
    assert signature(crash(*stack, kind="abort")) == "abort | Player::stop | loop"


def test_a_stack_of_nothing_else_is_named_after_its_innermost_function() -> None:
    assert signature(crash("abort", "vPortTaskWrapper", kind="abort")) == "abort | abort"


def test_asserts_of_one_function_are_told_apart_by_their_expression() -> None:
    one = crash("foo", kind="assert", assert_expr="a != NULL")
    other = crash("foo", kind="assert", assert_expr="b != NULL")
    assert signature(one) != signature(other)


def test_a_watchdog_is_named_after_its_task_and_the_loop_it_stood_in() -> None:
    hang = crash("task_wdt_isr", "poll", "loop", kind="task_wdt", task="loopTask", reason=None)
    assert signature(hang) == "task watchdog in loopTask | poll"


def test_without_symbols_the_build_and_the_address_are_all_there_is() -> None:
    undecoded = DecodedCrash(
        CrashRecord(kind="panic", line=1, reason="LoadProhibited", pc="0x400D1234",
                    backtrace=("0x400D1234",), elf_sha256="ab81a733d")
    )  # fmt: skip
    assert signature(undecoded) == "bad load | 0x400d1234 of ab81a733"


def test_undecoded_aborts_are_told_apart_by_their_caller() -> None:
    def aborted(pc: str) -> DecodedCrash:
        return DecodedCrash(
            CrashRecord(kind="abort", line=1, pc=pc, backtrace=("0x40081d02", "0x40088e05", pc))
        )

    assert signature(aborted("0x400d0001")) != signature(aborted("0x400d0002"))


@pytest.mark.parametrize(
    ("function", "bare"),
    [
        ("ns::Thing<int>::run(char const*) const [clone .isra.0]", "ns::Thing::run"),
        ("foo.constprop.0.isra.1", "foo"),
        ("void foo<std::vector<int> >(int)", "foo"),
        ("(anonymous namespace)::x(int)", "x"),
        ("setup()::{lambda()#1}::operator()() const", "setup::{lambda}::call"),
        ("setup()::{lambda()#3}::_FUN()", "setup::{lambda}::call"),
        ("A::operator()(int)", "A::operator()"),
        ("operator new(unsigned int)", "operator new"),
        ("", ""),
    ],
)
def test_a_functions_bare_name(function: str, bare: str) -> None:
    assert bare_name(function) == bare


def test_every_kind_has_a_class_in_words() -> None:
    kinds = "panic abort assert stack_overflow heap_corruption int_wdt task_wdt brownout"
    kinds += " cpp_terminate stack_smash memprot coredump ubsan"
    classes = [fault_class(CrashRecord(kind=kind, line=1)) for kind in kinds.split()]
    assert len(set(classes)) == len(classes) == 13
