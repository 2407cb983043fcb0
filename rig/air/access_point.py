"""The access point's part in a session of the helper: off, another channel, a station sent away."""

from __future__ import annotations

from pathlib import Path

from rig.air import arp
from rig.air.bounds import Way
from rig.air.effects import Effect, Effects
from rig.air.journal import AccessPoint
from rig.air.protocol import Begin, ChangeChannel, SendAway
from rig.air.radio import Hostapd, Hotspot
from rig.errors import FaultError


async def off(begin: Begin, effects: Effects, effect: Effect) -> str:
    """Off the air until the effect ends; counts `off`. Raises `FaultError`."""
    if begin.hotspot is not None:
        effects.note(effect, AccessPoint(hotspot=begin.hotspot))
        await Hotspot(begin.hotspot).disable()
        effect.counters.append(lambda: {"off": 1})
        return "NetworkManager took it down"
    hostapd = await _hostapd(begin, effect)
    if not (await hostapd.state())[0]:
        raise FaultError(f"the access point {hostapd.path} is off already")
    effects.note(effect, AccessPoint(hostapd=str(hostapd.path)))
    effect.counters.append(lambda: {"off": hostapd.counts["AP-DISABLED"]})
    await hostapd.disable()
    return str(hostapd.path)


async def change_channel(
    begin: Begin, command: ChangeChannel, effects: Effects, effect: Effect
) -> str:
    """On another channel until the effect ends; counts `moved`. Raises `FaultError`."""
    hostapd = await _hostapd(begin, effect)
    _, mhz = await hostapd.state()
    if mhz is None or mhz == command.mhz:
        raise FaultError(f"the access point is on {mhz or 'no channel'}: no move to {command.mhz}")
    effects.note(effect, AccessPoint(hostapd=str(hostapd.path), mhz=mhz))
    effect.counters.append(lambda: {"moved": hostapd.counts["AP-CSA-FINISHED"]})
    await hostapd.switch_channel(command.mhz)
    return f"from {mhz} MHz"


async def send_away(begin: Begin, command: SendAway, way: Way, effect: Effect) -> str:
    """Send the board's station away, once; counts `gone`. Raises `FaultError`."""
    station = arp.victim(way).device_mac
    hostapd = await _hostapd(begin, effect)
    if station not in await hostapd.stations():
        raise FaultError(
            f"{way.board} ({station}) is no station of the access point {hostapd.path}",
            hint="is it on this network, and by WiFi?",
        )
    effect.counters.append(lambda: {"gone": hostapd.gone[station]})
    if command.how == "deauthenticate":
        await hostapd.deauthenticate(station, reason=command.reason)
    else:
        await hostapd.disassociate(station, reason=command.reason)
    return station


async def _hostapd(begin: Begin, effect: Effect) -> Hostapd:
    if begin.hostapd is None:
        raise FaultError(
            "the bench names no hostapd",
            hint="hostapd = '/run/hostapd/wlan0' in its [network] table; docs/air.md",
        )
    hostapd = await Hostapd(Path(begin.hostapd)).__aenter__()
    effect.closers.append(hostapd.close)
    return hostapd
