"""sendspin-rig: break an ESP32's connection on purpose, prove it, judge it."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    """`__version__`, looked up when it is asked for: importlib.metadata takes 25 ms to load."""
    if name != "__version__":
        raise AttributeError(f"module 'rig' has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("sendspin-rig")
    except PackageNotFoundError:  # running from a source tree that is not installed
        return "0.0.0"
