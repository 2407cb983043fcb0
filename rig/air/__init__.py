"""Faults on packets and radio: made by one small privileged process, always taken back.

`rig.air.client.Air` is what the rig uses; `python -m rig.air.helper` is the process behind it.
"""
