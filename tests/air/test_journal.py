from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rig.air import journal
from rig.air.arp import announce
from rig.air.journal import Arp, Journal, Qdisc, Table
from rig.air.leftovers import folder, leftovers
from rig.air.undo import heal

TABLE = Table("netdev", "srig_abcd_1")
QDISC = Qdisc("eth0", 3, 0x5217)


def test_what_is_about_to_change_is_on_disk_before_the_call_returns(tmp_path: Path) -> None:
    with Journal(tmp_path, "abcd") as live:
        live.will(TABLE)
        assert b'"srig_abcd_1"' in live.path.read_bytes()
        live.undone(1)


def test_a_helper_that_undid_everything_leaves_no_journal(tmp_path: Path) -> None:
    with Journal(tmp_path, "abcd") as live:
        live.undone(live.will(TABLE))
    assert list(tmp_path.iterdir()) == []


def test_a_change_that_could_not_be_undone_stays_in_the_journal(tmp_path: Path) -> None:
    with Journal(tmp_path, "abcd") as live:
        live.will(QDISC)
    assert leftovers(tmp_path) == [live.path]


def test_the_journal_of_a_living_helper_is_no_leftover(tmp_path: Path) -> None:
    with Journal(tmp_path, "abcd"):
        assert leftovers(tmp_path) == []


def test_the_journal_of_a_living_helper_is_not_adopted(tmp_path: Path) -> None:
    with Journal(tmp_path, "abcd") as live, journal.adopt(live.path) as mine:
        assert not mine


def test_only_one_healer_adopts_a_journal(tmp_path: Path) -> None:
    with Journal(tmp_path, "abcd") as live:
        live.will(TABLE)
    with journal.adopt(live.path) as first, journal.adopt(live.path) as second:
        assert (first, second) == (True, False)


def test_what_was_undone_is_not_undone_again(tmp_path: Path) -> None:
    with Journal(tmp_path, "abcd") as live:
        first = live.will(TABLE)
        live.will(QDISC)
        live.undone(first)
    head, changes = journal.read(live.path)
    assert head is not None
    assert (head.run, changes) == ("abcd", [QDISC])


def test_a_torn_last_line_is_a_change_that_was_not_made(tmp_path: Path) -> None:
    with Journal(tmp_path, "abcd") as live:
        live.will(QDISC)
        data = live.path.read_bytes()
    live.path.write_bytes(data + b'{"entry":"table","family":"netdev","na')
    assert journal.read(live.path)[1] == [QDISC]


@pytest.mark.parametrize(
    "line",
    [
        b'{"entry":"table","family":"ip","name":"filter"}',
        b'{"entry":"table","family":"inet","name":"srig_abcd_1"}',
        b'{"entry":"qdisc","interface":"eth0","index":2,"handle":1}',
        b'{"entry":"qdisc","interface":"../../x y","index":2,"handle":21000}',
        b'{"entry":"run","line":"reboot"}',
    ],
)
def test_a_journal_cannot_name_what_is_not_the_rigs(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "x.journal"
    path.write_bytes(line + b"\n")
    assert journal.read(path) == (None, [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400))
def test_a_journal_of_noise_is_read_without_a_crash(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "x.journal"
    path.write_bytes(data)
    assert journal.read(path)[1] == []


def test_somebody_elses_file_of_that_name_is_left_where_it_is(tmp_path: Path) -> None:
    foreign = tmp_path / "system.journal"
    foreign.write_bytes(b"LPKSHHRH" + bytes(64))
    (healed,) = asyncio.run(heal(tmp_path))
    assert healed.left == "it is no journal of the rig's"
    assert foreign.exists()


def test_a_journal_that_never_got_its_name_is_swept_away_with_its_dead_helper(
    tmp_path: Path,
) -> None:
    dead, living = tmp_path / "abcd-4194304.new", tmp_path / f"abcd-{os.getpid()}.new"
    for path in (dead, living):
        path.touch()
    journal.sweep(tmp_path)
    assert (dead.exists(), living.exists()) == (False, True)


def test_a_forged_journal_sends_no_arp_to_an_address_that_is_never_touched() -> None:
    lie = Arp("lo", "8.8.8.8", "02:00:00:00:00:01", "127.0.0.1", "02:00:00:00:00:02")
    assert not announce(lie)


def test_no_folder_means_nothing_is_left(tmp_path: Path) -> None:
    assert leftovers(tmp_path / "none") == []


def test_the_journals_lie_in_the_rigs_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SENDSPIN_RIG_HOME", "/x")
    assert folder() == Path("/x/air")


@pytest.mark.parametrize("trap", ["fifo", "link", "folder"])
def test_what_is_no_file_of_the_callers_is_neither_waited_for_nor_followed(
    tmp_path: Path, trap: str
) -> None:
    path = tmp_path / "abcd-1.journal"
    secret = tmp_path / "secret"
    with Journal(tmp_path, "efgh") as live:
        live.will(TABLE)
        live.path.rename(secret)
    if trap == "fifo":
        os.mkfifo(path)
    elif trap == "link":
        path.symlink_to(secret)
    else:
        path.mkdir()
    assert leftovers(tmp_path) == [path]
    (healed,) = asyncio.run(heal(tmp_path))
    assert healed.left
    assert not healed.undone
    assert b"srig_abcd_1" in secret.read_bytes()
