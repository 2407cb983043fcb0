"""The `rig` command; `python -m rig` is the same."""

from __future__ import annotations

import signal


def main() -> None:
    """Load the command line and hand over to it. Ctrl-C meanwhile ends it without a word.

    Nothing has begun then that would have to be undone, and a traceback would say nothing.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from rig import cli

    signal.signal(signal.SIGINT, before)
    cli.main()


if __name__ == "__main__":
    main()
