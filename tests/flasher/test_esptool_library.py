"""esptool without its command line: quick to start, and all there when it is asked for."""

from __future__ import annotations

import subprocess
import sys


def run(code: str) -> str:
    """What a Python of its own prints: imports happen once in a process."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_worker_loads_esptools_modules_without_its_command_line() -> None:
    loaded = run(
        "import sys, firmware_flasher.worker\n"
        "print('esptool.cmds' in sys.modules, 'rich_click' in sys.modules)"
    )

    assert loaded == "True False"


def test_whoever_asks_the_package_itself_gets_all_of_it_and_the_same_classes() -> None:
    said = run(
        "import firmware_flasher.worker\n"
        "from esptool import cmds\n"
        "from esptool.util import FatalError as before\n"
        "import esptool\n"
        "print(esptool.__version__.count('.'), esptool.FatalError is before, esptool.cmds is cmds)"
    )

    assert said == "2 True True"


def test_an_unknown_name_is_an_error_as_always() -> None:
    said = run(
        "import firmware_flasher.worker, esptool\n"
        "try:\n    esptool.no_such_name\nexcept AttributeError as error:\n    print(error)"
    )

    assert "no_such_name" in said
