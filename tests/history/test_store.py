"""The history on disk: what a killed, interrupted or cramped writer leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest

from rig.errors import HistoryError
from rig.history import Entry, History, HistoryStore
from rig.history.events import Boot, Learned, Note, RunEnded, Unknown
from rig.history.store import decode, encode


def note(text: str = "x") -> Note:
    return Note(t=1, text=text)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "history.jsonl"


def written(path: Path, *texts: str) -> Path:
    with HistoryStore(path) as store:
        for text in texts:
            store.append(note(text))
    return path


def child(code: str, path: Path, **kwargs: object) -> subprocess.Popen[bytes]:
    """A writer in a process of its own."""
    head = (
        "import sys\nfrom pathlib import Path\nfrom rig.errors import HistoryError\n"
        "from rig.history import HistoryStore\nfrom rig.history.events import Note, RunEnded\n"
        "store = HistoryStore(Path(sys.argv[1]))\n"
    )
    return subprocess.Popen([sys.executable, "-c", head + code, path], stdout=subprocess.PIPE)


def test_events_are_read_back_in_order_with_their_numbers(path: Path) -> None:
    assert list(History(written(path, "a", "b"))) == [Entry(1, note("a")), Entry(2, note("b"))]


def test_append_gives_the_number(path: Path) -> None:
    with HistoryStore(path) as store:
        assert [store.append(note()), store.append(note())] == [1, 2]
        assert len(store) == 2


def test_every_line_is_on_disk_before_append_returns(path: Path) -> None:
    with HistoryStore(path) as store:
        store.append(note("now"))
        assert json.loads(path.read_text()) == {"n": 1, "event": "note", "t": 1, "text": "now"}


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_last_line_ends_the_history_and_is_told(path: Path, cut: int) -> None:
    written(path, "a", "b")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - cut)
    history = History(path)
    assert [entry.n for entry in history] == [1]
    assert history.torn


def test_a_whole_history_is_not_torn(path: Path) -> None:
    history = History(written(path, "a"))
    assert len(list(history)) == 1
    assert not history.torn


def test_a_broken_line_in_the_middle_is_named_with_its_number(path: Path) -> None:
    written(path, "a", "b", "c")
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b'{"n":2}\n' + lines[2])
    with pytest.raises(HistoryError, match=r"history\.jsonl:2 is no history event") as caught:
        list(History(path))
    assert "head -n 1" in str(caught.value.hint)


@pytest.mark.parametrize("line", [b"\xff\n", b"[]\n", b"{\n", b"[" * 100_000 + b"\n", b"\n"])
def test_whatever_stands_in_a_line_there_is_one_error(path: Path, line: bytes) -> None:
    path.write_bytes(line)
    with pytest.raises(HistoryError, match="is no history event"):
        list(History(path))


def test_a_killed_writer_loses_at_most_its_last_line(path: Path) -> None:
    code = (
        "n = 0\n"
        "while True:\n"
        "    n = store.append(Note(t=n, text='x' * 1000))\n"
        "    if n % 100 == 0: print(n, flush=True)\n"
    )
    with child(code, path) as writer:
        assert writer.stdout is not None
        told = 0
        for line in writer.stdout:
            told = int(line)
            if told >= 500:
                writer.kill()
                break
    numbers = [entry.n for entry in History(path)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= told


def test_a_full_disk_is_one_error_and_spoils_nothing(path: Path) -> None:
    code = (
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))\n"
        "try:\n"
        "    while True: store.append(Note(t=1, text='x' * 300))\n"
        "except HistoryError as error: print(error.hint, flush=True)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))\n"
        "try: store.append(Note(t=1, text='room again, and a hole before it'))\n"
        "except HistoryError: print('no hole', flush=True)\n"
        "store.append(RunEnded(t=1, outcome='full'))\n"
    )
    said, _ = child(code, path).communicate(timeout=30)
    assert b"free some space" in said
    assert b"no hole" in said
    entries = list(History(path))
    assert [entry.n for entry in entries] == list(range(1, len(entries) + 1))
    assert entries[-1].event == RunEnded(t=1, outcome="full")
    assert all(entry.event == note("x" * 300) for entry in entries[:-1])


def test_a_history_is_never_overwritten(path: Path) -> None:
    written(path, "precious")
    with pytest.raises(HistoryError, match="exists already"):
        HistoryStore(path)
    assert len(list(History(path))) == 1


def test_two_writers_cannot_share_a_history(path: Path) -> None:
    with HistoryStore(path), pytest.raises(HistoryError, match="exists already"):
        HistoryStore(path)


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(HistoryError, match="cannot write the history"):
        HistoryStore(tmp_path / "file" / "history.jsonl")


def test_a_missing_history_is_named(tmp_path: Path) -> None:
    with pytest.raises(HistoryError, match="cannot read the history"):
        list(History(tmp_path / "none"))


def test_a_closed_history_takes_nothing_more(path: Path) -> None:
    store = HistoryStore(path)
    store.close()
    store.close()
    with pytest.raises(HistoryError, match="is closed"):
        store.append(note())


def test_an_event_of_a_newer_rig_is_kept_as_unknown() -> None:
    entry = decode(b'{"n":7,"event":"teleported","t":5,"to":"mars"}\n')
    assert entry == Entry(7, Unknown(t=5, kind="teleported", fields={"to": "mars"}))


def test_a_field_of_a_newer_rig_does_not_disturb() -> None:
    entry = decode(b'{"n":1,"event":"note","t":5,"text":"x","colour":"red"}\n')
    assert entry.event == Note(t=5, text="x")


def test_a_field_that_an_older_rig_did_not_write_has_its_default() -> None:
    line = b'{"n":1,"event":"boot","t":5,"board":"b","line":1,"reset_code":1,"reset_name":"P"}\n'
    assert isinstance(decode(line).event, Boot)


def test_a_file_name_that_is_not_utf8_does_not_stop_a_run() -> None:
    entry = decode(encode(Entry(1, note(os.fsdecode(b"caf\xe9")))))
    assert entry.event == note("caf?")


def test_reading_only_some_kinds_gives_just_these(path: Path) -> None:
    learned = Learned(t=2, board="b", name="loop", value=7.0, unit="ms")
    with HistoryStore(path) as store:
        store.append(note())
        store.append(learned)
        store.append(note())
    assert list(History(path).only(Learned)) == [Entry(2, learned)]


def test_a_part_of_the_history_is_read_by_numbers(path: Path) -> None:
    written(path, "a", "b", "c", "d")
    assert [entry.n for entry in History(path).entries(first=2, last=3)] == [2, 3]


def test_a_part_far_into_a_long_history_is_read_whichever_part_was_read_before(path: Path) -> None:
    written(path, *map(str, range(1, 4002)))
    parts = [(0, 2), (2000, 2001), (999, 1001), (4001, 9999), (3001, 3001), (1, 4001), (1001, 1999)]
    for parts_of in (parts, parts[::-1]):
        history = History(path)
        for first, last in parts_of:
            found = list(history.entries(first=first, last=last))
            assert [entry.n for entry in found] == [*range(max(first, 1), min(last, 4001) + 1)]
            assert all(entry.event == note(str(entry.n)) for entry in found)


def test_memory_stays_flat_however_long_the_history_is(path: Path) -> None:
    def peak(count: int, file: Path) -> int:
        tracemalloc.start()
        with HistoryStore(file) as store:
            for _ in range(count):
                store.append(note("x" * 100))
        assert sum(1 for _ in History(file)) == count
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    small = peak(200, path)
    assert peak(5_000, path.with_suffix(".long")) < small + 50_000


def test_a_line_that_a_json_tool_spaced_is_not_passed_over(path: Path) -> None:
    written(path, "a")
    path.write_text(json.dumps(json.loads(path.read_text())) + "\n")
    assert [entry.event for entry in History(path).only(Note)] == [note("a")]
    assert list(History(path).only(Boot)) == []


def test_a_time_that_no_clock_reads_is_no_event(path: Path) -> None:
    written(path, "a")
    path.write_text(path.read_text().replace('"t":1', f'"t":{"9" * 400}'))
    with pytest.raises(HistoryError, match="beyond 64 bits"):
        list(History(path))


def test_a_pipe_is_not_waited_for(path: Path) -> None:
    os.mkfifo(path)
    with pytest.raises(HistoryError, match="no regular file"):
        list(History(path))
