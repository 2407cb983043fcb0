"""What is told of audio under load, and what is not."""

from __future__ import annotations

import pytest

from rig.history import Entry, Event
from rig.history.events import AudioFared, ConnectionClosed, ConnectionOpened, Frame, LogLine
from rig.protocol.messages import media
from rig.servers.load import DRIFT_S, KEPT, LoadWatch

MS = 1_000_000
EPOCH = 10**15


class Told:
    def __init__(self) -> None:
        self.watch = LoadWatch()
        self.add(
            ConnectionOpened(
                t=0, conn=1, board="b", server_id="s", epoch_us=EPOCH, local="l", peer="p"
            )
        )

    def add(self, event: Event) -> None:
        self.watch(Entry(1, event))

    def chunk(self, *, at_ms: int, due_ms: int) -> None:
        head = media(EPOCH + due_ms * 1_000, b"").hex()
        self.add(
            Frame(t=at_ms * MS, conn=1, sender="server", opcode="binary", size=4809, head=head)
        )

    def text(self, sender: str, kind: str, at_ms: float, **payload: int) -> None:
        message = {"type": kind, "payload": payload}
        t = int(at_ms * MS)
        self.add(
            Frame(t=t, conn=1, sender=sender, opcode="text", size=9, type=kind, message=message)
        )

    def report(self) -> AudioFared:
        fared = self.watch.report(1)
        assert fared is not None
        return fared


@pytest.fixture
def told() -> Told:
    return Told()


def test_chunks_in_time_are_neither_late_nor_lost(told: Told) -> None:
    for n in range(40):
        told.chunk(at_ms=25 * n, due_ms=25 * n + 500)
    fared = told.report()
    assert (fared.chunks, fared.late, fared.lost) == (40, 0, 0)
    assert (fared.ahead_min_ms, fared.ahead_median_ms) == (500.0, 500.0)


def test_a_chunk_that_leaves_after_its_time_is_late(told: Told) -> None:
    told.chunk(at_ms=0, due_ms=500)
    told.chunk(at_ms=700, due_ms=525)
    fared = told.report()
    assert fared.late == 1
    assert fared.ahead_min_ms == -175.0


def test_what_is_missing_between_time_stamps_is_lost(told: Told) -> None:
    for due in (500, 525, 550, 650, 675):
        told.chunk(at_ms=0, due_ms=due)
    assert told.report().lost == 3


def test_a_new_stream_has_lost_nothing_of_the_old_one(told: Told) -> None:
    for due in (500, 525):
        told.chunk(at_ms=0, due_ms=due)
    told.text("server", "stream/end", 30)
    told.chunk(at_ms=9_000, due_ms=9_500)
    assert told.report().lost == 0


def test_how_long_the_clock_waits_for_its_answer_is_told(told: Told) -> None:
    told.chunk(at_ms=0, due_ms=500)
    for n, ms in enumerate((1, 2, 30)):
        told.text("device", "client/time", 100 * n, client_transmitted=n)
        told.text("server", "server/time", 100 * n + ms)
    fared = told.report()
    assert (fared.answer_median_ms, fared.answer_worst_ms) == (2.0, 30.0)


def test_a_clock_that_runs_fast_is_told_after_a_minute(told: Told) -> None:
    seconds = int(DRIFT_S) + 31
    for s in range(seconds):
        told.text("device", "client/time", s * 1_000 + s % 3, client_transmitted=s * 1_000_050)
    told.chunk(at_ms=0, due_ms=500)
    assert told.report().clock_drift_ppm == pytest.approx(50, abs=20)


def test_what_the_device_does_not_tell_is_unknown(told: Told) -> None:
    told.chunk(at_ms=0, due_ms=500)
    fared = told.report()
    assert fared.device_buffer_ms is None
    assert fared.clock_error_us is None
    assert fared.clock_drift_ppm is None
    assert fared.answer_median_ms is None


def test_what_its_log_tells_is_kept(told: Told) -> None:
    text = "V (12) sendspin.time_burst: Burst complete, best max_error: 742 us"
    told.add(LogLine(t=1, board="b", text=text, line=1, offset=0))
    told.chunk(at_ms=0, due_ms=500)
    assert told.report().clock_error_us == 742


def test_sealed_audio_is_counted_and_the_rest_unknown(told: Told) -> None:
    told.text("device", "client/init", 1)
    told.chunk(at_ms=900, due_ms=500)
    fared = told.report()
    assert (fared.chunks, fared.late, fared.lost, fared.ahead_min_ms) == (1, None, None, None)


def test_no_audio_is_no_report_and_nothing_is_kept_of_it(told: Told) -> None:
    told.add(ConnectionClosed(t=5, conn=1))
    assert told.watch.report(1) is None
    assert not told.watch._streams


def test_each_report_begins_anew_and_memory_is_bounded(told: Told) -> None:
    for n in range(3 * KEPT):
        told.chunk(at_ms=25 * n, due_ms=25 * n + 500)
    assert len(told.watch._streams[1].ahead_ms) <= KEPT
    assert told.report().chunks == 3 * KEPT
    assert told.watch.report(1, over=True) is None
    assert not told.watch._streams


def test_sealed_audio_whose_inside_is_told_is_known(told: Told) -> None:
    told.text("device", "client/init", 1)
    for n, due in enumerate((500, 525, 600)):
        told.add(Frame(t=n * MS, conn=1, sender="server", opcode="binary", size=4825, head="ff"))
        head = media(EPOCH + due * 1_000, b"").hex()
        inside = Frame(
            t=n * MS, conn=1, sender="server", opcode="binary", size=4809, head=head, sealed=9
        )
        told.add(inside)
    fared = told.report()
    assert fared.lost == 2
    assert fared.late == 0
