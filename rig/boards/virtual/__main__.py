"""`python -m rig.boards.virtual --home DIR`: plug a virtual board in, in the foreground."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rig.boards.virtual.process import Options, main


def options(arguments: list[str]) -> Options:
    """Read the command line; exits with 2 on wrong use."""
    parser = argparse.ArgumentParser(prog="python -m rig.boards.virtual", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="the board's own folder")
    parser.add_argument("--number", type=int, default=1, help="which board (default 1)")
    parser.add_argument("--no-netns", action="store_true", help="loopback address even with root")
    parser.add_argument("--ap-ssid", default="virtual-air", help="the model's access point")
    parser.add_argument("--ap-psk-file", type=Path, help="file with its pass-phrase")
    parser.add_argument("--idle", type=float, default=3600.0, help="unplug after SECONDS")
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    passphrase = "only-a-model"
    if given.ap_psk_file:
        try:
            passphrase = given.ap_psk_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"cannot read the pass-phrase from {given.ap_psk_file}: {error}")
    return Options(
        home=given.home,
        number=given.number,
        namespace=not given.no_netns,
        ssid=given.ap_ssid,
        passphrase=passphrase,
        idle_seconds=given.idle,
        ready=given.ready_fd,
    )


if __name__ == "__main__":
    chosen = options(sys.argv[1:])
    from rig.boards.virtual.app import app_main

    sys.exit(main(chosen, app_main))
