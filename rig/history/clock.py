"""The one clock: every event carries the monotonic time at which the rig read it."""

from __future__ import annotations

import time
from datetime import UTC, datetime

now_ns = time.monotonic_ns
"""Nanoseconds on the rig's monotonic clock (`CLOCK_MONOTONIC`), for `Event.t`."""


def wall_anchor() -> str:
    """Wall-clock time now, ISO 8601 in UTC: written once a run, beside the monotonic time."""
    return datetime.now(UTC).isoformat(timespec="microseconds")
