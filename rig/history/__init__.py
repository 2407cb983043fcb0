"""The history: every event of a run, on one clock, in one file that only grows."""

from rig.history.clock import now_ns, wall_anchor
from rig.history.events import EVENT_TYPES, Entry, Event
from rig.history.store import History, HistoryStore, Watch

__all__ = [
    "EVENT_TYPES",
    "Entry",
    "Event",
    "History",
    "HistoryStore",
    "Watch",
    "now_ns",
    "wall_anchor",
]
