"""Faults: named, parametrised, each with its own proof that it took place."""

from rig.faults.registry import Fault, Param, Proof, Target, all_faults, fault, get_fault, strike

__all__ = ["Fault", "Param", "Proof", "Target", "all_faults", "fault", "get_fault", "strike"]
