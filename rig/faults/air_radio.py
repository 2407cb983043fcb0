"""Faults of the access point: off the air, another channel, the board sent away.

They need an access point that the bench names (docs/air.md).
"""

from __future__ import annotations

from typing import Literal

from rig.air.protocol import ChangeChannel, Deauth, RadioOff, SendAway, TxPower
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


def left(line: str) -> bool:
    """Whether ESP-IDF's WiFi library says that the station has left (`esp_wifi`, level INFO)."""
    return "wifi:state: run -> init" in line


declare(
    AirFault(
        "tx-power",
        "have the access point send with less power: the device hears it worse",
        "the driver says with what power it sends",
        lambda board, _flow, v: TxPower(board=board, dbm=v["dbm"], seconds=v["for"]),
        lambda counts: (
            f"{counts['softer'] / 100:g} dB less are sent" if counts.get("softer") else None
        ),
        params=(Param("dbm", "dBm", 1, 0, 30, "with how much"),),
    )
)


declare(
    AirFault(
        "deauth-frames",
        "send the board 802.11 deauthentication frames in its access point's name",
        "hostapd says that the board has gone or has come back; the board's log says "
        "`wifi:state: run -> init`",
        lambda board, _flow, v: Deauth(
            board=board, reason=int(v["reason"]), count=int(v["count"]), seconds=v["for"]
        ),
        counted("gone", "back", words="times the access point said that the board left or came"),
        told=left,
        params=(REASON, Param("count", "frames", 8, 1, 64, "how many, ten a second")),
    )
)
