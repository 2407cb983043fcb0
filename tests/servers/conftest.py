"""The scripted server is tested against the same device double as the link."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

_spec = importlib.util.spec_from_file_location(
    "link_doubles", Path(__file__).parents[1] / "link" / "conftest.py"
)
assert _spec is not None
assert _spec.loader is not None
_doubles = importlib.util.module_from_spec(_spec)
sys.modules["link_doubles"] = _doubles
_spec.loader.exec_module(_doubles)

anyio_backend = _doubles.anyio_backend
record = _doubles.record
device = _doubles.device
link = _doubles.link
