"""Who the bench's server is, kept in secret."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rig.errors import BenchError
from rig.servers.vault import IDENTITY, PAIRS, bench_folder, open_vault

pytestmark = pytest.mark.anyio


async def test_it_is_the_same_server_the_next_time_and_nobody_else_reads_it(tmp_path: Path) -> None:
    first = await open_vault(tmp_path / "v")
    again = await open_vault(tmp_path / "v")
    assert first.identity.peer_id == again.identity.peer_id
    assert stat.S_IMODE((tmp_path / "v" / IDENTITY).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "v").stat().st_mode) == 0o700
    assert first.identity.private_b64u not in repr(first)


async def test_keys_that_others_may_read_are_refused(tmp_path: Path) -> None:
    await open_vault(tmp_path)
    (tmp_path / IDENTITY).chmod(0o644)
    with pytest.raises(BenchError, match="others than its owner") as told:
        await open_vault(tmp_path)
    assert "chmod 600" in (told.value.hint or "")


@pytest.mark.parametrize(("name", "data"), [(IDENTITY, b"short"), (PAIRS, b"{no json")])
async def test_a_damaged_store_is_named(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    (tmp_path / name).chmod(0o600)
    with pytest.raises(BenchError, match="cannot be used: it is damaged"):
        await open_vault(tmp_path)


def test_each_bench_has_its_own(tmp_path: Path) -> None:
    folders = {
        bench_folder(tmp_path, bench) for bench in (None, tmp_path / "a.toml", tmp_path / "b.toml")
    }
    assert len(folders) == 3
    assert bench_folder(tmp_path, None) == bench_folder(tmp_path, None)
