"""The commands of `rig`, one module each: a click command named `command` (listed in `rig.cli`)."""
