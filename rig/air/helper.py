"""The air helper: the rig's one privileged process, `python -m rig.air.helper`.

Commands on stdin, answers on stdout (`rig.air.protocol`). The first command fixes the boards it may
touch. It takes everything back when the pipe ends, on SIGTERM, SIGINT and SIGHUP, and, before
anything else, what a helper that was killed left behind.
"""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from pathlib import Path

from rig.air.lean import without_the_whole_of
from rig.air.privilege import NEEDED, missing
from rig.air.protocol import Refused, encode


def main() -> int:
    """`python -m rig.air.helper [heal FOLDER | probe]`."""
    lacking = missing()
    if lacking:
        error = f"the air helper lacks {' and '.join(lacking)}"
        sys.stdout.buffer.write(encode(Refused(error=error, hint=NEEDED)))
        return 77
    without_the_whole_of("pyroute2")
    match sys.argv[1:]:
        case []:
            if not _on_pipes():
                sys.stderr.write("the air helper is told what to do on pipes: the rig starts it\n")
                return 2
            from rig.air.serve import serve

            return asyncio.run(serve())
        case ["heal", folder]:
            from rig.air.serve import heal_all

            return asyncio.run(heal_all(Path(folder)))
        case ["probe"]:
            from rig.air import probe

            return probe.main()
    sys.stderr.write("usage: python -m rig.air.helper [heal FOLDER | probe]\n")
    return 2


def _on_pipes() -> bool:
    """Whether stdin and stdout are pipes or sockets: the end of anything else is never heard of."""
    kinds = [os.fstat(stream.fileno()).st_mode for stream in (sys.stdin, sys.stdout)]
    return all(stat.S_ISFIFO(kind) or stat.S_ISSOCK(kind) for kind in kinds)


if __name__ == "__main__":
    sys.exit(main())
