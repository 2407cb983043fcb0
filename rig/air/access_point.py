"""The access point's part in a session of the helper: off, another channel, a station sent away."""

from __future__ import annotations

from pathlib import Path

from rig.air import arp, iw
from rig.air.bounds import Way
from rig.air.effects import Effect, Effects
from rig.air.journal import AccessPoint, Transmitter
from rig.air.protocol import Begin, ChangeChannel, Deauth, SendAway, TxPower
from rig.air.radio import Hostapd, Hotspot, deauthentication
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


async def quieter(begin: Begin, command: TxPower, effects: Effects, effect: Effect) -> str:
    """Send with less power until the effect ends; counts `softer` in 0.01 dB. Raises `FaultError`.

    As the driver says once it was told: one that takes no orders is not called quieter.
    """
    interface = (await _hostapd(begin, effect)).path.name
    before = await iw.power(interface)
    asked = round(command.dbm * 100)
    if asked >= before:
        raise FaultError(
            f"{interface} sends with {before / 100:g} dBm: {command.dbm:g} dBm is no less"
        )
    effects.note(effect, Transmitter(interface, before))
    await iw.fix(interface, asked)
    now = await iw.power(interface)
    effect.counters.append(lambda: {"softer": max(0, before - now)})
    return f"from {before / 100:g} to {now / 100:g} dBm"


async def forged_away(begin: Begin, command: Deauth, way: Way, effect: Effect) -> tuple[str, bytes]:
    """The frame that sends the board away in its access point's name, and where it is to be sent.

    Counts what hostapd, where the bench names it, says of the board: `gone`, `back`. Raises
    `FaultError` for a monitor interface that the bench does not name.
    """
    interface = command.interface or next(iter(begin.monitors), None)
    if interface is None or interface not in begin.monitors:
        raise FaultError(
            f"{interface or 'there'} is no monitor interface of this bench",
            hint=f"its monitors: {', '.join(begin.monitors) or 'none'}; "
            "monitors = ['wlan1mon'] in its [network] table names one",
        )
    station, bssid = arp.victim(way).device_mac, begin.bssid
    if begin.hostapd is not None:
        hostapd = await _hostapd(begin, effect)
        bssid = bssid or await hostapd.bssid()
        effect.counters.append(
            lambda: {"gone": hostapd.gone[station], "back": hostapd.joined[station]}
        )
    if bssid is None:
        raise FaultError(
            "the access point's link address is not known",
            hint="bssid = '02:00:00:00:00:01' (or hostapd) in the bench's [network] table",
        )
    return interface, deauthentication(station, bssid, command.reason)


async def _hostapd(begin: Begin, effect: Effect) -> Hostapd:
    if begin.hostapd is None:
        raise FaultError(
            "the bench names no hostapd",
            hint="hostapd = '/run/hostapd/wlan0' in its [network] table; docs/air.md",
        )
    hostapd = await Hostapd(Path(begin.hostapd)).__aenter__()
    effect.closers.append(hostapd.close)
    return hostapd
