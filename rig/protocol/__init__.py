"""Sendspin on the wire: names and rules by generation, messages, frames, the passive tap.

Sans-I/O: bytes in, events out; no sockets, no clocks.
"""

from rig.protocol.frames import FrameReader, RawFrame, encode_close, encode_frame
from rig.protocol.handshake import accept_key, new_key, upgrade_request
from rig.protocol.names import OPENING, Generation, generation_of
from rig.protocol.tap import Tap

__all__ = [
    "OPENING",
    "FrameReader",
    "Generation",
    "RawFrame",
    "Tap",
    "accept_key",
    "encode_close",
    "encode_frame",
    "generation_of",
    "new_key",
    "upgrade_request",
]
