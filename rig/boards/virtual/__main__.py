"""`python -m rig.boards.virtual --home DIR`: plug a virtual board in, in the foreground."""

from __future__ import annotations

import sys

from rig.boards.virtual.app import app_main
from rig.boards.virtual.process import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], app_main))
