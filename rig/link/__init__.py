"""The path between server and board: a transparent TCP link, its tap and the faults on it."""

from rig.link.link import Endpoint, Link
from rig.link.reception import Listening, Reception
from rig.link.relay import Relay
from rig.link.wire import Direction, Sink, Wire

__all__ = ["Direction", "Endpoint", "Link", "Listening", "Reception", "Relay", "Sink", "Wire"]
