"""Faults of the access point: off the air, another channel, the board sent away.

They need an access point that the bench names (docs/air.md).
"""

from __future__ import annotations

from typing import Literal

from rig.air.protocol import ChangeChannel, RadioOff, SendAway
from rig.faults.air_fault import AirFault, counted, declare
from rig.faults.registry import Param

REASON = Param("reason", "802.11 reason code", 7, 1, 66, "why, as the station is told")

declare(
    AirFault(
        "ap-off",
        "take the access point off the air",
        "hostapd says AP-DISABLED (NetworkManager: the connection went down)",
        lambda board, _flow, v: RadioOff(board=board, seconds=v["for"]),
        counted("off", words="time that the access point said it is off"),
    )
)


def _sent_away(name: str, how: Literal["deauthenticate", "disassociate"]) -> AirFault:
    return AirFault(
        name,
        f"have the access point {how} the board",
        "hostapd says AP-STA-DISCONNECTED with the board's link address",
        lambda board, _flow, v: SendAway(
            board=board, how=how, reason=int(v["reason"]), seconds=v["for"]
        ),
        counted("gone", words="times the access point said that the board has gone"),
        (REASON,),
    )


declare(_sent_away("deauthenticated", "deauthenticate"))
declare(_sent_away("disassociated", "disassociate"))
declare(
    AirFault(
        "channel-switch",
        "have the access point announce another channel and move there",
        "hostapd says AP-CSA-FINISHED",
        lambda board, _flow, v: ChangeChannel(board=board, mhz=int(v["mhz"]), seconds=v["for"]),
        counted("moved", words="times the access point moved"),
        (Param("mhz", "MHz", 2462, 2400, 7200, "where to"),),
    )
)
