"""Which generation of the protocol the device speaks, where one is required."""

from __future__ import annotations

from rig.checks.connections import follow
from rig.checks.owed import verdict_of
from rig.checks.registry import Judged, check
from rig.checks.verdict import Outcome, inconclusive
from rig.history.events import ScenarioStarted


@check(
    "generation_as_required",
    title="the device speaks the wire generation that the bench or --generation requires",
    source="Sendspin spec 1.0.0-rc1: encryption is no option of a connection; a device that opens "
    "with client/hello talks in the clear",
)
def generation_as_required(history: Judged) -> Outcome:
    """Every opening message is the required generation's. Without a requirement nothing is said."""
    required: str | None = None
    broken: list[tuple[str, tuple[int, ...]]] = []
    judged = 0
    for entry, talk in follow(history, ScenarioStarted):
        event = entry.event
        if isinstance(event, ScenarioStarted):
            asked = event.params.get("generation")
            required = asked if isinstance(asked, str) else None
        elif required is not None and talk is not None and talk.opening is entry:
            judged += 1
            if talk.generation != required:
                told = f"connection {talk.conn} was opened in the {talk.generation} generation, "
                broken.append((f"{told}{required} is required", (entry.n,)))
    if required is None:
        return inconclusive("no generation is required of this device")
    return verdict_of(
        broken,
        judged,
        f"connections, each in the {required} generation",
        "no connection was opened",
    )
