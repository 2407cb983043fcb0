"""Servers that the rig is: the scripted one, which may break every rule, and aiosendspin."""

from rig.servers.connection import Connection
from rig.servers.line import Line, Path, ServerKind, Unable
from rig.servers.scripted import ScriptedServer

__all__ = ["Connection", "Line", "Path", "ScriptedServer", "ServerKind", "Unable"]
