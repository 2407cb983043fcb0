"""sendspin-rig: break an ESP32's connection on purpose, prove it, judge it."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("sendspin-rig")
except PackageNotFoundError:  # running from a source tree that is not installed
    __version__ = "0.0.0"
