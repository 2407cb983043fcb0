"""Which server keeps the device when two want it (`should_switch_to_new_server`)."""

from __future__ import annotations

from rig.boards.virtual.sendspin.connection import Device, ServerConnection
from rig.boards.virtual.sendspin.messages import fnv1


def should_switch(
    device: Device, current: ServerConnection, new: ServerConnection, last_played: int | None
) -> bool:
    """Whether `new` takes over; logs why. `last_played` is the hash of a server id."""
    reason = new.server.reason if new.server else ""
    if reason == "playback":
        device.log("D", "conn_mgr", "New server has playback reason, switching")
        return True
    if reason == "discovery" and current.server and current.server.reason == "playback":
        text = "New is discovery, current had playback, keeping current"
        device.log("D", "conn_mgr", text)
        return False
    if last_played is not None:
        if new.server and fnv1(new.server.server_id) == last_played:
            device.log("D", "conn_mgr", "New server matches last played server, switching")
            return True
        if current.server and fnv1(current.server.server_id) == last_played:
            device.log("D", "conn_mgr", "Current server matches last played server, keeping")
            return False
    device.log("D", "conn_mgr", "Default handoff decision: keep existing")
    return False
