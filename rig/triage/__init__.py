"""Triage: crash records in; functions, a signature, and what is known of it out.

    decoder = Decoder([Path("build/app.elf")])         # hash once, for many crashes
    crash = decode_record(record, decoder)             # -> DecodedCrash: frames, notes
    signature(crash)                                   # 'bad load | httpd_sess_delete | ...'
    remember(crash, source="run 7", log=run_id)        # -> Remembered: new, repeated, regression

Nothing here raises on what a board printed. `FirmwareError` is for ELF files that are none,
`RigError` for a crash database that is locked or broken.
"""

from rig.triage.buckets import Remembered
from rig.triage.decode import DecodedCrash, Decoder, Frame, decode_record
from rig.triage.logs import read_log
from rig.triage.memory import Memory, remember
from rig.triage.signature import signature
from rig.triage.store import SymbolStore

__all__ = [
    "DecodedCrash",
    "Decoder",
    "Frame",
    "Memory",
    "Remembered",
    "SymbolStore",
    "decode_record",
    "read_log",
    "remember",
    "signature",
]
