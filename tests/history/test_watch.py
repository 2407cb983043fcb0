"""Waiting for events: nothing falls between, nothing waits longer than it was told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from rig.history import HistoryStore
from rig.history.events import Learned, Note

Scene = Callable[[HistoryStore], Coroutine[Any, Any, None]]


def note(text: str) -> Note:
    return Note(t=1, text=text)


@pytest.fixture
def play(tmp_path: Path) -> Callable[[Scene], None]:
    """Runs a coroutine on a fresh history."""

    def run(scene: Scene) -> None:
        with HistoryStore(tmp_path / "history.jsonl") as store:
            asyncio.run(scene(store))

    return run


def test_an_event_that_came_before_the_wait_is_not_missed(play: Callable[[Scene], None]) -> None:
    async def scene(store: HistoryStore) -> None:
        with store.watch() as watch:
            store.append(note("early"))
            assert await watch.next(Note, timeout=5) == (1, note("early"))

    play(scene)


def test_an_event_before_the_watch_is_none_of_its_business(play: Callable[[Scene], None]) -> None:
    async def scene(store: HistoryStore) -> None:
        store.append(note("old"))
        with store.watch() as watch:
            assert await watch.next(Note, timeout=0) is None

    play(scene)


def test_a_wait_ends_as_soon_as_the_event_comes(play: Callable[[Scene], None]) -> None:
    async def scene(store: HistoryStore) -> None:
        with store.watch() as watch:
            waiting = asyncio.create_task(watch.next(Note, timeout=60))
            await asyncio.sleep(0)
            store.append(note("now"))
            assert await asyncio.wait_for(waiting, 10) == (1, note("now"))

    play(scene)


def test_an_event_from_another_thread_wakes_the_wait(play: Callable[[Scene], None]) -> None:
    async def scene(store: HistoryStore) -> None:
        with store.watch() as watch:
            waiting = asyncio.create_task(watch.next(Note, timeout=60))
            await asyncio.sleep(0)
            thread = threading.Thread(target=store.append, args=(note("far"),))
            thread.start()
            assert await asyncio.wait_for(waiting, 10) == (1, note("far"))
            thread.join()

    play(scene)


def test_a_wait_that_is_in_vain_ends_at_its_deadline(play: Callable[[Scene], None]) -> None:
    async def scene(store: HistoryStore) -> None:
        with store.watch() as watch:
            store.append(note("other"))
            assert await watch.next(Learned, timeout=0.01) is None

    play(scene)


def test_events_are_given_in_order_and_those_passed_over_are_gone(
    play: Callable[[Scene], None],
) -> None:
    async def scene(store: HistoryStore) -> None:
        with store.watch() as watch:
            for text in ("a", "b", "c"):
                store.append(note(text))
            found = await watch.next(Note, timeout=1, where=lambda event: event.text == "b")
            assert found == (2, note("b"))
            assert await watch.next(Note, timeout=1) == (3, note("c"))
            assert await watch.next(Note, timeout=0) is None

    play(scene)


def test_a_watch_on_some_events_does_not_see_the_others(play: Callable[[Scene], None]) -> None:
    async def scene(store: HistoryStore) -> None:
        with store.watch(lambda event: event.t == 2) as watch:
            store.append(note("no"))
            store.append(Note(t=2, text="yes"))
            assert await watch.next(Note, timeout=1) == (2, Note(t=2, text="yes"))

    play(scene)


def test_a_watch_nobody_reads_keeps_only_the_newest(play: Callable[[Scene], None]) -> None:
    async def scene(store: HistoryStore) -> None:
        with store.watch(bound=2) as watch:
            for text in ("a", "b", "c"):
                store.append(note(text))
            assert await watch.next(Note, timeout=0) == (2, note("b"))

    play(scene)


def test_two_watches_do_not_take_events_from_each_other(play: Callable[[Scene], None]) -> None:
    async def scene(store: HistoryStore) -> None:
        with store.watch() as one, store.watch() as two:
            store.append(note("both"))
            assert await one.next(Note, timeout=1) == (1, note("both"))
            assert await two.next(Note, timeout=1) == (1, note("both"))

    play(scene)


def test_a_closed_watch_gets_nothing_more(play: Callable[[Scene], None]) -> None:
    async def scene(store: HistoryStore) -> None:
        watch = store.watch()
        with watch:
            pass
        store.append(note("late"))
        assert await watch.next(Note, timeout=0) is None

    play(scene)
