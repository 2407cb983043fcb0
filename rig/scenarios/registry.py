"""Scenarios declare themselves: what they do in one cycle, with which faults, judged by what.

A scenario is one async function that plays one cycle on a `Stage`. `rig scenarios`, the docs and
the pytest options are made from the declarations; other packages add theirs through the
entry-point group `sendspin_rig.scenarios`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points

import rig.scenarios
from rig.errors import unknown_name
from rig.scenarios.stage import Stage
from rig.servers import ServerKind

PlayCycle = Callable[[Stage], Awaitable[None]]

STANDARD_CHECKS = (
    "no_crash",
    "no_unasked_reboot",
    "opening_first",
    "nothing_before_upgrade",
    "silent_before_server_hello",
    "no_foreign_frame",
    "greeted_in_time",
    "served_again",
    "client_id_stable",
    "uptime_never_falls",
    "no_connection_leaked",
    "opening_first_serial",
    "opened_once",
    "state_first",
    "loser_not_told",
    "handoff_table",
    "one_server_at_a_time",
    "goodbye_reason_known",
    "goodbye_last",
    "unproven_reaped",
    "pings_answered",
    "frames_framed_right",
    "witnesses_agree",
    "close_answered",
    "time_bursts",
    "commands_shown",
    "noise_opening_order",
    "noise_answered",
    "noise_end_explained",
    "noise_seals_open",
)
"""What every scenario is judged by. (`media_well_formed` judges the server, so a scenario that
plays asks for it.)"""

REQUIRED_CHECKS = ("no_crash", "opening_first", "nothing_before_upgrade", "greeted_in_time")
"""What must come to a decision for any scenario to pass."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """A declared scenario."""

    name: str
    title: str
    play: PlayCycle
    faults: tuple[str, ...]
    cycles: int
    """How many cycles a run plays unless told otherwise."""
    checks: tuple[str, ...]
    required: tuple[str, ...]
    needs: tuple[str, ...] = ()
    """What the bench must offer (`talk`, `air`)."""
    by_default: bool = True
    """Whether a run plays it unless told otherwise: what needs rights of its own is asked for."""
    server: ServerKind = "scripted"
    """Who plays the server unless a run says otherwise."""
    own_messages: bool = False
    """Whether it is about messages that the device queues by itself: they are waited for first."""


_declared: dict[str, Scenario] = {}


def scenario(
    name: str,
    *,
    title: str,
    cycles: int,
    faults: tuple[str, ...] = (),
    checks: tuple[str, ...] = STANDARD_CHECKS,
    required: tuple[str, ...] = REQUIRED_CHECKS,
    needs: tuple[str, ...] = (),
    by_default: bool = True,
    server: ServerKind = "scripted",
    own_messages: bool = False,
) -> Callable[[PlayCycle], PlayCycle]:
    """Declare the decorated function as the scenario `name`."""

    def declare(play: PlayCycle) -> PlayCycle:
        _declared[name] = Scenario(
            name,
            title,
            play,
            faults,
            cycles,
            checks,
            required,
            needs,
            by_default,
            server,
            own_messages,
        )
        return play

    return declare


@cache
def _load() -> None:
    for module in pkgutil.iter_modules(rig.scenarios.__path__, "rig.scenarios."):
        importlib.import_module(module.name)
    for entry in entry_points(group="sendspin_rig.scenarios"):
        entry.load()


ORDER = (
    "baseline",
    "two-servers",
    "rst-anywhere",
    "queue-full",
    "close-storm",
    "drop-queued",
    "recycle-fd",
)
"""The catalogue's order: the gentle ones first, so that a crash costs the least."""


def all_scenarios() -> dict[str, Scenario]:
    """Every scenario that this installation has, in the order in which a run plays them."""
    _load()
    rank = {name: place for place, name in enumerate(ORDER)}
    names = sorted(_declared, key=lambda name: (rank.get(name, len(rank)), name))
    return {name: _declared[name] for name in names}


def catalogue() -> list[Scenario]:
    """The scenarios that a run plays unless told otherwise."""
    return [each for each in all_scenarios().values() if each.by_default]


def get_scenario(name: str) -> Scenario:
    """The scenario `name`. Raises `BenchError` with the nearest name."""
    scenarios = all_scenarios()
    if name not in scenarios:
        raise unknown_name("scenario", name, scenarios, listing="rig scenarios")
    return scenarios[name]
