"""`many-servers`: two and three servers, discovery and playback, who played last, over a reboot."""

from __future__ import annotations

from rig.scenarios.registry import REQUIRED_CHECKS, STANDARD_CHECKS, scenario
from rig.scenarios.stage import Lacking, Stage
from rig.servers import Connection


@scenario(
    "many-servers",
    title="two and three servers at once: who is kept, who is told, who is remembered after a boot",
    cycles=2,
    checks=(*STANDARD_CHECKS, "displaced_told", "last_played_kept"),
    required=(*REQUIRED_CHECKS, "handoff_table", "displaced_told", "last_played_kept"),
    by_default=False,
)
async def many_servers(stage: Stage) -> None:
    """Every row of the hand-off table, in peace; then the same two servers after a reboot."""
    if (stage.device.sessions or 2) < 2:
        raise Lacking("the device serves one connection at a time: two are needed")
    await _reasons(stage)
    played = await _who_played(stage)
    if stage.board.can_reset:
        await stage.reboot()
        await _meet(stage, first=None, second=played)
    await _three(stage)
    await stage.probe()
    await stage.settle()


async def _reasons(stage: Stage) -> None:
    """Playback takes over from discovery; discovery does not take over from playback."""
    found = await stage.serve()
    playing = await stage.serve(reason="playback")
    await _gone(stage, found)
    await _newcomer(stage)
    if not playing.closed:
        await stage.end(playing)
    await stage.settle()


async def _who_played(stage: Stage) -> str:
    """A server plays and leaves; against another that only looked it is taken back."""
    player = await stage.serve()
    performer = await player.performer()
    await performer.announce(playing=True)
    await stage.step()
    await performer.announce(playing=False)
    performer.close()
    await _newcomer(stage)  # a stranger that only looks does not displace it
    await stage.end(player)
    await stage.settle()
    await _meet(stage, first=None, second=player.server_id)
    return player.server_id


async def _meet(stage: Stage, *, first: str | None, second: str | None) -> None:
    """One that only looks is in use; then another one that only looks comes."""
    in_use = await stage.serve(server_id=first)
    newcomer = await stage.serve(server_id=second)
    for each in (in_use, newcomer):
        if each.closed or each is in_use:
            await _gone(stage, each)
    await stage.settle()


async def _three(stage: Stage) -> None:
    """Three at once: one is in use, two come together; none is forgotten."""
    if (stage.device.sessions or 0) < 3:
        return
    await stage.serve(reason="playback")
    second = await stage.hello()
    third = await stage.hello()
    second.greet()
    third.greet()
    for each in (second, third):
        await _gone(stage, each)
    await stage.settle()


async def _newcomer(stage: Stage) -> None:
    """A server that only looks comes, and goes as it is told."""
    newcomer = await stage.hello()
    newcomer.greet()
    await _gone(stage, newcomer)


async def _gone(stage: Stage, connection: Connection) -> None:
    """Wait for the device to send it away; it is given time, and is ended in order after it."""
    await connection.expect("client/goodbye", stage.device.greet_within)
    await connection.wait_closed(1.0)
    if not connection.closed:
        await stage.end(connection)
