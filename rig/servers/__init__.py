"""Servers that the rig is: the scripted one, which may break every rule."""

from rig.servers.connection import Connection
from rig.servers.line import Line, Path
from rig.servers.scripted import ScriptedServer

__all__ = ["Connection", "Line", "Path", "ScriptedServer"]
