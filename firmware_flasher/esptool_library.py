"""esptool as a library: its modules without its command line, which takes a third of its start.

The worker is started for each flash (`benchmarks/flash_boards.py` measures it). Nothing of esptool
is missing or changed, some of it is late.
"""

from __future__ import annotations

import sys
from importlib import reload
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import Any


class _Late(ModuleType):
    """A package that runs its `__init__` when a name is asked for that no import has set."""

    def __getattr__(self, name: str) -> Any:
        if find_spec(f"{self.__name__}.{name}") is not None:
            raise AttributeError(name)  # a module of it: the import system's to load
        object.__setattr__(self, "__class__", ModuleType)
        reload(self)
        return getattr(self, name)


def without_command_line() -> None:
    """From here on `import esptool...` runs only what is asked for. Call before the first one.

    `import esptool` alone runs the package's `__init__`, which is esptool's command line
    (rich-click, every command and option). Whoever asks the package itself for a name after all
    (`esptool.__version__`) gets all of it.
    """
    spec = find_spec("esptool")
    if spec is None or "esptool" in sys.modules:
        return  # not installed: the import itself says so
    package = module_from_spec(spec)
    package.__class__ = _Late
    sys.modules["esptool"] = package
